"""Single sign-on by OpenID Connect: authorization code with PKCE, by Authlib; ID tokens checked by joserfc.

What the provider says is believed only over the addresses of its own discovery document, whose issuer must be
the configured one. No redirect is followed, and every request has a deadline.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.domain.errors import Unauthenticated, Unavailable
from orchestrator.domain.single_sign_on import Attempt, Person

_TIMEOUT_S = 10.0
_CLOCKS_DIFFER_S = 60
_MOST_TOKEN_CHARACTERS = 16_384
_ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
_SCOPES = "openid profile email"


@dataclass(frozen=True)
class OidcClient:
    """How the hub is registered at the provider. ``scopes`` beside the usual ones."""

    issuer: str
    client_id: str
    client_secret: str
    role_claim: str
    scopes: tuple[str, ...] = ()
    allows_http: bool = False

    def __repr__(self) -> str:
        return f"OidcClient({self.issuer}, {self.client_id})"


class _Discovery(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class OidcProvider:
    """``IdentityProvider`` over one OpenID provider."""

    def __init__(self, client: OidcClient) -> None:
        self._client = client

    def begin(self, attempt: Attempt, redirect_url: str) -> str:
        """Where the browser goes to sign in."""
        with self._session(redirect_url) as session:
            url, _ = session.create_authorization_url(
                self._discover().authorization_endpoint,
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
            )
        return str(url)

    def finish(self, attempt: Attempt, redirect_url: str, code: str, issuer: str | None) -> Person:
        """Who came back with ``code``; ``issuer`` as the provider named itself, where it does (RFC 9207)."""
        if issuer is not None and issuer != self._client.issuer:
            raise Unauthenticated("the answer comes from another identity provider")
        found = self._discover()
        try:
            with self._session(redirect_url) as session:
                answer = session.fetch_token(
                    found.token_endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=attempt.verifier,
                )
        except AuthlibBaseError as error:
            raise Unauthenticated("the identity provider does not confirm this sign-in; try again") from error
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable("the identity provider does not answer") from error
        claims = self._claims(str(answer.get("id_token", "")), found, attempt.nonce)
        return Person(
            subject=str(claims["sub"]),
            name=str(claims.get("preferred_username") or claims.get("email") or claims["sub"]),
            values=_texts(claims.get(self._client.role_claim)),
        )

    def _claims(self, id_token: str, found: _Discovery, nonce: str) -> Mapping[str, Any]:
        if len(id_token) > _MOST_TOKEN_CHARACTERS:
            raise Unauthenticated("the identity provider's token is too long")
        try:
            keys = KeySet.import_key_set(self._get(found.jwks_uri))
            token = jwt.decode(id_token, keys, algorithms=list(_ALGORITHMS))
            jwt.JWTClaimsRegistry(
                leeway=_CLOCKS_DIFFER_S,
                iss={"essential": True, "value": self._client.issuer},
                aud={"essential": True, "value": self._client.client_id},
                sub={"essential": True},
                exp={"essential": True},
                iat={"essential": True},
                nonce={"essential": True, "value": nonce},
            ).validate(token.claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise Unauthenticated("the identity provider's token is not valid for this sign-in") from error
        audience = token.claims["aud"]
        if (
            isinstance(audience, list)
            and len(audience) > 1
            and token.claims.get("azp") != self._client.client_id
        ):
            raise Unauthenticated("the identity provider's token was made for somebody else")
        return token.claims

    def _discover(self) -> _Discovery:
        try:
            found = _Discovery.model_validate(
                self._get(self._client.issuer.rstrip("/") + "/.well-known/openid-configuration")
            )
        except ValidationError as error:
            raise Unavailable("the identity provider's description cannot be read") from error
        if found.issuer != self._client.issuer:
            raise Unavailable("the identity provider calls itself by another name than the settings")
        for url in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
            if urlsplit(url).scheme != "https" and not self._client.allows_http:
                raise Unavailable("the identity provider's addresses are not https")
        return found

    def _get(self, url: str) -> Any:
        try:
            response = httpx.get(url, timeout=_TIMEOUT_S, follow_redirects=False)
            if response.status_code != httpx.codes.OK:
                raise Unavailable(f"the identity provider answers {response.status_code}")
            return response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable("the identity provider does not answer") from error

    def _session(self, redirect_url: str) -> OAuth2Client:
        return OAuth2Client(
            client_id=self._client.client_id,
            client_secret=self._client.client_secret,
            scope=" ".join((_SCOPES, *self._client.scopes)),
            redirect_uri=redirect_url,
            code_challenge_method="S256",
            timeout=_TIMEOUT_S,
            follow_redirects=False,
        )


def _texts(value: object) -> frozenset[str]:
    """A claim's texts: it may be one or a list of them."""
    if isinstance(value, str):
        return frozenset((value,))
    if isinstance(value, list):
        return frozenset(each for each in value if isinstance(each, str))
    return frozenset()
