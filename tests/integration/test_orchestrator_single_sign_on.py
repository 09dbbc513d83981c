"""Single sign-on against a real OpenID provider (npm's oidc-provider), and against one that lies."""

import json
import os
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import RSAKey

from deploy.local.ports import free_ports
from orchestrator.adapters.artifacts import FolderArtifactStore
from orchestrator.adapters.oidc import OidcClient, OidcProvider
from orchestrator.app import create_app
from orchestrator.composition import SystemClock
from orchestrator.dashboard.people_sign_in import ATTEMPT_COOKIE
from orchestrator.dashboard.sign_in import COOKIE
from orchestrator.domain.errors import OrchestratorError, Unauthenticated, Unavailable
from orchestrator.domain.single_sign_on import Attempt, RoleMap
from orchestrator.options import AppOptions
from tests.integration.databases import Databases, new_database, open_quick_records
from tests.integration.orchestrator_double_rig import DEPLOYMENT

ORIGIN = "http://hub.test"
DONE = f"{ORIGIN}/login/sso/done"
CLIENT_SECRET = "a secret of the tests' own provider"
PROVIDER = Path("tests/oidc/provider.js")
NODE = "0x" + "11" * 20
GROUPS = {"ada": ["staff", "consortium-admins"], "olga": ["aare-it"], "carl": ["staff"]}
ROLES = RoleMap.parse({"consortium-admins": "admin", "aare-it": f"operator:{NODE}"})
DEADLINE_S = 60.0
SUBMIT = re.compile(r'<form[^>]*action="([^"]+)"')


