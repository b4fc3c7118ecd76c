"""Ask by HTTP: a GET on a connection of its own, well where the status is from 200 to 399.

Theory of operation. It is written by hand on bare sockets because a general client costs more than twice as much, and
thousands of workers are asked. As in Kubernetes a redirect is followed on the same host only, and one to
another host is well; of a body some KiB are read, so that a server need not find its connection gone in mid-write; who
speaks TLS need not have a certificate that anybody trusts. Proxies of the environment mean nothing here.

Must never know: whose answer it is. Limits: HTTP/1.0 and 1.1; a status line and headers of 16 KiB.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from functools import cache
from urllib.parse import urljoin, urlsplit

from autohealer.printable import printable
from autohealer.probes.answers import WELL, Answer, failed, raise_if_ours
from autohealer.probes.connecting import connected

BODY_BYTES_MAX = 10 * 1024
HEAD_BYTES_MAX = 16 * 1024
READ_BYTES = 16 * 1024
REDIRECTS_MAX = 10
URL_CHARS_MAX = 200

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*(\d{1,15})[ \t]*\r?\n", re.IGNORECASE)
_LOCATION = re.compile(rb"\nlocation:[ \t]*([^\r\n]*?)[ \t]*\r?\n", re.IGNORECASE)


class BadAnswer(Exception):  # noqa: N818 - says what it is
    """What came is not HTTP, or ended too soon; the message says which."""


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of an answer."""

    status: int
    location: str | None


async def ask_http(url: str) -> Answer:
    """One GET, and what it is redirected to on the same host; as long as it takes. Raises `CouldNotAsk`."""
    host = urlsplit(url).hostname
    here = url
    for _ in range(REDIRECTS_MAX + 1):
        told = f"GET {printable(here[:URL_CHARS_MAX])}"
        try:
            head = await _get(here)
        except BadAnswer as error:
            return failed(f"{told} {error}")
        except (OSError, ValueError) as error:  # ValueError: a redirect to what is no address
            raise_if_ours(error)
            return failed(f"{told}: {in_words(error)}")
        if not 200 <= head.status < 400:
            return failed(f"{told} answered {head.status}")
        if head.location is None or not 300 <= head.status < 400:
            return WELL
        here = urljoin(here, head.location)
        if urlsplit(here).hostname != host:
            return WELL
    return failed(f"GET {printable(url[:URL_CHARS_MAX])} was redirected {REDIRECTS_MAX} times")


def in_words(error: Exception) -> str:
    """Why there is no connection, as people say it."""
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError():
            return "connection reset"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
            return "it does not speak TLS: say http instead of https"
        case ssl.SSLError():
            return (
                f"TLS failed ({printable((error.reason or str(error)).lower().replace('_', ' '))})"
            )
        case OSError() if error.strerror:
            return printable(error.strerror).lower()
        case _:
            return printable(str(error))


async def _get(url: str) -> Head:
    """Raises `BadAnswer`, `OSError`, `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("this is no address for HTTP")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    address = parts.netloc.rpartition("@")[2]
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: autohealer-probe\r\nAccept: */*\r\n"
        "Connection: close\r\n\r\n"
    ).encode("utf-8", "replace")
    if parts.scheme == "https":
        return await _exchange_in_secret(parts.hostname, parts.port or 443, request)
    return await _exchange(parts.hostname, parts.port or 80, request)


async def _exchange(host: str, port: int, request: bytes) -> Head:
    loop = asyncio.get_running_loop()
    connection = await connected(host, port)
    with connection:
        await loop.sock_sendall(connection, request)
        reading = _Reading()
        while (head := reading.fed(await loop.sock_recv(connection, READ_BYTES))) is None:
            pass
        return head


async def _exchange_in_secret(host: str, port: int, request: bytes) -> Head:
    reader, writer = await asyncio.open_connection(host, port, ssl=_unchecked())
    try:
        writer.write(request)
        reading = _Reading()
        while (head := reading.fed(await reader.read(READ_BYTES))) is None:
            pass
        return head
    finally:
        writer.transport.abort()


@cache
def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Reading:
    """As much of an answer as matters."""

    def __init__(self) -> None:
        self._seen = b""
        self._head: Head | None = None
        self._body_left = BODY_BYTES_MAX

    def fed(self, data: bytes) -> Head | None:
        """The head, once nothing more of the answer matters; no data is its end. Raises `BadAnswer`."""
        if self._head is not None:
            self._body_left -= len(data)
        else:
            self._seen += data
            self._read_head()
        if self._head is None and not data:
            raise BadAnswer("was not answered: the connection was closed")
        return self._head if not data or self._body_left <= 0 else None

    def _read_head(self) -> None:
        while (end := _HEAD_END.search(self._seen)) is not None:
            status = _STATUS.match(self._seen)
            if status is None:
                raise BadAnswer("was answered with something that is not HTTP")
            head, body = self._seen[: end.end()], self._seen[end.end() :]
            code = int(status[1])
            if 100 <= code < 200 and code != 101:
                self._seen = body
                continue
            self._begin_body(code, head, len(body))
            return
        if len(self._seen) > HEAD_BYTES_MAX:
            raise BadAnswer(f"was answered with more than {HEAD_BYTES_MAX} bytes of headers")

    def _begin_body(self, code: int, head: bytes, came: int) -> None:
        location = _LOCATION.search(head)
        self._head = Head(code, None if location is None else location[1].decode("latin-1"))
        length = _LENGTH.search(head)
        expected = BODY_BYTES_MAX if length is None else int(length[1])
        has_none = code in {101, 204, 304}
        self._body_left = 0 if has_none else min(BODY_BYTES_MAX, expected) - came
