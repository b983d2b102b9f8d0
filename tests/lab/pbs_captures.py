"""The recorded answers of a real OpenPBS: tests/fixtures/pbs/README.md says whence they are."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hpcagent.schedulers import pbs_text
from hpcagent.shell import Ran

FILE = Path(__file__).resolve().parents[1] / "fixtures" / "pbs" / "captures.jsonl"


class Capture(NamedTuple):
    name: str
    command: str
    exit: int
    stdout: str
    stderr: str

    @property
    def ran(self) -> Ran:
        """The call as shell.run would have given it."""
        texts = (re.sub("[\ud800-\udfff]", "\ufffd", text) for text in (self.stdout, self.stderr))
        return Ran((self.command.split()[0],), self.exit, *texts)

    @property
    def words(self) -> str:
        """stderr without what `time` added."""
        return self.stderr.partition("\nreal\t")[0].rstrip("\n")

    def job(self, job_id: str = "") -> pbs_text.Block:
        """The one job in it, or the one of that id."""
        found = pbs_text.blocks(self.ran.stdout, pbs_text.JOB)
        (block,) = [block for block in found if job_id in ("", block.name)]
        return block


@cache
def captures() -> dict[str, Capture]:
    rows = (json.loads(line) for line in FILE.read_text(encoding="ascii").splitlines())
    return {row["name"]: Capture(**row) for row in rows}
