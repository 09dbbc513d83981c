"""Admins with a password: set on the hub's machine, checked with care, of no use after they were removed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from orchestrator.cli import app as collegium
from orchestrator.domain.errors import Unacceptable, Unauthenticated
from orchestrator.services.people import FAILURES_BEFORE_WAITING, LONGEST_WAIT_S, PeopleService
from orchestrator.services.sessions import SessionService
from tests.integration.dashboard_story import Story, app_over
from tests.integration.databases import Databases

ORIGIN = "http://hub.test"
PASSWORD = "seven green bicycles"
QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
"""The tests' own: what is tested is not how slow argon2 is."""


@pytest.fixture
def story(tmp_path: Path, databases: Databases) -> Iterator[Story]:
    story = Story(tmp_path, databases.new(tmp_path))
    yield story
    story.records.close()


@pytest.fixture
def people(story: Story) -> PeopleService:
    people = PeopleService(story.records, story, QUICK)
    people.set_password("grace", PASSWORD)
    return people


@pytest.fixture
def browser(story: Story, tmp_path: Path) -> TestClient:
    return TestClient(app_over(story, tmp_path), base_url=ORIGIN, follow_redirects=False)


def sign_in(browser: TestClient, name: str, password: str, origin: str = ORIGIN) -> httpx.Response:
    return browser.post(
        "/login/password", data={"name": name, "password": password}, headers={"origin": origin}
    )


def test_an_admin_signs_in_by_password(people: PeopleService, browser: TestClient) -> None:
    answer = sign_in(browser, "grace", PASSWORD)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    shown = browser.get("/", headers={"accept": "text/html"})
    assert "grace (password)" in shown.text
    people.remove("grace")
    assert browser.get("/", headers={"accept": "text/html"}).status_code == 303, "the session ends at once"
    assert sign_in(browser, "grace", PASSWORD).status_code == 401


def test_a_new_password_ends_sessions(people: PeopleService, browser: TestClient) -> None:
    sign_in(browser, "grace", PASSWORD)
    people.set_password("grace", PASSWORD + " more")
    assert browser.get("/", headers={"accept": "text/html"}).status_code == 303


@pytest.mark.parametrize(
    ("name", "password"),
    [("grace", "wrong"), ("nobody", PASSWORD), ("", ""), ("grace", ""), ("grace", "x" * 3000)],
)
def test_what_is_wrong_is_not_told(
    people: PeopleService, browser: TestClient, name: str, password: str
) -> None:
    answer = sign_in(browser, name, password)
    assert answer.status_code == 401
    assert "Name or password is wrong" in answer.text
    assert "set-cookie" not in answer.headers


def test_another_sites_form_is_refused(people: PeopleService, browser: TestClient) -> None:
    assert sign_in(browser, "grace", PASSWORD, "http://evil.test").status_code == 403


