"""Whether the files of a model are still those that it was opened with.

Weights are mapped into memory: a file that is written over changes the model that is loaded, and
one that is put in its place by a rename does not. Neither may be loaded later under the digest of
the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm import gguf
from hpcagent.llm.digests import identity
from hpcagent.llm.progress import Tell, silent

_SHOWN = 12  # digits of a digest
_FILE = ("device", "inode")
_WRITTEN = ("size", "mtime_ns")  # ctime changes with a link or a mode, too

_Identities = list[dict[str, int]]


class Original:
    """A model's files as they are now; a look at them costs one stat each."""

    def __init__(self, file: gguf.ModelFile) -> None:
        self._path = file.path
        self._parts = file.parts or (file.path,)
        self._known = self._now()
        self._judged: _Identities = self._known
        self._words = ""
        self._digest = ""

    def digest(self, tell: Tell = silent) -> str:
        """SHA-256 as gguf.digest; EnvironmentProblem where it would be that of other files."""
        if not self._digest:
            found = gguf.digest(self._path, tell)
            if not self.is_here:
                raise EnvironmentProblem(f"model {self._path}: it changed while it was read")
            self._digest = found
        return self._digest

    @property
    def is_here(self) -> bool:
        """Whether what its paths lead to is what it was."""
        pairs = zip(self._known, self._now(), strict=True)
        return all(_same(then, now, _FILE + _WRITTEN) for then, now in pairs)

    def written_over(self) -> str:
        """What was written to, in words; empty where the files of then are as they were.

        A path that leads to another file now, or to none, says nothing of what is mapped.
        """
        for part, then, now in zip(self._parts, self._known, self._now(), strict=True):
            if _same(then, now, _FILE) and not _same(then, now, _WRITTEN):
                return f"{part.name} was written to while it was loaded"
        return ""

    def another(self) -> str:
        """Why what its paths lead to may not be loaded in its place; empty where it may.

        It is read in full where it looks changed, once; the same content is taken.
        """
        now = self._now()
        if now == self._known or (not self._digest and self.is_here):
            return ""
        if now != self._judged:
            self._judged, self._words = now, self._compared(now)
            if not self._words:
                self._known = now
        return self._words

    def _compared(self, now: _Identities) -> str:
        changed = f"model {self._path}: it changed since it was opened"
        if not self._digest:
            return changed
        try:
            found = gguf.digest(self._path)
        except EnvironmentProblem as error:
            return str(error)
        if self._now() != now:
            return f"{changed}, and is written to still"
        if found != self._digest:
            return f"{changed}: SHA-256 {found[:_SHOWN]}..., not {self._digest[:_SHOWN]}..."
        return ""

    def _now(self) -> _Identities:
        return [identity(part) for part in self._parts]


def _same(then: Mapping[str, int], now: Mapping[str, int], keys: Sequence[str]) -> bool:
    return all(then.get(key) == now.get(key) for key in keys)
