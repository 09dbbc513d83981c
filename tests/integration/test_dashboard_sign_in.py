"""Who gets into the dashboard, and who does not: tokens, links, cookies, forms of other sites."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from orchestrator.dashboard.sign_in import COOKIE
from orchestrator.domain.credentials import SessionKind
from orchestrator.domain.identity import Role
from orchestrator.services.sessions import SESSION_S, TICKET_S, SessionService
from orchestrator.services.tokens import TokenService
from tests.integration.dashboard_story import Story, app_over

ORIGIN = "http://hub.test"


@pytest.fixture
def browser(story: Story, tmp_path: Path) -> TestClient:
    return TestClient(app_over(story, tmp_path), base_url=ORIGIN, follow_redirects=False)


def _token(story: Story, role: Role = "auditor", expires_unix_s: int | None = None) -> str:
    return TokenService(story.records, story).issue(role, f"an-{role}", expires_unix_s)


def _sign_in(browser: TestClient, token: str, origin: str | None = ORIGIN) -> httpx.Response:
    return browser.post("/login", data={"token": token}, headers={"origin": origin} if origin else {})


def _first_page(browser: TestClient) -> httpx.Response:
    return browser.get("/", headers={"accept": "text/html"})


@pytest.mark.parametrize("role", ["auditor", "admin"])
def test_a_token_opens_a_session(story: Story, browser: TestClient, role: Role) -> None:
    token = _token(story, role)
    answer = _sign_in(browser, token)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert token.lower() not in cookie
    assert _first_page(browser).status_code == 200


def test_the_cookie_is_secure_over_tls(story: Story, tmp_path: Path) -> None:
    browser = TestClient(app_over(story, tmp_path), base_url="https://hub.test", follow_redirects=False)
    answer = _sign_in(browser, _token(story), "https://hub.test")
    assert "; secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize("token", ["", "wrong", "collegium_" + "x" * 43, "ü" * 50])
def test_a_wrong_token_opens_nothing(browser: TestClient, token: str) -> None:
    answer = _sign_in(browser, token)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "not known" in answer.text
    assert token == "" or token not in answer.text


def test_a_conductor_may_not_look(story: Story, browser: TestClient) -> None:
    answer = _sign_in(browser, _token(story, "conductor"))
    assert answer.status_code == 401
    assert "admin or operator or auditor" in answer.text


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.test", "http://hub.test.evil.test", "http://hub.test:81"]
)
def test_a_form_of_another_site_is_refused(story: Story, browser: TestClient, origin: str | None) -> None:
    token = _token(story)
    assert _sign_in(browser, token, origin).status_code == 403
    assert COOKIE not in browser.cookies
    assert _sign_in(browser, token).status_code == 303
    assert browser.post("/logout", headers={"origin": origin} if origin else {}).status_code == 403
    assert _first_page(browser).status_code == 200


def test_an_oversized_form_is_refused(browser: TestClient) -> None:
    assert _sign_in(browser, "x" * 10_000).status_code == 413


@pytest.mark.parametrize("path", ["/", "/ledger", "/tasks/1", "/tasks/1/panels/header", "/tasks/1/stream"])
def test_nothing_is_shown_without_a_session(story: Story, browser: TestClient, path: str) -> None:
    story.found()
    to_a_page = browser.get(path, headers={"accept": "text/html"})
    assert (to_a_page.status_code, to_a_page.headers["location"]) == (303, "/login")
    to_htmx = browser.get(path, headers={"hx-request": "true"})
    assert (to_htmx.status_code, to_htmx.headers["hx-redirect"], to_htmx.text) == (401, "/login", "")
    assert browser.get(path, headers={"accept": "text/event-stream"}).status_code == 401


def test_signing_out_ends_the_session_at_the_server(story: Story, browser: TestClient) -> None:
    _sign_in(browser, _token(story))
    secret = browser.cookies[COOKIE]
    assert browser.post("/logout", headers={"origin": ORIGIN}).headers["location"] == "/login"
    browser.cookies.set(COOKIE, secret)
    assert _first_page(browser).status_code == 303


def test_a_session_ends_with_its_time(story: Story, browser: TestClient) -> None:
    _sign_in(browser, _token(story))
    story.time_unix_s += SESSION_S - 1
    assert _first_page(browser).status_code == 200
    story.time_unix_s += 1
    assert _first_page(browser).status_code == 303


def test_a_session_never_outlives_its_token(story: Story, browser: TestClient) -> None:
    _sign_in(browser, _token(story, expires_unix_s=story.time_unix_s + 60))
    story.time_unix_s += 60
    assert _first_page(browser).status_code == 303


def test_forgetting_a_tokens_name_ends_its_sessions(story: Story, browser: TestClient) -> None:
    _sign_in(browser, _token(story))
    with story.records.write() as unit:
        unit.tokens.remove_named("an-auditor")
    assert _first_page(browser).status_code == 303


def test_replacing_a_token_ends_its_sessions(story: Story, browser: TestClient) -> None:
    tokens = TokenService(story.records, story)
    token = _token(story)
    holder = tokens.authenticate(token)
    assert holder is not None
    assert holder.token is not None
    _sign_in(browser, token)
    assert _first_page(browser).status_code == 200
    tokens.rotate(holder, holder.token)
    assert _first_page(browser).status_code == 303


def test_a_cookie_is_not_an_api_token(story: Story, browser: TestClient) -> None:
    _sign_in(browser, _token(story, "admin"))
    secret = browser.cookies[COOKIE]
    assert TokenService(story.records, story).authenticate(secret) is None
    assert browser.get("/v1/tasks", headers={"authorization": f"Bearer {secret}"}).status_code == 401


def _ticket_url(browser: TestClient, token: str) -> str:
    answer = browser.post("/dashboard/tickets", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 201
    url: str = answer.json()["url"]
    assert answer.json()["lasts_s"] == TICKET_S
    return url


def test_a_link_signs_in_once(story: Story, browser: TestClient) -> None:
    url = _ticket_url(browser, _token(story))
    answer = browser.get(url)
    assert answer.status_code == 200
    assert "signed in" in answer.text
    assert _first_page(browser).status_code == 200
    browser.cookies.clear()
    again = browser.get(url)
    assert again.status_code == 401
    assert "used already" in again.text
    assert "set-cookie" not in again.headers


def test_a_link_expires(story: Story, browser: TestClient) -> None:
    url = _ticket_url(browser, _token(story))
    story.time_unix_s += TICKET_S
    assert browser.get(url).status_code == 401


def test_a_link_with_a_forged_time_is_not_known(story: Story, browser: TestClient) -> None:
    url = _ticket_url(browser, _token(story))
    time_text = url.partition("ticket=")[2].partition(".")[0]
    forged = url.replace(time_text, str(int(time_text) + 1000))
    assert browser.get(forged).status_code == 401
    assert browser.get(url).status_code == 200


def test_looking_ahead_does_not_use_a_link_up(story: Story, browser: TestClient) -> None:
    url = _ticket_url(browser, _token(story))
    assert browser.get(url, headers={"sec-purpose": "prefetch;prerender"}).status_code == 503
    assert browser.get(url).status_code == 200


def test_a_link_is_not_an_api_token_and_its_session_ends_with_the_token(
    story: Story, browser: TestClient
) -> None:
    url = _ticket_url(browser, _token(story, expires_unix_s=story.time_unix_s + 60))
    ticket = urlsplit(url).query.partition("=")[2]
    assert TokenService(story.records, story).authenticate(ticket) is None
    browser.get(url)
    story.time_unix_s += 60
    assert _first_page(browser).status_code == 303


@pytest.mark.parametrize("authorization", ["", "Bearer ", "Bearer wrong", "Basic abc"])
def test_a_link_needs_a_token(browser: TestClient, authorization: str) -> None:
    answer = browser.post("/dashboard/tickets", headers={"authorization": authorization})
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"


def test_a_conductor_gets_no_link(story: Story, browser: TestClient) -> None:
    token = _token(story, "conductor")
    answer = browser.post("/dashboard/tickets", headers={"authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


def test_sessions_are_kept_hashed_and_old_ones_are_forgotten(story: Story) -> None:
    sessions = SessionService(story.records, story)
    holder = TokenService(story.records, story).authenticate(_token(story))
    assert holder is not None
    first, ticket = sessions.open(holder), sessions.issue_ticket(holder)

    def kept(kind: SessionKind, text: str) -> bool:
        with story.records.read() as unit:
            return unit.sessions.by_hash(kind, sha256(text.encode()).hexdigest()) is not None

    assert not kept("session", first)
    assert kept("session", f"session:{first}")
    assert kept("ticket", f"ticket:{ticket}")
    assert not kept("session", f"ticket:{ticket}")
    story.time_unix_s += SESSION_S
    second = sessions.open(holder)
    assert not kept("session", f"session:{first}")
    assert not kept("ticket", f"ticket:{ticket}")
    assert kept("session", f"session:{second}")
    assert sessions.holder_of(second) == replace(holder, expires_unix_s=story.time_unix_s + SESSION_S)
