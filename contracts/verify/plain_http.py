"""HTTP answers as they come over the wire, from a server that is not trusted.

What is compressed grows a thousandfold when it is read, and so again for each layer of compression, all of it
before a size can be checked. So nothing compressed is asked for, and none is taken.
"""

from collections.abc import Iterator

import httpx

HEADERS = {"Accept-Encoding": "identity"}
"""What a request says, so that an honest server does not compress."""


def plain_chunks(response: httpx.Response) -> Iterator[bytes]:
    """The body, piece by piece, each as large as it came.

    Raises:
        httpx.DecodingError: it is compressed.
    """
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        raise httpx.DecodingError("it answered with compressed data, which was not asked for")
    yield from response.iter_raw()
