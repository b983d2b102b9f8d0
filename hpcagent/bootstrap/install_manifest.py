"""The manifest of a bundle: what is in it, for which machines, and the SHA-256 of every file."""

import hashlib
import json
import os
import re
from typing import Any, Callable, Dict, List, NamedTuple

from hpcagent.bootstrap.needs import SetupError

NAME = "manifest.json"
SCHEMA = 1
CHUNK = 1 << 20
SAFE_PATH = re.compile(r"[A-Za-z0-9_+.,=@~-][A-Za-z0-9_+.,=@~ -]*(/[A-Za-z0-9_+.,=@~ -]+)*")
SHA256 = re.compile(r"[0-9a-f]{64}")


class Member(NamedTuple):
    """A file of the bundle; `path` is relative to the bundle's folder, with slashes."""

    path: str
    size: int
    sha256: str
    executable: bool


class Platform(NamedTuple):
    """What a machine must have. `glibc` is what the compiled parts ask for, not the maker's."""

    system: str
    machine: str
    python: str  # "3.11"
    abi: str  # SOABI of the interpreter without its platform: "cpython-311"
    glibc: str
    cpu: str  # the level of the x86-64 psABI, "native" or "generic"
    cpu_flags: List[str]  # as in /proc/cpuinfo
    gpu: str  # "none", "cuda", "hip", ...
    libraries: Dict[str, str]  # by soname: the symbol version it must have, or ""


class Package(NamedTuple):
    name: str
    version: str
    wheel: str
    licence: str


class Manifest(NamedTuple):
    version: str
    revision: str  # of the checkout; may be empty
    platform: Platform
    requirements: List[str]  # names of the distributions that must load
    llama_cmake_args: List[str]
    installed_bytes: int
    packages: List[Package]
    files: List[Member]

    def below(self, folder: str) -> List[Member]:
        return [member for member in self.files if member.path.startswith(folder + "/")]

    def wheels(self) -> List[str]:
        """All but pip's, which installs the others and is not installed."""
        return [package.wheel for package in self.packages if package.name != "pip"]

    def pip(self) -> str:
        return next(package.wheel for package in self.packages if package.name == "pip")


def dump(manifest: Manifest) -> bytes:
    content = manifest._asdict()
    content["platform"] = manifest.platform._asdict()
    content["packages"] = [package._asdict() for package in manifest.packages]
    content["files"] = [member._asdict() for member in manifest.files]
    content["schema"] = SCHEMA
    return json.dumps(content, indent=1, sort_keys=True).encode("ascii") + b"\n"


def load(raw: bytes, where: str) -> Manifest:
    """SetupError for anything that `dump` would not have written."""
    try:
        found = json.loads(raw.decode("ascii"))
        if found["schema"] != SCHEMA:
            raise SetupError(
                "%s has the format %r, and this installer reads %d"
                % (where, found["schema"], SCHEMA)
            )
        manifest = _typed(found)
    except (ValueError, KeyError, TypeError) as error:
        words = "%s %s" % (type(error).__name__, error)
        raise SetupError(
            "%s is not a manifest (%s); fetch the bundle again" % (where, words)
        ) from None
    return manifest


def _typed(found: Dict[str, Any]) -> Manifest:
    platform = dict(found["platform"])
    manifest = Manifest(
        version=_text(found["version"]),
        revision=_text(found["revision"]),
        platform=Platform(
            system=_text(platform["system"]),
            machine=_text(platform["machine"]),
            python=_text(platform["python"]),
            abi=_text(platform["abi"]),
            glibc=_text(platform["glibc"]),
            cpu=_text(platform["cpu"]),
            cpu_flags=[_text(flag) for flag in platform["cpu_flags"]],
            gpu=_text(platform["gpu"]),
            libraries={_text(k): _text(v) for k, v in platform["libraries"].items()},
        ),
        requirements=[_text(name) for name in found["requirements"]],
        llama_cmake_args=[_text(word) for word in found["llama_cmake_args"]],
        installed_bytes=int(found["installed_bytes"]),
        packages=[Package(*(_text(row[f]) for f in Package._fields)) for row in found["packages"]],
        files=[_member(row) for row in found["files"]],
    )
    known = {member.path for member in manifest.files}
    absent = [p.wheel for p in manifest.packages if "wheels/" + p.wheel not in known]
    if absent or not any(package.name == "pip" for package in manifest.packages):
        raise ValueError("wheels that no file is named for: %s" % (", ".join(absent) or "pip"))
    if not re.fullmatch(r"[A-Za-z0-9_.+-]+", manifest.version):
        raise ValueError("version %r" % manifest.version)
    return manifest


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("%r is not a text" % (value,))
    return value


def _member(row: Dict[str, Any]) -> Member:
    member = Member(
        _text(row["path"]), int(row["size"]), _text(row["sha256"]), bool(row["executable"])
    )
    parts = member.path.split("/")
    if not SAFE_PATH.fullmatch(member.path) or ".." in parts or "." in parts:
        raise ValueError("file name %r" % member.path)
    if not SHA256.fullmatch(member.sha256) or member.size < 0:
        raise ValueError("hash or size of %s" % member.path)
    return member


def sha256_of(path: str, read: Callable[[int], None] = lambda count: None) -> str:
    """The hash of a file; `read` is told of every piece that was read."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while True:
            chunk = stream.read(CHUNK)
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)
            read(len(chunk))


def read_bundle(folder: str) -> "tuple[Manifest, str]":
    """The manifest of an unpacked bundle, and its own hash."""
    path = os.path.join(folder, NAME)
    try:
        with open(path, "rb") as stream:
            raw = stream.read()
    except OSError as error:
        raise SetupError("%s: %s; unpack the bundle again" % (path, error.strerror)) from None
    return load(raw, path), hashlib.sha256(raw).hexdigest()
