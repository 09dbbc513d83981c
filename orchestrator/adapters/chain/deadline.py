"""HTTP for RPC endpoints: an exchange ends within its timeout, however slowly the other side speaks.

The timeout of ``requests`` is for each silence, so that one byte every few seconds would hold a caller for
ever. Here a thread ends the connection, one for all exchanges: starting one for each would cost as much as a
short exchange. Redirects are not followed.
"""

import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class DeadlineSession(requests.Session):
    """A session for short exchanges, each of which has its timeout for all of it."""

    def __init__(self) -> None:
        super().__init__()
        self._settings: dict[str, Any] = {}
        for scheme in ("http://", "https://"):
            self.mount(scheme, _WatchedAdapter())

    def merge_environment_settings(self, url: Any, *settings: Any) -> Any:
        """Proxies and certificates as the environment names them, which is looked at once for an endpoint."""
        if url not in self._settings:
            self._settings[url] = super().merge_environment_settings(url, *settings)
        return dict(self._settings[url])

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """The answer, read to its end. Raises requests.RequestException."""
        timeout_s: float = options["timeout"]
        with _watching(timeout_s) as watch:
            try:
                response = super().send(request, **{**options, "allow_redirects": False, "stream": False})
            except requests.RequestException as error:
                if watch.has_ended:
                    raise requests.Timeout(f"no whole answer within {timeout_s:g} s") from error
                raise
        if watch.has_ended:
            # What ends with its connection looks whole.
            raise requests.Timeout(f"no whole answer within {timeout_s:g} s")
        if response.is_redirect:
            raise requests.TooManyRedirects("an RPC endpoint may not redirect")
        return response


class _Watch:
    """The connection of the exchange that a thread is at, and whether its time is over."""

    def __init__(self) -> None:
        self.has_ended = False
        self._handle: socket.socket | None = None
        self._lock = threading.Lock()

    def take(self, handle: socket.socket) -> None:
        """Have this connection ended when the time is over."""
        with self._lock:
            self._handle = handle
            if self.has_ended:
                _end(handle)

    def end(self) -> None:
        """The time is over."""
        with self._lock:
            self.has_ended = True
            if self._handle is not None:
                _end(self._handle)


class _Ender:
    """Ends watches at their times, in a thread that begins with the first of them."""

    def __init__(self) -> None:
        self._times_s: dict[_Watch, float] = {}
        self._changed = threading.Condition()
        self._looks_again_s = math.inf
        self._thread: threading.Thread | None = None

    def add(self, watch: _Watch, timeout_s: float) -> None:
        """End a watch after so long, unless it is removed before."""
        ends_s = time.monotonic() + timeout_s
        with self._changed:
            self._times_s[watch] = ends_s
            if self._thread is None or not self._thread.is_alive():  # nor is it in a forked process
                self._thread = threading.Thread(target=self._run, name="rpc deadlines", daemon=True)
                self._thread.start()
            elif ends_s < self._looks_again_s:
                self._changed.notify()

    def remove(self, watch: _Watch) -> None:
        """Its exchange is over. The thread finds out when it would have ended it."""
        with self._changed:
            self._times_s.pop(watch, None)

    def _run(self) -> None:
        with self._changed:
            while True:
                now_s = time.monotonic()
                for watch in [watch for watch, ends_s in self._times_s.items() if ends_s <= now_s]:
                    del self._times_s[watch]
                    watch.end()
                self._looks_again_s = min(self._times_s.values(), default=math.inf)
                is_idle = math.isinf(self._looks_again_s)
                self._changed.wait(None if is_idle else self._looks_again_s - now_s)


_ender = _Ender()
_of_thread = threading.local()


@contextmanager
def _watching(timeout_s: float) -> Iterator[_Watch]:
    watch = _Watch()
    _of_thread.watch = watch
    _ender.add(watch, timeout_s)
    try:
        yield watch
    finally:
        _ender.remove(watch)
        _of_thread.watch = None


def _end(handle: socket.socket) -> None:
    with suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


class _Handle:
    """A second descriptor of a connection: it works before, in and after a TLS handshake."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def open(self, connection: socket.socket) -> None:
        """A new connection."""
        self.close()
        self._socket = connection.dup()
        self.watch()

    def watch(self) -> None:
        """The connection is used for the exchange that this thread is at."""
        watch: _Watch | None = getattr(_of_thread, "watch", None)
        if watch is not None and self._socket is not None:
            watch.take(self._socket)

    def close(self) -> None:
        """The connection is no longer used."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _WatchedConnection(HTTPConnection):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._handle = _Handle()
        super().__init__(*arguments, **options)

    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        self._handle.open(connection)
        return connection

    def request(self, *arguments: Any, **options: Any) -> None:
        self._handle.watch()
        super().request(*arguments, **options)

    def close(self) -> None:
        super().close()
        self._handle.close()


class _WatchedTlsConnection(_WatchedConnection, HTTPSConnection):
    """The same over TLS: the parent's calls go on to urllib3's own TLS connection."""


class _WatchedPool(HTTPConnectionPool):
    ConnectionCls = _WatchedConnection


class _WatchedTlsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTlsConnection


class _WatchedAdapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _WatchedPool, "https": _WatchedTlsPool}
