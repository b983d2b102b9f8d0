"""The one door to HTTP: a request to a model server, bounded in time and size.

Nothing is followed (redirects) and nothing is taken from the environment (proxies). A server is
taken for hostile: it may drip, never end, or send anything.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcagent.llm.address import Address, Forbidden, resolved

MOST_HEAD = 64 * 1024  # bytes of the status line and all headers
MOST_BODY = 4 * 1024 * 1024
CONNECT_S = 10.0
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")  # of OpenSSL
_CHUNKING = 2  # bytes on the wire for each of a body, at most, before it is given up


@dataclass(frozen=True)
class Request:
    """`path` follows the base of the address; a `body` makes it a POST of JSON."""

    path: str
    body: bytes | None = None
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Response:
    status: int
    content_type: str
    location: str
    body: bytes


class HttpFailed(Exception):
    """No response: `kind` is forbidden, untrusted, refused, timeout, died, nonsense or
    too_large."""

    def __init__(self, kind: str, words: str) -> None:
        # Some are a server's, which may send what a terminal would obey.
        super().__init__("".join(char if char.isprintable() else " " for char in words))
        self.kind = kind


def exchange(
    address: Address,
    request: Request,
    allowed: Sequence[str],
    timeout_s: float,
    context: ssl.SSLContext | None = None,
) -> Response:
    """One request and its response, within `timeout_s` in all; HttpFailed where there is none.

    `context` is how a server of https proves who it is; None: to those whom OpenSSL trusts.
    """
    deadline = time.monotonic() + timeout_s
    with _connected(address, allowed, deadline) as plain:
        try:
            return _spoken(address, request, plain, deadline, context)
        except (_TooSlow, TimeoutError):
            raise HttpFailed("timeout", f"no whole answer within {timeout_s:.2g} s") from None
        except _TooLarge as large:
            raise HttpFailed("too_large", str(large)) from None
        except ssl.SSLCertVerificationError as error:
            words = f"TLS: {error.verify_message}; ca_file names the authorities to be trusted"
            raise HttpFailed("untrusted", words) from None
        except ssl.SSLError as error:
            plainly = error.reason in _NO_TLS
            words = f"{error.reason or error}{'; is it http:// in its URL?' if plainly else ''}"
            raise HttpFailed("nonsense", f"TLS: {words}") from None
        except http.client.RemoteDisconnected:
            raise HttpFailed("died", "the connection was closed without an answer") from None
        except http.client.BadStatusLine as error:
            raise HttpFailed("nonsense", f"not HTTP: it begins {str(error)[:60]!r}") from None
        except http.client.IncompleteRead as error:
            got = len(error.partial)
            raise HttpFailed("died", f"the answer breaks off after {got} bytes") from None
        except (http.client.HTTPException, ValueError) as error:
            words = f"not HTTP: {type(error).__name__}: {str(error)[:100]}"
            raise HttpFailed("nonsense", words) from None
        except OSError as error:
            words = f"the connection was lost: {error.strerror or error}"
            raise HttpFailed("died", words) from None


def _spoken(
    address: Address,
    request: Request,
    plain: socket.socket,
    deadline: float,
    context: ssl.SSLContext | None,
) -> Response:
    host = address.host if address.socket == "" else "localhost"
    connection = http.client.HTTPConnection(host, address.port or 80)
    secured = _secured(address, plain, deadline, context)
    wire = _Wire(secured, deadline)
    connection.sock = wire  # it has what http.client uses of a socket
    headers = {"Connection": "close", "Accept": "application/json", **(request.headers or {})}
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    try:
        method = "GET" if request.body is None else "POST"
        connection.request(method, address.base + request.path, request.body, headers)
        response = connection.getresponse()
        wire.reader.most = MOST_HEAD + _CHUNKING * MOST_BODY
        return _read(response)
    finally:
        secured.close()


def _read(response: http.client.HTTPResponse) -> Response:
    if response.length is not None and response.length > MOST_BODY:
        raise _TooLarge(f"it announces {response.length} bytes; at most {MOST_BODY} are taken")
    coding = response.getheader("Content-Encoding", "identity")
    if coding.strip().lower() != "identity":
        raise ValueError(f"an encoding that was not asked for: {coding[:40]!r}")
    body = response.read(MOST_BODY + 1)
    if len(body) > MOST_BODY:
        raise _TooLarge(f"more than {MOST_BODY} bytes")
    if response.length:  # what is left of the length that was announced
        raise http.client.IncompleteRead(body)
    kind = response.getheader("Content-Type", "")
    return Response(response.status, kind, response.getheader("Location", ""), body)


def _connected(address: Address, allowed: Sequence[str], deadline: float) -> socket.socket:
    try:
        if address.socket:
            return _connect(socket.AF_UNIX, address.socket, deadline)
        # The resolver has time limits of its own, of some seconds (resolv.conf(5)).
        numbers = resolved(address, allowed)
    except Forbidden as forbidden:
        raise HttpFailed("forbidden", str(forbidden)) from None
    except OSError as error:
        what = address.socket or address.host
        raise HttpFailed("refused", f"{what}: {error.strerror or error}") from None
    words = ""
    for number in numbers:
        family = socket.AF_INET6 if ":" in number else socket.AF_INET
        try:
            return _connect(family, (number, address.port), deadline)
        except TimeoutError:
            words = f"no connection to {number} port {address.port} in time"
        except OSError as error:
            words = f"{number} port {address.port}: {error.strerror or error}"
    raise HttpFailed("refused", words)


def _connect(family: int, where: str | tuple[str, int], deadline: float) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.settimeout(max(0.01, min(CONNECT_S, deadline - time.monotonic())))
        opened.connect(where)
    except OSError:
        opened.close()
        raise
    return opened


def _secured(
    address: Address, plain: socket.socket, deadline: float, context: ssl.SSLContext | None
) -> socket.socket:
    if address.scheme != "https":
        return plain
    plain.settimeout(min(CONNECT_S, _left(deadline)))
    context = context or ssl.create_default_context()
    return context.wrap_socket(plain, server_hostname=address.host)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _TooSlow
    return left


class _TooSlow(Exception):
    """The time is up, though each single read was fast enough."""


class _TooLarge(Exception):
    """More bytes than are taken."""


class _Reader(io.RawIOBase):
    """Reads from a socket until the deadline, and `most` bytes in all."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.most = MOST_HEAD
        self._connection = connection
        self._deadline = deadline
        self._taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if self._taken >= self.most:
            raise _TooLarge(f"more than {self.most} bytes")
        self._connection.settimeout(_left(self._deadline))
        count = self._connection.recv_into(buffer)
        self._taken += count
        return count


class _Wire:
    """What http.client uses of a socket, with one deadline over all of it."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self.reader = _Reader(connection, deadline)

    def sendall(self, data: bytes) -> None:
        self._connection.settimeout(_left(self._deadline))
        self._connection.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self.reader)

    def close(self) -> None:
        """The connection is closed by who opened it: http.client reads on after its close."""
