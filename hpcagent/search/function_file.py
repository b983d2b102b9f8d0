"""A user's own Python file: read and checked before a run, never imported here."""

from __future__ import annotations

import ast
import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

from hpcagent.errors import UsageError
from hpcagent.templates import clean

MAX_BYTES = 1 << 20
EXAMPLE = Path(__file__).resolve().parent / "function_example.py"
# The strategies that call a function of the user, and what it is called.
ENTRIES = {"user-function": "propose", "guided": "analyse"}


@dataclass(frozen=True)
class FunctionFile:
    path: Path
    sha256: str


def read_function(text: str, entry: str) -> FunctionFile:
    """The file at `text`, which has to define `entry(space, history)`; UsageError if not."""
    path = Path(clean(text, "--function")).absolute()
    try:
        about = path.stat()
        if not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):
            # It is read again for each call; a pipe gives its text once, or never.
            raise UsageError(f"--function: {path}: not a regular file")
        if about.st_size > MAX_BYTES:
            raise UsageError(f"--function: {path} is larger than {MAX_BYTES >> 20} MiB")
        source = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--function: {path}: cannot be read: {error.strerror}") from None
    try:
        tree = ast.parse(source, str(path))
    except SyntaxError as error:
        raise UsageError(f"--function: {path}:{error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"--function: {path}: not Python: {error}") from None
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef) and node.name == entry:
            raise UsageError(
                f"--function: {path}:{node.lineno}: {entry} must be a plain function: def, not"
                " async def"
            )
        if isinstance(node, ast.FunctionDef) and node.name == entry:
            if not _takes_two(node.args):
                raise UsageError(
                    f"--function: {path}:{node.lineno}: {entry} must take (space, history)"
                )
            return FunctionFile(path, hashlib.sha256(source).hexdigest())
    raise UsageError(
        f"--function: {path}: it must define {entry}(space, history) at its top level;"
        " `hpcagent tune --function-example` prints a complete file"
    )


def digest(path: Path) -> str:
    """SHA-256 of the file as it is now; empty where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _takes_two(of: ast.arguments) -> bool:
    places = len(of.posonlyargs) + len(of.args)
    needed = places - len(of.defaults)
    keywords = any(default is None for default in of.kw_defaults)
    return needed <= 2 and not keywords and (places >= 2 or of.vararg is not None)
