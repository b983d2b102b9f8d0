"""The files of recorded surfaces: a folder of NAME.json and NAME.csv.gz each.

NAME.csv.gz has a row a configuration: a column a parameter, `status` (`ok`, or the kind of failure)
and `samples`, the repeats joined by `;`. What has no row is outside the space. What cannot be read
is refused; what is odd is taken as it most likely is meant, and said on standard error.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from surface_head import (
    COLUMNS,
    BadSurface,
    Head,
    meaning,
    not_listed,
    read_head,
    repeated,
    shown,
)
from surfaces import Surface

from hpcagent.records import Config, Param
from hpcagent.report.wording import shorten

Row = Mapping[str, str]
Samples = dict[Config, tuple[float, ...]]


def load(*folders: Path) -> tuple[Surface, ...]:
    """All surfaces of the folders; BadSurface where one has none, one cannot be read, or two have
    the same name."""
    found: dict[str, tuple[Surface, Path]] = {}
    for path in (path for folder in folders for path in _paths(folder)):
        surface = _surface(path)
        if surface.name in found:
            first = found[surface.name][1]
            raise BadSurface(f"{path}: a second surface {shown(surface.name)}, beside {first}; "
                             "give each its own name and each folder once")  # fmt: skip
        found[surface.name] = (surface, path)
    return tuple(surface for surface, _ in found.values())


def _paths(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise BadSurface(f"{folder}: no NAME.json of a surface there")
    return paths


def _surface(path: Path) -> Surface:
    head = read_head(path)
    rows = path.with_suffix(".csv.gz")
    samples, count = _samples(rows, head)
    if head.points is not None and head.points not in (count, len(samples)):
        _warn(f"{path}: points is {head.points}, but {rows} has {count} rows; is it whole?")
    if head.default is not None and not samples.get(head.default):
        where = shorten(str(head.default), 200)
        raise BadSurface(f"{path}: the default {where} has no row that works")
    return Surface(head.name, head.params, samples, head.default, head.family)


def _samples(path: Path, head: Head) -> tuple[Samples, int]:
    """The repeats of each configuration, and how many rows there were."""
    found: Samples = {}
    lines: list[int] = []
    places: dict[Config, int] = {}
    meanings = [(param, meaning(param)) for param in head.params]
    for line, row in _rows(path, head.params):
        lines.append(line)
        try:
            values = {p.name: _listed(p, find(row[p.name]), row[p.name]) for p, find in meanings}
            times = _times(row, head.inverse)
        except BadSurface as error:
            raise BadSurface(f"{path}:{line}: {error}") from None
        config = Config.of(values)
        first = places.setdefault(config, line)
        if found.setdefault(config, times) != times:
            _warn(f"{path}:{line}: other results of the configuration of line {first}; all its "
                  "repeats are taken together")  # fmt: skip
            found[config] += times
        if not times and row["samples"].strip():
            _warn(f"{path}:{line}: samples beside the status {shown(row['status'])}, which is not "
                  "ok; taken as a failure")  # fmt: skip
    if not any(found.values()):
        raise BadSurface(f"{path}: no configuration works" if lines else f"{path}: no rows")
    return found, len(lines)


def _warn(words: str) -> None:
    print(f"warning: {words}", file=sys.stderr)


def _listed(param: Param, value: str | None, text: str) -> str:
    if value is None:
        raise BadSurface(not_listed(param, text))
    return value


def _rows(path: Path, params: Sequence[Param]) -> Iterator[tuple[int, Row]]:
    """Each row with the line that it begins on."""
    reader = csv.reader(io.StringIO(_text(path), newline=""))
    header, line = None, 1
    try:
        for cells in reader:
            if header is None:
                header = _header(path, cells, params)
            elif cells:
                if len(cells) != len(header):
                    raise BadSurface(f"{path}:{line}: {len(cells)} fields, where the header has "
                                     f"{len(header)}")  # fmt: skip
                yield line, dict(zip(header, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadSurface(f"{path}:{line}: no row of CSV ({error}); a cell has "
                         f"{csv.field_size_limit()} characters at most") from None  # fmt: skip
    if header is None:
        raise BadSurface(f"{path}: empty; expected a header line of the columns")


def _header(path: Path, cells: list[str], params: Sequence[Param]) -> list[str]:
    wanted = [*(param.name for param in params), *COLUMNS]
    missing = [name for name in wanted if name not in cells]
    if missing:
        words = ", ".join(map(shown, missing))
        commas = "; separate columns by commas" if len(cells) == 1 else ""
        raise BadSurface(f"{path}:1: no column {shorten(words, 100)}; expected one a parameter, "
                         f"status and samples, found {shown(','.join(cells))}{commas}")  # fmt: skip
    if twice := repeated(cells):
        raise BadSurface(f"{path}:1: the column {shown(twice)} is there twice")
    return cells


def _text(path: Path) -> str:
    try:
        return gzip.decompress(path.read_bytes()).decode("utf-8-sig")
    except FileNotFoundError:
        raise BadSurface(
            f"{path}: not there; expected it beside the .json, compressed by gzip"
        ) from None
    except UnicodeError as error:
        raise BadSurface(f"{path}: not UTF-8 ({error.reason}); write it as that") from None
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise BadSurface(f"{path}: {why}; expected a whole file of gzip") from None


def _times(row: Row, inverse: bool) -> tuple[float, ...]:
    status, samples = row["status"].strip(), row["samples"].strip()
    if not status:
        raise BadSurface("no status; expected ok or the kind of failure")
    if status.lower() == "ok":
        return tuple(_time(word, inverse) for word in samples.split(";"))
    return ()


def _time(word: str, inverse: bool) -> float:
    try:
        figure = float(word) if "_" not in word else math.nan
    except ValueError:
        figure = math.nan
    if not 0 < figure < math.inf or (inverse and math.isinf(1.0 / figure)):
        raise BadSurface(f"{shown(word)} among the samples; expected positive numbers joined by ;")
    return 1.0 / figure if inverse else figure
