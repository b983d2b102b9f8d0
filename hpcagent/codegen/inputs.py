#!/usr/bin/env python3
"""The inputs of a whole program: files of numbers and words of its command line, from a seed.

Runs inside jobs: standard library only, python3 >= 3.6. Arrays are files of numbers as the node
stores them, without any header, the last index of the shape running fastest.
"""

import array
import math
import os
import random
from typing import Any, Dict, List, Mapping

CODES = {"int": "i", "long": "q", "float": "f", "double": "d"}
INTEGERS = ("int", "long")
# As the harness has them, and cases.py.
SUBNORMAL, NOT_A_NUMBER = 1, 2
_TINY = {"float": 2.0**-130, "double": 2.0**-1030}
Argument = Mapping[str, Any]


def file_in(name: str) -> str:
    return name + ".in"


def file_out(name: str) -> str:
    return name + ".out"


def make(interface: List[Argument], case: Mapping[str, Any], seed: int, folder: str) -> List[str]:
    """Write the inputs' files into `folder`; the words of the command line.

    A number is a word; an array the name of its file, one that is changed (inout) the names of two:
    what is read, then what is written. What is printed has no word.
    """
    words, sizes, shapes = [], iter(case["sizes"]), iter(case["arrays"])
    made: Dict[str, "array.array[Any]"] = {}
    for row in interface:
        name, draw = row["name"], random.Random("%d %s" % (seed, row["name"]))
        if not row["array"]:
            words.append(str(next(sizes)) if row["type"] in INTEGERS else repr(_number(row, draw)))
            continue
        count, bound = next(shapes)
        if row["intent"] != "out":
            made[name] = _filled(row, count, bound, made, draw, int(case["variant"]))
            with open(os.path.join(folder, file_in(name)), "wb") as stream:
                made[name].tofile(stream)
            words.append(file_in(name))
        if row["intent"] != "in" and not row["stdout"]:
            words.append(file_out(name))
    return words


def _number(row: Argument, draw: random.Random) -> float:
    low = float(row["low"])
    return low if row["kind"] == "constant" else draw.uniform(low, float(row["high"]))


def _filled(
    row: Argument,
    count: int,
    bound: int,
    made: Mapping[str, Any],
    draw: random.Random,
    variant: int,
) -> "array.array[Any]":
    kind = row["kind"]
    if kind == "csr_offsets":
        return array.array(CODES[row["type"]], _offsets(count, bound, draw))
    if kind == "csr_columns":
        return array.array(CODES[row["type"]], _columns(made[row["offsets"]], bound, draw))
    low, span, one = float(row["low"]), float(row["high"]) - float(row["low"]), draw.random
    if kind == "constant":
        values = [low] * count
    else:
        values = [low + span * one() for _ in range(count)]
    if row["type"] in INTEGERS:
        return array.array(CODES[row["type"]], [math.floor(value) for value in values])
    if variant & SUBNORMAL:
        values = [value * _TINY[row["type"]] for value in values]
    if variant & NOT_A_NUMBER and count:
        values[draw.randrange(count)] = math.nan
    return array.array(CODES[row["type"]], values)


def _offsets(count: int, total: int, draw: random.Random) -> List[int]:
    """From 0 to the total; the rows between differ in length."""
    rows = count - 1
    inner = [math.floor((i + draw.random() - 0.5) * total / rows) for i in range(1, rows)]
    return [0, *inner, total][:count] if rows > 0 else [0] * count


def _columns(offsets: "array.array[Any]", below: int, draw: random.Random) -> List[int]:
    """Ascending within each row."""
    found: List[int] = []
    for first, end in zip(offsets, offsets[1:]):
        count = end - first
        found += [math.floor((k + draw.random()) * below / count) for k in range(count)]
    return found


def read(path: str, kind: str, count: int) -> "array.array[Any]":
    """`count` numbers of a file; OSError or EOFError where there are fewer."""
    values = array.array(CODES[kind])
    with open(path, "rb") as stream:
        values.fromfile(stream, count)
    return values
