"""Addresses of model servers, and which of them may be spoken to."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from hpcagent.errors import UsageError

LOOPBACK = "localhost"  # in a list of hosts: this machine, by TCP or by a unix socket
_SCHEMES = ("http", "https", "unix")
_LONGEST_SOCKET = 107  # bytes of sockaddr_un.sun_path on Linux, without the final zero (unix(7))
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\.?\Z")
_PATH = re.compile(r"[A-Za-z0-9/._~%+-]*\Z")
_DEFAULT_BASE = "/v1"
_PORTS = {"http": 80, "https": 443}

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forbidden(Exception):
    """The address is not one that may be spoken to; the words say why, and who can allow it."""


@dataclass(frozen=True)
class Address:
    """Where a server listens: `host` and `port`, or the path of a `socket`; `base` of its paths."""

    text: str
    scheme: str
    host: str
    port: int
    base: str
    socket: str = ""

    @property
    def in_clear(self) -> bool:
        """Whether what is said travels unencrypted to another machine."""
        return self.scheme == "http" and not self.is_here

    @property
    def is_here(self) -> bool:
        """Whether the server is on this machine."""
        return _claims_loopback(self.host)


def is_address(text: str) -> bool:
    """Whether the text is meant as an address, right or wrong, and not as the name of a file."""
    head = text.partition(":")[0].lower()
    return "://" in text or (head == "unix" and ":" in text)


def read_address(text: str) -> Address:
    """The address; UsageError says in one line what is wrong with it."""
    if not text.isprintable() or " " in text:
        raise _bad(text, "it has blanks or control characters")
    scheme, _, rest = text.partition(":")
    scheme = scheme.lower()
    if scheme not in _SCHEMES:
        raise _bad(text, f"it begins with {scheme}:")
    if scheme == "unix":
        return _of_socket(text, rest)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _bad(text, str(error)) from None
    if "@" in parts.netloc:
        raise UsageError("model endpoint: no user or password in a URL; use api_key_file")
    if parts.query or parts.fragment or not _PATH.match(parts.path):
        raise _bad(text, "only a path may follow the host")
    host = _host(text, parts.hostname or "")
    base = parts.path.rstrip("/") or _DEFAULT_BASE
    return Address(text, scheme, host, port if port is not None else _PORTS[scheme], base)


def resolved(address: Address, allowed: Sequence[str]) -> tuple[str, ...]:
    """The numeric addresses to connect to, in the order of the resolver.

    Raises Forbidden unless the host is on the list of `allowed` ones; OSError where its name is not
    known. What a name resolves to is judged too, and is what is connected to: a name that claims to
    be this machine has to be, and no other name may lead back to it or to link-local addresses.
    """
    hosts = frozenset(each.lower().rstrip(".") for each in allowed)
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(row[4][0]) for row in found))
    for each in addresses:
        why = _why_not(address, ipaddress.ip_address(each.partition("%")[0]), hosts)
        if why:
            raise Forbidden(f"{address.text}: {why}")
    return tuple(addresses)


def require_allowed(address: Address, allowed: Sequence[str]) -> None:
    """Forbidden where the list alone, without asking for addresses, says no."""
    hosts = frozenset(each.lower().rstrip(".") for each in allowed)
    if address.socket or _claims_loopback(address.host):
        if LOOPBACK not in hosts:
            raise Forbidden(f"{address.text}: {_not_listed('this machine', hosts)}")
    elif not _named(address.host, hosts) and not any("/" in each for each in hosts):
        raise Forbidden(f"{address.text}: {_not_listed(address.host, hosts)}")


def check_hosts(hosts: Sequence[str], source: str) -> None:
    """UsageError for an entry of an allow-list that is no name, address or network."""
    for host in hosts:
        if _number(host) is None and _network(host) is None and not _HOST.match(host):
            raise UsageError(
                f"{source}: model_hosts: {host!r} is no host name, address or network (10.1.0.0/16)"
            )


def _of_socket(text: str, rest: str) -> Address:
    path = rest.removeprefix("//")
    if not path.startswith("/"):
        raise _bad(text, "the path of a socket is absolute")
    if len(path.encode("utf-8", "replace")) > _LONGEST_SOCKET:
        raise _bad(text, f"the path of a socket has at most {_LONGEST_SOCKET} bytes")
    return Address(text, "unix", LOOPBACK, 0, _DEFAULT_BASE, path)


def _host(text: str, host: str) -> str:
    if _number(host) is None and not _HOST.match(host):
        raise _bad(text, "it names no host")
    return host.lower().rstrip(".")


def _why_not(address: Address, number: IpAddress, hosts: frozenset[str]) -> str:
    mapped = getattr(number, "ipv4_mapped", None)
    number = mapped or number
    if _claims_loopback(address.host):
        if not number.is_loopback:
            return f"{address.host} is {number} here, which is not this machine"
        return "" if LOOPBACK in hosts else _not_listed("this machine", hosts)
    networks = [net for each in hosts if (net := _network(each)) is not None]
    if any(number in net for net in networks):
        return ""
    if number.is_loopback or number.is_link_local or number.is_unspecified:
        return f"{address.host} is {number} here: refused unless that address itself is listed"
    return "" if _named(address.host, hosts) else _not_listed(address.host, hosts)


def _claims_loopback(host: str) -> bool:
    number = _number(host)
    return host == LOOPBACK if number is None else number.is_loopback


def _named(host: str, hosts: frozenset[str]) -> bool:
    return host in hosts


def _not_listed(what: str, hosts: frozenset[str]) -> str:
    there = ", ".join(sorted(hosts)) or "nothing"
    return (
        f"{what} is not on the site's list of model hosts ({there}); the site's configuration "
        "can add it to model_hosts"
    )


def _number(text: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """A network, or a single address as one."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _bad(text: str, why: str) -> UsageError:
    return UsageError(
        f"model endpoint {text!r}: {why}; write http://HOST:PORT/v1, https://HOST/v1 or unix:/PATH"
    )