def client_of(issuer: str) -> OidcClient:
    return OidcClient(issuer, "collegium", CLIENT_SECRET, "groups", allows_http=True)


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    port = free_ports(1)[0]
    process = subprocess.Popen(
        ["node", str(PROVIDER), str(port), DONE, CLIENT_SECRET],
        env=os.environ | {"GROUPS": json.dumps(GROUPS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            assert process.poll() is None, process.stdout.read().decode()  # type: ignore[union-attr]
            assert time.monotonic() < deadline_s, "the provider does not answer"
            try:
                httpx.get(f"{url}/.well-known/openid-configuration").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=DEADLINE_S)


@dataclass
class Hub:
    browser: TestClient
    records: Any

    def begin(self) -> str:
        """Where the browser is sent."""
        answer = self.browser.post("/login/sso", headers={"origin": ORIGIN})
        assert answer.status_code == 200, answer.text
        assert self.browser.cookies[ATTEMPT_COOKIE]
        found = re.search(r'id="go" href="([^"]+)"', answer.text)
        assert found is not None
        return found[1].replace("&amp;", "&")

    def shown(self) -> httpx.Response:
        return self.browser.get("/", headers={"accept": "text/html"})


@pytest.fixture
def hub(issuer: str, tmp_path: Path, databases: Databases) -> Iterator[Hub]:
    with hub_at(issuer, tmp_path, databases.new(tmp_path)) as found:
        yield found


@contextmanager
def hub_at(issuer: str, folder: Path, database_url: str) -> Iterator[Hub]:
    records = open_quick_records(database_url)
    options = AppOptions(ORIGIN, identity_provider=OidcProvider(client_of(issuer)), roles=ROLES)
    artifacts = FolderArtifactStore(folder / "artifacts", 1 << 16)
    app = create_app(records, artifacts, DEPLOYMENT, SystemClock(), options=options)
    yield Hub(TestClient(app, base_url=ORIGIN, follow_redirects=False), records)
    records.close()


def sign_in_at_provider(url: str, name: str) -> str:
    """A person at the provider's own pages; the address that the provider sends the browser back to."""
    with httpx.Client(timeout=30) as browser:
        answer = browser.get(url)
        for _ in range(12):
            if answer.is_redirect:
                url = urljoin(str(answer.url), answer.headers["location"])
                if url.startswith(ORIGIN):
                    return url
                answer = browser.get(url)
                continue
            assert answer.status_code == 200, answer.text
            form = SUBMIT.search(answer.text)
            assert form is not None, answer.text
            prompt = "login" if 'value="login"' in answer.text else "consent"
            body = {"prompt": prompt, "login": name, "password": "any"}
            answer = browser.post(urljoin(str(answer.url), form[1]), data=body)
    raise AssertionError("the provider never sent the browser back")


def come_back(hub: Hub, url: str) -> httpx.Response:
    return hub.browser.get(url.removeprefix(ORIGIN))


def test_an_admin_signs_in_and_out(hub: Hub) -> None:
    answer = come_back(hub, sign_in_at_provider(hub.begin(), "ada"))
    assert answer.status_code == 200, answer.text
    cookies = {each.split("=")[0]: each.lower() for each in answer.headers.get_list("set-cookie")}
    assert "samesite=strict" in cookies[COOKIE]
    assert "httponly" in cookies[COOKIE]
    assert ATTEMPT_COOKIE not in hub.browser.cookies
    assert hub.shown().status_code == 200
    assert "ada (SSO)" in hub.shown().text
    hub.browser.post("/logout", headers={"origin": ORIGIN})
    assert hub.shown().status_code == 303


def test_an_operator_is_bound_to_its_node(hub: Hub) -> None:
    assert come_back(hub, sign_in_at_provider(hub.begin(), "olga")).status_code == 200
    session = hub.browser.app.state.dashboard.sessions.holder_of(hub.browser.cookies[COOKIE])  # type: ignore[attr-defined]
    assert (session.role, session.node) == ("operator", NODE)


def test_somebody_without_a_group_gets_no_role(hub: Hub) -> None:
    answer = come_back(hub, sign_in_at_provider(hub.begin(), "carl"))
    assert answer.status_code == 401
    assert "no role" in answer.text
    assert COOKIE not in hub.browser.cookies


def test_the_browser_is_sent_with_pkce_state_and_nonce(hub: Hub, issuer: str) -> None:
    url = hub.begin()
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert url.startswith(f"{issuer}/")
    assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
    assert query["redirect_uri"] == DONE
    attempt = Attempt.of(hub.browser.cookies[ATTEMPT_COOKIE])
    assert (query["state"], query["nonce"]) == (attempt.state, attempt.nonce)
    assert attempt.verifier not in url
    assert hub.browser.cookies[ATTEMPT_COOKIE] not in url


def test_the_way_back_needs_the_browser_that_began(hub: Hub) -> None:
    url = sign_in_at_provider(hub.begin(), "ada")
    mine = hub.browser.cookies[ATTEMPT_COOKIE]
    for cookie in (None, secrets.token_urlsafe(32)):
        hub.browser.cookies.clear()
        if cookie:
            hub.browser.cookies.set(ATTEMPT_COOKIE, cookie)
        assert come_back(hub, url).status_code == 401
    hub.browser.cookies.clear()
    hub.browser.cookies.set(ATTEMPT_COOKIE, mine)
    assert come_back(hub, url).status_code == 200
    hub.browser.cookies.clear()
    hub.browser.cookies.set(ATTEMPT_COOKIE, mine)
    assert come_back(hub, url).status_code == 401, "a code works once"


@pytest.mark.parametrize(
    "query",
    ["", "?code=x", "?state=x", "?code=x&state=x", "?error=access_denied&state=x", "?code=" + "x" * 3000],
)
def test_a_way_back_with_nonsense_is_refused(hub: Hub, query: str) -> None:
    hub.begin()
    assert hub.browser.get("/login/sso/done" + query).status_code in (401, 404)
    assert COOKIE not in hub.browser.cookies


def test_nobody_is_sent_elsewhere(hub: Hub) -> None:
    url = sign_in_at_provider(hub.begin(), "ada") + "&next=https://evil.test&redirect_uri=https://evil.test"
    answer = come_back(hub, url)
    assert answer.status_code == 200
    assert "evil.test" not in answer.text
    answer = hub.browser.post("/login/sso?next=//evil.test", headers={"origin": ORIGIN})
    assert "evil.test" not in answer.text


def test_another_sites_page_cannot_begin(hub: Hub) -> None:
    assert hub.browser.post("/login/sso", headers={"origin": "http://evil.test"}).status_code == 403
    assert ATTEMPT_COOKIE not in hub.browser.cookies


def test_a_provider_that_is_down_is_said_so(tmp_path: Path) -> None:
    with hub_at("http://127.0.0.1:9", tmp_path, new_database(tmp_path)) as hub:
        answer = hub.browser.post("/login/sso", headers={"origin": ORIGIN})
        assert answer.status_code == 401
        assert "does not answer" in answer.text


# --- a provider that lies


@dataclass
class Liar:
    """Says what a test wants it to say; signs with a key of its own."""

    claims: dict[str, Any]
    discovery: dict[str, str]
    key: RSAKey
    signs_with: RSAKey
    algorithm: str = "RS256"
    redirects: bool = False
    asked: int = 0


@contextmanager
def lying(change: Callable[[Liar], None]) -> Iterator[str]:
    key = RSAKey.generate_key(2048, {"kid": "a", "use": "sig"})
    liar = Liar({}, {}, key, key)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

        def _answer(self) -> None:
            if liar.redirects and self.path == "/keys":
                self.send_response(302)
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                return
            if self.path == "/elsewhere":
                liar.asked += 1
            answers = {
                "/.well-known/openid-configuration": liar.discovery,
                "/keys": {"keys": [liar.key.as_dict(private=False)]},
                "/elsewhere": {"keys": [liar.key.as_dict(private=False)]},
            }
            body = json.dumps(answers.get(self.path) or self._token()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _token(self) -> dict[str, str]:
            header = {"alg": liar.algorithm, "kid": "a"}
            if liar.algorithm == "none":
                token = jwt.encode(header, liar.claims, liar.signs_with, algorithms=["none"])
            else:
                token = jwt.encode(header, liar.claims, liar.signs_with)
            return {"access_token": "x", "token_type": "Bearer", "id_token": token}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    now_unix_s = int(time.time())
    liar.claims = {
        "iss": url,
        "aud": "collegium",
        "sub": "ada",
        "nonce": Attempt.of("mine").nonce,
        "iat": now_unix_s,
        "exp": now_unix_s + 60,
        "groups": ["consortium-admins"],
    }
    liar.discovery = {
        "issuer": url,
        "authorization_endpoint": f"{url}/authorize",
        "token_endpoint": f"{url}/token",
        "jwks_uri": f"{url}/keys",
    }
    change(liar)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield url
        assert liar.asked == 0, "a redirect was followed"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def finish(url: str) -> Any:
    return OidcProvider(client_of(url)).finish(Attempt.of("mine"), DONE, "code", None)


def other_key(liar: Liar) -> None:
    liar.signs_with = RSAKey.generate_key(2048, {"kid": "a"})


def set_claim(name: str, value: object) -> Callable[[Liar], None]:
    return lambda liar: liar.claims.update({name: value})


def without(name: str) -> Callable[[Liar], None]:
    return lambda liar: liar.claims.pop(name) and None


def test_the_double_is_believed_when_it_does_not_lie() -> None:
    with lying(lambda liar: None) as url:
        person = finish(url)
        assert (person.subject, person.values) == ("ada", {"consortium-admins"})


@pytest.mark.parametrize(
    ("lie", "error"),
    [
        (set_claim("iss", "http://evil.test"), Unauthenticated),
        (set_claim("aud", "another"), Unauthenticated),
        (set_claim("aud", ["collegium", "another"]), Unauthenticated),
        (set_claim("nonce", "of another attempt"), Unauthenticated),
        (set_claim("exp", 1_000_000_000), Unauthenticated),
        (without("exp"), Unauthenticated),
        (without("nonce"), Unauthenticated),
        (without("sub"), Unauthenticated),
        (other_key, Unauthenticated),
        (lambda liar: setattr(liar, "redirects", True), Unavailable),
        (lambda liar: liar.discovery.update(issuer="http://evil.test"), Unavailable),
        (lambda liar: liar.discovery.pop("jwks_uri") and None, Unavailable),
    ],
)
def test_a_lie_is_not_believed(lie: Callable[[Liar], None], error: type[OrchestratorError]) -> None:
    with lying(lie) as url, pytest.raises(error):
        finish(url)


def test_another_issuer_in_the_answer_is_refused() -> None:
    with lying(lambda liar: None) as url, pytest.raises(Unauthenticated):
        OidcProvider(client_of(url)).finish(Attempt.of("mine"), DONE, "code", "http://evil.test")


def test_plain_http_is_refused_in_production() -> None:
    with lying(lambda liar: None) as url:
        strict = OidcClient(url, "collegium", CLIENT_SECRET, "groups")
        with pytest.raises(Unavailable, match="https"):
            OidcProvider(strict).begin(Attempt.of("mine"), DONE)


def test_the_clients_secret_does_not_show() -> None:
    assert CLIENT_SECRET not in repr(client_of("http://127.0.0.1:9"))


@pytest.mark.parametrize("grant", ["conductor", "operator", "operator:0x12", "root", ""])
def test_a_role_that_nobody_may_get_by_a_group(grant: str) -> None:
    with pytest.raises(ValueError, match="is none of"):
        RoleMap.parse({"group": grant})
