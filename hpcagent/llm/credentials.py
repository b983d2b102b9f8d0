"""What a server is spoken to with: the key to it, and the authorities that are trusted for TLS."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm.address import Address
from hpcagent.llm.tables import ModelChoice

_LONGEST_KEY = 4096


def key_of(choice: ModelChoice) -> str:
    """The server's key, from its file or variable; empty where none is configured.

    It is read at each call, so that a new one is taken up, and told nowhere. EnvironmentProblem
    where it is missing, cannot be one, or lies in a file that everybody can read.
    """
    if choice.api_key_file:
        return _of_file(Path(choice.api_key_file).expanduser())
    if choice.api_key_env:
        name = choice.api_key_env
        if not os.environ.get(name):
            raise EnvironmentProblem(
                f"api_key_env {name}: there is no such variable, or it is empty"
            )
        return _checked(os.fsencode(os.environ[name]), f"api_key_env {name}: it")
    return ""


def tls_context(address: Address, ca_file: str) -> ssl.SSLContext | None:
    """How an https server proves who it is: to the authorities of `ca_file`, which may hold the
    server's own certificate, or (without it) to those that OpenSSL trusts; None without TLS.

    EnvironmentProblem where the file cannot be used.
    """
    if address.scheme != "https":
        return None
    path = str(Path(ca_file).expanduser()) if ca_file else None
    try:
        return ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise EnvironmentProblem(
            f"ca_file {path}: no certificates in PEM form ({error.reason or error})"
        ) from None
    except OSError as error:
        raise EnvironmentProblem(f"ca_file {path}: {error.strerror or error}") from None


def _of_file(path: Path) -> str:
    try:
        if path.stat().st_mode & 0o007:
            raise EnvironmentProblem(f"api_key_file {path}: everybody can read it: chmod o= {path}")
        with path.open("rb") as stream:
            raw = stream.read(_LONGEST_KEY + 1)
    except OSError as error:
        raise EnvironmentProblem(f"api_key_file {path}: {error.strerror or error}") from None
    return _checked(raw, f"api_key_file {path}: it")


def _checked(raw: bytes, what: str) -> str:
    key = raw.strip().decode("ascii", errors="replace")
    if not key or len(raw) > _LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise EnvironmentProblem(f"{what} has to hold one line of ASCII, the key")
    return key
