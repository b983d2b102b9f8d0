"""Write the logs of planted failures into a folder, to be looked at: `python -m planted.dump`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from planted.case import Case, Made, Unplantable, make


def write(case: Case, made: Made, target: Path) -> None:
    place = target / case.name
    place.mkdir(parents=True, exist_ok=True)
    (place / "log").write_bytes(made.log)
    lines = {"stage": case.stage, "kind": case.kind, "planted": case.planted, "exit": made.exit}
    text = "".join(f"{key}: {value!r}\n" for key, value in lines.items())
    (place / "label.yaml").write_text(text)


def dump(cases: tuple[Case, ...], target: Path) -> None:
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="planted-") as folder:
            try:
                write(case, make(case, Path(folder)), target)
            except Unplantable as error:
                print(error, file=sys.stderr)
