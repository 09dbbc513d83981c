"""Posts to receivers of webhooks.

The name is resolved here, every address that it has is checked, and the connection goes to one that was
checked: a name that changes its mind between the check and the connection (DNS rebinding) gains nothing. The
certificate is still checked against the name. Redirects are not followed, proxies of the environment are not
used, and an answer is read no further than its headers.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestrator.adapters.notifications.addresses import Address, is_public, resolve
from orchestrator.domain.errors import WebhookRefused
from orchestrator.domain.ports import WebhookFailed

# Imported when it is used: the API starts faster, and most hubs have few webhooks or none.
if TYPE_CHECKING:
    import httpx

_LONGEST_URL = 2000
_PORTS = {"https": 443, "http": 80}

Resolve = Callable[[str, int], list[Address]]


class HttpReceivers:
    """``WebhookReceivers`` over HTTP; ``development`` allows plain HTTP and this machine."""

    def __init__(self, development: bool, deadline_s: float = 10.0, resolve: Resolve = resolve) -> None:
        self._development = development
        self._deadline_s = deadline_s
        self._resolve = resolve

    def check(self, url: str) -> None:
        """Whether a webhook may go there. Raises WebhookRefused."""
        self._target(url)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the receiver's answer.

        Raises:
            WebhookRefused: it may not go there (any more).
            WebhookFailed: there was no answer, or not in time.
        """
        return asyncio.run(self._post(url, body, headers))

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        import httpx

        try:
            # One deadline for everything: a receiver that trickles would otherwise hold us for ever.
            async with asyncio.timeout(self._deadline_s):
                parsed, address = await asyncio.to_thread(self._target, url)
                return await self._send(parsed, address, body, headers)
        except TimeoutError as error:
            raise WebhookFailed(f"no answer within {self._deadline_s:.0f} s") from error
        except httpx.HTTPError as error:
            raise WebhookFailed(f"{type(error).__name__}: {error}") from error

    async def _send(self, url: "httpx.URL", address: Address, body: bytes, headers: Mapping[str, str]) -> int:
        import httpx

        sent = {**headers, "Host": url.netloc.decode("ascii")}
        # The connection goes to the address, the handshake and the certificate are about the name.
        extensions = {"sni_hostname": url.raw_host.decode("ascii")}
        async with httpx.AsyncClient(
            trust_env=False, follow_redirects=False, timeout=self._deadline_s
        ) as client:
            request = client.build_request(
                "POST", url.copy_with(host=str(address)), content=body, headers=sent, extensions=extensions
            )
            answer = await client.send(request, stream=True)
            await answer.aclose()
            return answer.status_code

    def _target(self, text: str) -> "tuple[httpx.URL, Address]":
        url = self._parsed(text)
        port = url.port or _PORTS[url.scheme]
        try:
            addresses = self._resolve(url.raw_host.decode("ascii"), port)
        except (OSError, UnicodeError) as error:
            raise WebhookRefused("the receiver's name does not resolve") from error
        if not addresses or not all(self._allows(address) for address in addresses):
            # One bad address is enough: which one a connection takes is not for the name to decide.
            raise WebhookRefused("the receiver is not at a public address")
        return url, addresses[0]

    def _parsed(self, text: str) -> "httpx.URL":
        import httpx

        schemes = ("https", "http") if self._development else ("https",)
        if len(text) > _LONGEST_URL or not text.isascii() or not text.isprintable() or " " in text:
            raise WebhookRefused(f"the address is not a URL of at most {_LONGEST_URL} ASCII characters")
        try:
            url, strict = httpx.URL(text), urlsplit(text)
            usual = _PORTS.get(url.scheme)
            host = url.raw_host.decode("ascii")
            differs = strict.hostname != host or (strict.port or usual) != (url.port or usual)
        except (httpx.InvalidURL, ValueError) as error:
            raise WebhookRefused("the address is not a URL") from error
        if url.scheme not in schemes:
            raise WebhookRefused(f"the address must begin with {' or '.join(schemes)}://")
        # What two readers of URLs understand differently is made to be misunderstood.
        if not host or differs or "\\" in text:
            raise WebhookRefused("the address names no host clearly")
        if url.userinfo or url.fragment:
            raise WebhookRefused("the address may have neither credentials nor a fragment")
        return url

    def _allows(self, address: Address) -> bool:
        return is_public(address) or (self._development and address.is_loopback)
