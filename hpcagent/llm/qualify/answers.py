"""The file of answers: what an interrupted qualification goes on from, and the card is made of.

The first line says which model and qualification it is; then an answer a line, in JSON. What a
program that was written was worth is a line of its own ({"judged", "words"}), and so is the run in
which that was found out ({"run", "of"}).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

from hpcagent.errors import EnvironmentProblem, RunInUse, UsageError
from hpcagent.llm.qualify.ask import Answer

_NAMES = {field.name for field in fields(Answer)}
_LATER = {"limit_s"}  # that files of earlier versions have not


class Answers:
    """Appends to a file, each answer once it is there; a last line that was cut off is dropped.

    `header` has to be that of the file if there is one: UsageError names what differs. RunInUse
    where another process has the file.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.known: dict[str, Answer] = {}
        self.verdicts: dict[str, str] = {}  # case -> what is wrong with it; empty: nothing
        self._runs: dict[str, str] = {}
        with ExitStack() as stack:
            try:
                self._stream = stack.enter_context(path.open("a+b"))
            except OSError as error:
                raise _unwritable(path, error) from None
            _lock(path, self._stream)
            self._stream.seek(0)
            whole = self._read(self._stream.read(), header)
            self._stream.truncate(whole)
            if not whole:
                self._write(header)
            stack.pop_all()

    def add(self, answer: Answer) -> None:
        self.known[answer.case] = answer
        self._write(answer.to_json())

    def judge(self, case: str, words: str) -> None:
        self.verdicts[case] = words
        self._write({"judged": case, "words": words})

    def note_run(self, digest: str, path: str) -> None:
        self._runs[digest] = path
        self._write({"run": path, "of": digest})

    def run_of(self, digest: str) -> str:
        """The path of the run for what has this digest; empty where there is none."""
        return self._runs.get(digest, "")

    def close(self) -> None:
        self._stream.close()

    def _write(self, row: Mapping[str, Any]) -> None:
        try:
            self._stream.write(json.dumps(row).encode("ascii") + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def _read(self, data: bytes, header: Mapping[str, Any]) -> int:
        """Bytes of whole lines; 0 where there is nothing."""
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines(), 1):
            row = _row(self.path, number, line)
            if number == 1:
                _check(self.path, row, header)
            elif set(row) == {"judged", "words"} and _texts(row):
                self.verdicts[row["judged"]] = row["words"]
            elif set(row) == {"run", "of"} and _texts(row):
                self._runs[row["of"]] = row["run"]
            else:
                answer = _answer(self.path, number, row)
                self.known[answer.case] = answer
        if not whole and not _looks_begun(data):
            raise UsageError(f"{self.path}: no file of answers; name another one with --answers")
        return whole


def _lock(path: Path, stream: BinaryIO) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunInUse(f"{path}: another process writes its answers there") from None
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
            raise _unwritable(path, error) from None  # else a file system without locks


def _looks_begun(data: bytes) -> bool:
    return data.startswith(b'{"qualification"'[: len(data)])


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise UsageError(f"{path}:{number}: no answer; name another file with --answers")
    return row


def _check(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        if found.get(key) != value:
            raise UsageError(
                f"{path}: its {key} is {found.get(key)!r}, not {value!r}; name another file with "
                "--answers"
            )


def _texts(row: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str) for value in row.values())


def _answer(path: Path, number: int, row: Mapping[str, Any]) -> Answer:
    texts = ("case", "text", "how", "failure")
    good = _NAMES - _LATER <= set(row) <= _NAMES
    good = good and all(isinstance(row[name], str) for name in texts)
    good = good and all(isinstance(row[name], int | float) for name in set(row) - set(texts))
    if not good:
        raise UsageError(f"{path}:{number}: no answer; name another file with --answers")
    return Answer(**row)


def _unwritable(path: Path, error: OSError) -> EnvironmentProblem:
    return EnvironmentProblem(f"{path}: cannot be written: {error.strerror}")