def test_unknown_names_cost_a_hash_too(people: PeopleService, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    verify = PasswordHasher.verify

    def counted(self: PasswordHasher, password_hash: str, password: str) -> bool:
        checked.append(password_hash)
        return verify(self, password_hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    for name in ("grace", "nobody"):
        with pytest.raises(Unauthenticated):
            people.authenticate(name, "wrong")
    assert len(checked) == 2
    assert all(each.startswith("$argon2id$") for each in checked)


def test_wrong_passwords_make_a_name_wait(people: PeopleService, story: Story) -> None:
    def refused(password: str) -> bool:
        try:
            people.authenticate("grace", password)
        except Unauthenticated:
            return True
        return False

    for _ in range(FAILURES_BEFORE_WAITING):
        assert refused("wrong")
    assert refused(PASSWORD), "the right one has to wait too"
    story.time_unix_s += 30
    assert not refused(PASSWORD)
    for _ in range(FAILURES_BEFORE_WAITING - 1):
        assert refused("wrong")
    assert not refused(PASSWORD), "a success forgets the failures"
    for _ in range(40):
        refused("wrong")
        story.time_unix_s += LONGEST_WAIT_S
    assert not refused(PASSWORD), "a stranger cannot lock a name for ever"


class Slow(PasswordHasher):
    """A hash takes a while: in the first one that is checked, something else happens."""

    happens: Callable[[], object] | None = None

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        happens, self.happens = self.happens, None
        if happens is not None:
            happens()
        return super().verify(hash, password)


@pytest.mark.parametrize("has_failed", [False, True])
@pytest.mark.parametrize("change", ["removed", "new password", "guessed too often"])
def test_what_changes_while_a_password_is_checked_counts(
    story: Story, people: PeopleService, change: str, has_failed: bool
) -> None:
    def guess_too_often() -> None:
        for _ in range(FAILURES_BEFORE_WAITING):
            with pytest.raises(Unauthenticated):
                people.authenticate("grace", "wrong")

    happens: dict[str, Callable[[], object]] = {
        "removed": lambda: people.remove("grace"),
        "new password": lambda: people.set_password("grace", PASSWORD + " more"),
        "guessed too often": guess_too_often,
    }
    if has_failed:
        with pytest.raises(Unauthenticated):
            people.authenticate("grace", "wrong")
    hasher = Slow(time_cost=1, memory_cost=64, parallelism=1)
    hasher.happens = happens[change]
    with pytest.raises(Unauthenticated):
        PeopleService(story.records, story, hasher).authenticate("grace", PASSWORD)
    with story.records.read() as unit:
        known = unit.users.by_name("grace")
    if change == "removed":
        assert known is None, "nobody comes back by signing in"
    elif change == "new password":
        people.authenticate("grace", PASSWORD + " more")
    else:
        assert known is not None
        assert known.waits_until_unix_s > story.time_unix_s


@pytest.mark.parametrize("change", ["removed", "new password"])
def test_no_session_is_opened_for_an_admin_who_was_changed_meanwhile(
    story: Story, people: PeopleService, change: str
) -> None:
    sessions, admin = SessionService(story.records, story), people.authenticate("grace", PASSWORD)
    assert sessions.holder_of(sessions.open(admin.principal, admin.is_current)) == admin.principal
    people.remove("grace") if change == "removed" else people.set_password("grace", PASSWORD + " more")
    with pytest.raises(Unauthenticated):
        sessions.open(admin.principal, admin.is_current)


def test_a_name_that_no_database_can_be_asked_for_is_wrong(
    people: PeopleService, browser: TestClient
) -> None:
    answer = sign_in(browser, "gr\x00ace", PASSWORD)
    assert (answer.status_code, "Name or password is wrong" in answer.text) == (401, True)


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaaaaaa", "grace and a few more", "x" * 201])
def test_weak_passwords_are_refused(people: PeopleService, password: str) -> None:
    with pytest.raises(Unacceptable):
        people.set_password("grace", password)


def test_the_password_is_kept_as_argon2id(people: PeopleService, story: Story) -> None:
    with story.records.read() as unit:
        user = unit.users.by_name("grace")
    assert user is not None
    assert user.password_hash.startswith("$argon2id$")
    assert PASSWORD not in repr(user)


def test_the_command_reads_a_private_file_or_asks(
    tmp_path: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLEGIUM_DATABASE_URL", databases.new(tmp_path))
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    file.chmod(0o644)
    order = ["users", "set-password", "--name", "grace", "--password-file", str(file)]
    runner = CliRunner()
    open_file = runner.invoke(collegium, order)
    assert (open_file.exit_code, "chmod 600" in open_file.stderr) == (2, True)
    file.chmod(0o600)
    assert runner.invoke(collegium, order).exit_code == 0
    asked = runner.invoke(collegium, order[:4], input=f"{PASSWORD}\n{PASSWORD}\n")
    assert asked.exit_code == 0, asked.output
    assert PASSWORD not in asked.output
    assert runner.invoke(collegium, [*order[:3], "../grace"]).exit_code == 2
    assert runner.invoke(collegium, ["users", "remove", "--name", "grace"]).exit_code == 0
    assert runner.invoke(collegium, ["users", "remove", "--name", "grace"]).exit_code == 2
