"""Made-up surfaces with the habits of real ones, for the development of searches only.

    python tests/benchmarks/synthetic.py FOLDER [--instances N] [--family N]

writes them in the format that search.py reads. Each kind is drawn anew for an instance, so that
no search can be fitted to one of them: a bowl in the logarithms of the values with interactions;
optima at the ends of all ranges; a ridge along a product of tile sizes; a GPU-like space with
restrictions, steps of occupancy and failures; a needle that one combination of switches opens; a
rugged bowl; a plateau with one choice that dominates; threads and core types as of a BLAS; many
switches. With --family N each comes with N relatives, as if of other sizes: what is drawn for them
is near what was drawn for the first, so that the optimum shifts; the noise is another.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import itertools
import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_REPEATS = 5
_MOST = 3000  # points; a space with more of them is thinned

Values = Mapping[str, float | str]
Time = Callable[[Values], float | None]  # None where it fails; ValueError where it is outside


@dataclass(frozen=True)
class Made:
    """`space` maps a parameter to its values: texts are categorical, numbers ordinal."""

    space: Mapping[str, tuple[float | str, ...]]
    time: Time
    noise: float  # standard deviation of the logarithm of one repeat


class Outside(Exception):
    """A restriction excludes the point."""


def _log(values: Values, name: str) -> float:
    return math.log2(float(values[name]))


def bowl(rng: random.Random) -> Made:
    tiles = {f"tile_{c}": (4, 8, 16, 32, 64, 128, 256) for c in "ijk"}
    space = {**tiles, "unroll": (1, 2, 4, 8), "schedule": ("static", "dynamic", "guided")}
    centre = {n: rng.uniform(3, 7) for n in tiles} | {"unroll": rng.uniform(0, 3)}
    width = {n: rng.uniform(0.02, 0.15) for n in centre}
    twist = rng.uniform(-0.05, 0.05)
    cost = {s: rng.uniform(0, 0.4) for s in ("static", "dynamic", "guided")}

    def time(v: Values) -> float:
        off = {n: _log(v, n) - centre[n] for n in centre}
        value = sum(width[n] * off[n] ** 2 for n in centre) + twist * off["tile_i"] * off["tile_j"]
        return math.exp(0.5 * value + cost[str(v["schedule"])])

    return Made(space, time, 0.01)


def edge(rng: random.Random) -> Made:
    """The best values are at the ends: nothing that a search believes about middles is true."""
    space: dict[str, tuple[float | str, ...]] = {
        "threads": (1, 2, 4, 6, 8, 12, 16), "batch": tuple(2**n for n in range(8)),
        "depth": (1, 2, 3, 4, 5, 6), "pages": ("4k", "2m"), "bind": ("none", "close", "spread"),
    }  # fmt: skip
    side = {n: rng.choice((0, len(space[n]) - 1)) for n in ("threads", "batch", "depth")}
    weight = {n: rng.uniform(0.2, 1.2) for n in side}
    cost = {n: rng.uniform(0, 0.3) for n in ("4k", "2m", "none", "close", "spread")}

    def time(v: Values) -> float:
        away = {n: abs(space[n].index(v[n]) - side[n]) / (len(space[n]) - 1) for n in side}
        value = sum(weight[n] * away[n] ** 0.7 for n in side)
        return math.exp(value + cost[str(v["pages"])] + cost[str(v["bind"])])

    return Made(space, time, 0.02)


def ridge(rng: random.Random) -> Made:
    space = {f"{a}_{c}": (1, 2, 4, 8, 16, 32) for a in ("block", "tile") for c in "xy"}
    space["vector"] = (1, 2, 4)
    aim, slope, lean = rng.uniform(4, 8), rng.uniform(0.1, 0.4), rng.uniform(-0.06, 0.06)
    rows = rng.uniform(2, 5)

    def time(v: Values) -> float:
        logs = {n: _log(v, n) for n in v}
        area = logs["block_x"] + logs["block_y"]
        work = logs["tile_x"] + logs["tile_y"]
        if area + work > 12:
            raise Outside
        value = slope * abs(area - aim) + 0.08 * (work - 2) ** 2 + lean * logs["block_x"]
        return math.exp(value + 0.05 * abs(logs["block_x"] + logs["vector"] - rows))

    return Made(space, time, 0.02)


def gpu(rng: random.Random) -> Made:
    space: dict[str, tuple[float | str, ...]] = {
        "block_x": (16, 32, 48, 64, 96, 128, 192, 256), "block_y": (1, 2, 4, 8, 16),
        "tile_x": (1, 2, 3, 4, 6, 8), "tile_y": (1, 2, 3, 4, 6, 8),
        "shared": ("no", "yes"), "cached": ("no", "yes"), "padded": ("no", "yes"),
    }  # fmt: skip
    reach, registers = rng.uniform(30_000, 90_000), rng.uniform(20_000, 60_000)
    gains = {n: rng.uniform(-0.4, 0.2) for n in ("shared", "cached", "padded", "both")}
    warps = rng.choice((32, 64))

    def time(v: Values) -> float | None:
        x, y, tx, ty = (float(v[n]) for n in ("block_x", "block_y", "tile_x", "tile_y"))
        if not 32 <= x * y <= 1024 or (v["padded"] == "yes" and v["shared"] == "no"):
            raise Outside
        on = {n: v[n] == "yes" for n in ("shared", "cached", "padded")}
        on["both"] = on["shared"] and on["cached"]
        size = x * tx * y * ty * 4
        if on["shared"] and size > reach:
            return None
        resident = math.floor(registers / (x * y * (8 + 2 * tx * ty))) * x * y
        busy = min(1.0, max(resident, 32) / 1024)
        idle = math.ceil(x * y / warps) * warps / (x * y)
        reuse = 1 + 3 / math.sqrt(tx * ty) + (0.5 if tx * ty > 16 else 0)
        apart = 1.3 if (x % 32 and not on["padded"]) else 1.0
        return reuse * idle * apart * busy**-0.6 * math.exp(sum(gains[n] * on[n] for n in on))

    return Made(space, time, 0.005)


def needle(rng: random.Random) -> Made:
    tiles = {f"tile_{c}": (4, 8, 16, 20, 32, 50, 64, 96, 128) for c in "ijk"}
    switches = ("pack_a", "pack_b", "swap")
    space: dict[str, tuple[float | str, ...]] = dict.fromkeys(switches, ("0", "1"))
    open_at = tuple(rng.choice("01") for _ in switches)
    centre = {n: rng.uniform(3, 6.5) for n in tiles}
    costs = {n: rng.uniform(-0.15, 0.3) for n in switches}
    salt = rng.random()

    def time(v: Values) -> float:
        value = sum(costs[n] * (v[n] == c) for n, c in zip(switches, open_at, strict=True))
        if all(v[n] == c for n, c in zip(switches, open_at, strict=True)):
            value += -1.1 + sum(0.04 * (_log(v, n) - centre[n]) ** 2 for n in tiles)
        rough = random.Random(f"{salt} {sorted(v.items())}").gauss(0, 0.08)
        return math.exp(value + rough)

    return Made({**space, **tiles}, time, 0.0)


def rugged(rng: random.Random) -> Made:
    made = bowl(rng)
    waves = [({n: rng.uniform(-3, 3) for n in made.space}, rng.uniform(0, 6)) for _ in range(12)]

    def time(v: Values) -> float:
        numbers = {n: _log(v, n) for n in v if n != "schedule"}
        wave = sum(math.sin(sum(w[n] * numbers[n] for n in numbers) + p) for w, p in waves)
        return (made.time(v) or 1.0) * math.exp(0.06 * wave)

    return Made(made.space, time, 0.02)


def plateau(rng: random.Random) -> Made:
    libraries = ("a", "b", "c", "d", "e", "f")
    dead, weight = rng.choice(libraries[1:]), {c: rng.uniform(0, 1.2) for c in libraries}
    space: dict[str, tuple[float | str, ...]] = {
        "library": libraries, "bind": ("none", "close", "spread"), "pages": ("4k", "2m"),
        "chunk": tuple(2.0**n for n in range(10)), "depth": tuple(range(1, 9)),
    }  # fmt: skip
    small = {n: rng.uniform(0, 0.1) for n in ("close", "spread", "none", "2m", "4k")}
    knee = rng.uniform(2, 7)

    def time(v: Values) -> float | None:
        if v["library"] == dead:
            return None
        value = weight[str(v["library"])] + small[str(v["bind"])] + small[str(v["pages"])]
        value += 0.06 * max(0.0, knee - _log(v, "chunk")) + 0.01 * abs(float(v["depth"]) - knee)
        return math.exp(value)

    return Made(space, time, 0.03)


def blas(rng: random.Random) -> Made:
    cores = ("auto", "haswell", "skylakex", "zen", "nehalem", "sandybridge")
    threads = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
    speed = {c: rng.uniform(0.0, 0.7) for c in cores}
    dead = rng.choice(cores[1:])
    serial, sync = rng.uniform(0.02, 0.2), rng.uniform(0.002, 0.02)
    space: dict[str, tuple[float | str, ...]] = {
        "core": cores, "threads": threads, "bind": ("false", "close", "spread"),
        "wait": ("active", "passive"), "block": (1, 2, 4, 8, 16, 32),
    }  # fmt: skip
    gain = rng.uniform(0, 0.2)

    def time(v: Values) -> float | None:
        if v["core"] == dead:
            return None
        n = float(v["threads"])
        idle = 2.0 if v["wait"] == "passive" else 1.0
        found = serial + (1 - serial) / n + sync * idle * n
        value = speed[str(v["core"])] - gain * (v["bind"] == "spread") * (n > 4)
        value += 0.02 * abs(_log(v, "block") - 2)
        return found * math.exp(value)

    return Made(space, time, 0.03)


def switches(rng: random.Random) -> Made:
    names = [f"f{n}" for n in range(8)]
    space: dict[str, tuple[float | str, ...]] = dict.fromkeys(names, ("off", "on"))
    space |= {"level": ("1", "2", "3", "fast"), "inline": (10, 50, 200, 1000)}
    main = {n: rng.gauss(0, 0.08) for n in names}
    pairs = {p: rng.gauss(0, 0.08) for p in itertools.combinations(names, 2) if rng.random() < 0.3}
    level = {c: rng.uniform(0, 0.3) for c in ("1", "2", "3", "fast")}

    def time(v: Values) -> float:
        on = {n for n in names if v[n] == "on"}
        value = sum(main[n] for n in on) + sum(c for p, c in pairs.items() if on.issuperset(p))
        return math.exp(value + level[str(v["level"])] + 0.02 * abs(_log(v, "inline") - 6))

    return Made(space, time, 0.015)


KINDS = (bowl, edge, ridge, gpu, needle, rugged, plateau, blas, switches)


class Near(random.Random):
    """Draws what another one of the same seed draws, moved by a normal deviate of `share`."""

    def __init__(self, seed: str, share: float, member: int) -> None:
        super().__init__(seed)
        self._share = share
        self._moves = random.Random(f"{seed} {member}")

    def random(self) -> float:
        moved = super().random() + self._moves.gauss(0.0, self._share)
        return min(abs(moved) % 2.0, 2.0 - abs(moved) % 2.0, 1.0 - 2.0**-53)


SHARE = 0.12  # of the range that is drawn from


def write(
    folder: Path, kind: Callable[[random.Random], Made], instance: int, member: int | None = None
) -> None:
    """NAME.json and NAME.csv.gz of one surface; `member` 0 of a family is what others are near."""
    family = name = f"{kind.__name__}_{instance}"
    rng = random.Random(f"synthetic {name}")
    made = kind(rng)
    if member is not None:
        name = f"{family}_size{member}"
        made = kind(Near(f"family {family}", SHARE if member else 0.0, member))
        made = Made(made.space, made.time, made.noise * (1 + member % 3))
    rows = []
    for point in itertools.product(*made.space.values()):
        values = dict(zip(made.space, point, strict=True))
        try:
            time = made.time(values)
        except Outside:
            continue
        count = _REPEATS if made.noise else 1
        drawn = [time * math.exp(rng.gauss(0, made.noise)) for _ in range(count)] if time else []
        rows.append((values, drawn))
    if len(rows) > _MOST:
        rows = rng.sample(rows, _MOST)
    working = [values for values, drawn in rows if drawn]
    default = rng.choice(working) if instance % 2 else None
    params = [
        {"name": n, "kind": "categorical" if isinstance(v[0], str) else "ordinal", "values": v}
        for n, v in made.space.items()
    ]
    head = {
        "name": name, "family": family, "source": "synthetic.py",
        "objective": {"unit": "s", "direction": "min"},
        "params": params, "default": default, "points": len(rows),
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow([*made.space, "status", "samples"])
    for values, drawn in rows:
        status = "ok" if drawn else "failed"
        out.writerow([*values.values(), status, ";".join(f"{x:.6g}" for x in drawn)])
    (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--instances", type=int, default=2)
    parser.add_argument("--family", type=int, default=0, metavar="N")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for instance in range(chosen.instances):
        for kind in KINDS:
            if not chosen.family:
                write(chosen.folder, kind, instance)
            for member in range(chosen.family + 1 if chosen.family else 0):
                write(chosen.folder, kind, instance, member)


if __name__ == "__main__":
    main()
