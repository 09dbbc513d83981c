"""Limits on how often, headers on everything, and settings that a production hub refuses."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message

from orchestrator.api.limits import BodyLimitMiddleware
from orchestrator.api.security_headers import USUAL_HEADERS
from orchestrator.app import create_app
from orchestrator.domain.errors import TooManyRequests
from orchestrator.domain.identity import Principal
from orchestrator.hardening import weaknesses
from orchestrator.options import AppOptions
from orchestrator.services.throttle import Limits, Throttle
from orchestrator.settings import Settings, SettingsError
from tests.integration.orchestrator_double_rig import DEPLOYMENT, Rig

WEBHOOK_KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeeff0"
LIMITS = Limits(requests="3/minute", attempts="3/minute", wrong_credentials="3/minute")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def client_of(rig: Rig, options: AppOptions, like: TestClient | None = None) -> TestClient:
    app = create_app(rig.records, rig.artifacts, DEPLOYMENT, rig.clock, options=options)
    client = TestClient(app, base_url=options.public_url, follow_redirects=False)
    if like is not None:
        client.headers["Authorization"] = like.headers["Authorization"]
    return client


def test_a_principal_that_asks_too_often_is_told_when_to_come_back(rig: Rig) -> None:
    client = client_of(rig, AppOptions(limits=LIMITS), rig.auditor)
    assert [client.get("/v1/tokens/current").status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = client.get("/v1/tokens/current")
    assert answer.json()["code"] == "too_many_requests"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    client.headers["Authorization"] = rig.conductor.headers["Authorization"]
    assert client.get("/v1/tokens/current").status_code == 200, "others are not counted with it"


def test_an_address_that_guesses_tokens_is_stopped(rig: Rig) -> None:
    client = client_of(rig, AppOptions(limits=LIMITS))
    guesses = [
        client.get("/v1/tasks", headers={"Authorization": f"Bearer collegium_{number}"}).status_code
        for number in range(5)
    ]
    assert guesses == [401, 401, 401, 429, 429]
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/sign-in/challenges", {"node": "0x" + "11" * 20}),
        ("/v1/sign-in/tokens", {"nonce": "0" * 32, "signature": "0x" + "11" * 65}),
        ("/v1/enrolments", {}),
        ("/dashboard/tickets", {}),
    ],
)
def test_an_address_that_tries_to_sign_in_too_often_is_stopped(
    rig: Rig, path: str, body: dict[str, Any]
) -> None:
    client = client_of(rig, AppOptions(limits=LIMITS))
    answers = [client.post(path, json=body) for _ in range(4)]
    assert [each.status_code == 429 for each in answers] == [False, False, False, True]
    assert "retry-after" in answers[-1].headers


def test_forms_are_counted_too(rig: Rig) -> None:
    options = AppOptions("http://hub.test", LIMITS)
    client = client_of(rig, options)
    for path in ("/login", "/login/password", "/login"):
        assert client.post(path, data={}, headers={"origin": "http://hub.test"}).status_code == 401
    answer = client.post("/login", data={}, headers={"origin": "http://hub.test"})
    assert answer.status_code == 429
    assert "retry-after" in answer.headers
    assert "text/html" in answer.headers["content-type"]


def test_a_limit_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(SettingsError):
        Settings(request_limit="a lot").app_options()


def test_principals_are_told_apart() -> None:
    throttle = Throttle(Limits(requests="1/minute"))
    throttle.request(Principal("a", "auditor", 0, token=1))
    throttle.request(Principal("a", "auditor", 0, token=2))
    with pytest.raises(TooManyRequests):
        throttle.request(Principal("a", "auditor", 0, token=1))
    Throttle(Limits(requests=None)).request(Principal("a", "auditor", 0))


def test_several_processes_allow_no_more_together_than_one() -> None:
    limits = Limits(attempts="7/minute", processes=3)
    allowed = 0
    for process in [Throttle(limits) for _ in range(3)]:
        for _ in range(8):
            with suppress(TooManyRequests):
                process.attempt("192.0.2.1")
                allowed += 1
    assert allowed == 6
    with pytest.raises(ValueError, match="processes"):
        Limits(attempts="2/minute", processes=3).check()


@pytest.mark.parametrize(
    "path", ["/healthz", "/v1/tasks", "/v1/nothing", "/", "/login", "/nothing", "/static/theme.js", "/readyz"]
)
def test_every_answer_carries_the_headers(rig: Rig, path: str) -> None:
    for public_url, is_https in (("http://hub.test", False), ("https://hub.test", True)):
        answer = client_of(rig, AppOptions(public_url)).get(path)
        for name in USUAL_HEADERS:
            assert answer.headers[name], name
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert ("strict-transport-security" in answer.headers) == is_https
        if not path.startswith("/static/"):
            assert "no-store" in answer.headers["cache-control"]


def test_an_error_of_ours_carries_them_too(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(type(rig.app.state.services.listings), "tasks", fail)
    answer = rig.admin.get("/v1/tasks")
    assert answer.status_code == 500
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_cookie_is_secure_when_the_hub_is_reached_over_tls(rig: Rig) -> None:
    """Also behind a proxy that ends TLS and speaks plain http to the hub."""
    client = client_of(rig, AppOptions("https://hub.test"))
    token = str(rig.auditor.headers["Authorization"]).removeprefix("Bearer ")
    answer = client.post(
        "http://hub.test/login", data={"token": token}, headers={"origin": "https://hub.test"}
    )
    assert "; secure" in answer.headers["set-cookie"].lower()


def test_deep_nesting_is_refused_whatever_the_interpreter_allows(rig: Rig) -> None:
    before = sys.getrecursionlimit()
    # As a library leaves it; Python's own parser would overflow the stack and end the process.
    sys.setrecursionlimit(100_000)
    try:
        answer = rig.admin.post(
            "/v1/nodes", content=b"[" * 100_000, headers={"Content-Type": "application/json"}
        )
    finally:
        sys.setrecursionlimit(before)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_body_that_does_not_come_is_given_up() -> None:
    sent: list[Message] = []

    async def never_called(*_: object) -> None:
        raise AssertionError("the request went on")

    async def silence() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/v1/tasks", "headers": [], "method": "POST"}
    limited = BodyLimitMiddleware(never_called, streamed_prefix="/v1/artifacts", deadline_s=0.01)
    asyncio.run(limited(scope, silence, send))
    assert sent[0]["status"] == 408


# --- settings


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def production(tmp_path: Path, **changes: Any) -> Settings:
    strong = {
        "public_url": "https://hub.test",
        "token_folder": tmp_path / "tokens",
        "oidc_issuer": "https://id.test",
        "oidc_client_secret_file": private(tmp_path / "oidc", "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF"),
        "relayer_key_file": private(tmp_path / "relayer", "key"),
        "council_key_file": private(tmp_path / "council", "key"),
        "webhook_key_file": private(tmp_path / "webhooks", WEBHOOK_KEY),
        "database_url": "postgresql+psycopg://hub:a-long-random-password@db.test/hub",
    }
    return Settings(**(strong | changes))


def test_strong_settings_are_taken(tmp_path: Path) -> None:
    assert weaknesses(production(tmp_path)) == ()


def test_production_is_what_nobody_has_to_ask_for() -> None:
    assert Settings().mode == "production"
    assert any("COLLEGIUM_PUBLIC_URL" in each for each in weaknesses(Settings()))


@pytest.mark.parametrize(
    ("change", "variable"),
    [
        ({"public_url": None}, "COLLEGIUM_PUBLIC_URL"),
        ({"public_url": "http://hub.test"}, "COLLEGIUM_PUBLIC_URL"),
        ({"oidc_issuer": "http://id.test"}, "COLLEGIUM_OIDC_ISSUER"),
        ({"oidc_client_secret_file": ("oidc2", "short", 0o600)}, "COLLEGIUM_OIDC_CLIENT_SECRET_FILE"),
        ({"oidc_client_secret_file": ("oidc2", "a" * 40, 0o600)}, "COLLEGIUM_OIDC_CLIENT_SECRET_FILE"),
        ({"relayer_key_file": ("relayer2", "key", 0o644)}, "COLLEGIUM_RELAYER_KEY_FILE"),
        ({"council_key_file": ("council2", "key", 0o640)}, "COLLEGIUM_COUNCIL_KEY_FILE"),
        ({"webhook_key_file": ("webhooks2", WEBHOOK_KEY, 0o640)}, "COLLEGIUM_WEBHOOK_KEY_FILE"),
        ({"webhook_key_file": ("webhooks2", "a" * 64, 0o600)}, "COLLEGIUM_WEBHOOK_KEY_FILE"),
        ({"webhook_key_file": ("webhooks2", WEBHOOK_KEY[:31], 0o600)}, "COLLEGIUM_WEBHOOK_KEY_FILE"),
        ({"database_url": "postgresql+psycopg://hub:short@db.test/hub"}, "COLLEGIUM_DATABASE_URL"),
        (
            {"database_url": "postgresql+psycopg://hub:passsssssssssssss@db.test/hub"},
            "COLLEGIUM_DATABASE_URL",
        ),
        ({"database_url": "nonsense"}, "COLLEGIUM_DATABASE_URL"),
    ],
)
def test_weak_settings_are_refused_and_named(tmp_path: Path, change: dict[str, Any], variable: str) -> None:
    changed = {
        name: private(tmp_path / value[0], value[1], value[2]) if isinstance(value, tuple) else value
        for name, value in change.items()
    }
    found = weaknesses(production(tmp_path, **changed))
    assert len(found) == 1
    assert variable in found[0]
    assert weaknesses(production(tmp_path, **changed, mode="development")) == ()


def test_tokens_that_others_can_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tokens").mkdir()
    private(tmp_path / "tokens" / "admin", "token", 0o644)
    (found,) = weaknesses(production(tmp_path))
    assert "chmod 600" in found


def test_single_sign_on_needs_its_secret(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="COLLEGIUM_OIDC_CLIENT_SECRET_FILE"):
        Settings(oidc_issuer="https://id.test").app_options()
    with pytest.raises(SettingsError, match="COLLEGIUM_OIDC_ROLES"):
        Settings(oidc_roles={"group": "root"}).app_options()
