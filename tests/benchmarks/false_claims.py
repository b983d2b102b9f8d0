"""False claims, coverage and power of the statistics, by simulation over shapes of noise.

Everything is judged by the functions that hpcagent uses. Four tables: the claim of one job with 20
fresh pairs and of two jobs, as is usual; the same where two nodes gain differently; the rule that
drops challengers in a round of the search; and the verdicts over a whole search.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import finish, options, table, tell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hpcagent.measure.statistics import Claim

    Array = NDArray[np.float64]

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PAIRS, ALPHA, MINIMUM = 20, 0.005, 0.01
RULE = {"min_pairs": 3, "max_pairs": 8, "drop_ratio": 0.02, "confidence": 0.95, "resolution": 0.005}
LEVEL = 0.05  # of the verdicts
CHALLENGERS, ROUNDS = 4, 4
UNEQUAL = ((0.03, 0.05), (0.05, 0.1), (0.1, 0.2))  # gains on two nodes


def main() -> None:
    chosen = options(
        __doc__,
        ("claims", int, 20000, "simulated confirmations for each shape"),
        ("rounds", int, 2000, "simulated rounds for each shape"),
        ("searches", int, 400, "simulated searches for each shape"),
    )
    counts = {name: n // (20 if chosen.quick else 1) for name, n in chosen.extra.items()}
    finish(
        chosen,
        {
            "claims": _claims(counts["claims"]),
            "unequal": _unequal(counts["claims"] // 20),
            "drops": _drops(counts["rounds"]),
            "verdicts": _verdicts(counts["searches"]),
        },
    )


# --- the claim -----------------------------------------------------------------------------------


def _claims(count: int) -> list[Any]:
    import noise_shapes as shapes
    import numpy as np

    orders = {
        kind: shapes.signs(count, PAIRS, kind == "reversed") for kind in ("reversed", "drawn")
    }
    rows = []
    for index, name in enumerate({**shapes.SHARED, **shapes.SIDED, **shapes.PERSISTENT}):
        order = orders["drawn"]
        drawn = _judged(shapes.log_ratios(name, np.random.default_rng(index), order))
        before = shapes.log_ratios(name, np.random.default_rng(index), orders["reversed"])
        middle = np.sort(before, axis=1)  # ranks 4 and 17: 99.74 % of independent pairs
        old = float(np.mean((middle[:, 16] < 0.0) | (middle[:, 3] > 0.0)))
        rows.append((name, *(f"{100 * value:.2f}" for value in (old, *drawn))))
        tell(name)
    table(
        ("noise", "missed before %", "missed %", "false claims %", "at 1 % true %", "widened %",
         "power 2 %", "power 5 %", "power 20 %", "two jobs: missed %", "false %", "at 1 % true %",
         "power 2 %", "power 5 %", "power 20 %"),
        rows,
    )  # fmt: skip
    print(f"{count} confirmations of {PAIRS} pairs each, half as many of two jobs; promised: "
          f"missed {100 * ALPHA:g} %, false claims {50 * ALPHA:g} %\n")  # fmt: skip
    return rows


def _judged(ratios: Array) -> tuple[float, ...]:
    """Shares: missed, claimed of nothing, of just the minimum effect, widened, power at three; then
    all but the fourth for two jobs.

    An interval follows a shift, so one claim a round says what would be claimed at any effect.
    """
    import numpy as np

    from hpcagent.measure.statistics import claim

    rows = ratios.tolist()
    one = [claim(row, ALPHA, 0.0) for row in rows]
    # Neighbouring rows are drawn independently.
    two = [_of_two(a, b) for a, b in zip(rows[0::2], rows[1::2], strict=True)]
    missed, *claimed = _rates(one)
    widened = float(np.mean([c.note != "" for c in one]))
    return missed, *claimed[:2], widened, *claimed[2:], *_rates(two)


def _of_two(one: list[float], other: list[float]) -> Claim:
    from hpcagent.measure.statistics import claim, together
    from hpcagent.study.confirmations import ALONE

    whole = claim(one + other, ALPHA, 0.0)
    alone, sure = ([claim(row, alpha, 0.0) for row in (one, other)] for alpha in (ALONE, ALPHA))
    return together(whole, alone, sure)


def _unequal(count: int) -> list[Any]:
    """Two jobs on nodes that gain differently: what they claim, and what one job would."""
    import noise_shapes as shapes
    import numpy as np

    from hpcagent.measure.statistics import claim

    rows = []
    for index, name in enumerate({**shapes.SHARED, **shapes.SIDED, **shapes.PERSISTENT}):
        order = shapes.signs(2 * count, PAIRS, False)
        ratios = shapes.log_ratios(name, np.random.default_rng(300 + index), order).tolist()
        jobs = list(zip(ratios[0::2], ratios[1::2], strict=True))
        cells = []
        for little, much in UNEQUAL:
            less, more = (
                [[ratio - math.log(1.0 + gain) for ratio in rows] for rows in side]
                for gain, side in zip((little, much), zip(*jobs, strict=True), strict=True)
            )
            needed = 1.0 + MINIMUM
            one = np.mean([claim(row, ALPHA, 0.0).low > needed for row in less])
            two = np.mean([_of_two(a, b).low > needed for a, b in zip(less, more, strict=True)])
            cells.append(f"{100 * two:.1f} / {100 * one:.1f}")
        rows.append((name, *cells))
        tell(f"unequal: {name}")
    heads = (f"{100 * a:g} and {100 * b:g} %" for a, b in UNEQUAL)
    table(("claimed by two jobs / by one of the lesser gain, %", *heads), rows)
    print(f"{count} pairs of jobs each\n")
    return rows


def _rates(claims: list[Claim]) -> list[float]:
    """Shares: missed, and claimed where nothing, the minimum effect, 2, 5 and 20 % are true."""
    import numpy as np

    low = np.log([c.low for c in claims])
    high = np.log([c.high for c in claims])
    needed = math.log(1.0 + MINIMUM)
    effects = (0.0, MINIMUM, 0.02, 0.05, 0.2)
    claimed = [float(np.mean(low + math.log(1.0 + e) > needed)) for e in effects]
    return [float(np.mean((low > 0.0) | (high < 0.0))), *claimed]


# --- a round of the search -----------------------------------------------------------------------


def _drops(count: int) -> list[Any]:
    import noise_shapes as shapes
    import numpy as np

    rows = []
    for index, name in enumerate(shapes.SHARED):
        random = np.random.default_rng(100 + index)
        ratios = shapes.challengers(name, random, count, CHALLENGERS, RULE["max_pairs"])
        few = ratios[: max(1, count // 4)]
        shares = [_dropped(ratios + true, old) for old in (True, False) for true in (0.0, 0.02)]
        pairs = [[_pairs(few + true, old) for true in (0.05, 0.1, 0.3)] for old in (True, False)]
        cells = [f"{100 * share:.1f}" for share in shares]
        rows.append((name, *cells, *(" ".join(f"{p:.1f}" for p in three) for three in pairs)))
        tell(name)
    table(
        ("noise", "before: equal", "before: 2 % slower", "now: equal", "now: 2 % slower",
         "pairs before, 5 10 30 % slower", "pairs now"),
        rows,
    )  # fmt: skip
    print(
        f"{count} rounds of {CHALLENGERS} challengers: % of rounds that drop one; promised now: 5\n"
    )
    return rows


def _ended(ratios: Array, old: bool) -> list[list[tuple[str, int]]]:
    """What each challenger of each round ends with, and after how many pairs."""
    from hpcagent.measure import worker

    def verdict(rows: list[list[float]], i: int, n: int) -> str:
        if not old:
            others = [rows[j][:n] for j in range(len(rows)) if j != i]
            return worker.decide(rows[i][:n], RULE, others)
        low, high = worker.t_interval(rows[i][:n], RULE["confidence"])
        if low > RULE["drop_ratio"]:
            return "drop"
        settled = (high - low) / 2.0 <= RULE["resolution"] or n >= RULE["max_pairs"]
        return "settled" if settled else "continue"

    looks = range(RULE["min_pairs"], RULE["max_pairs"] + 1)
    return [
        [
            next((v, n) for n in looks if (v := verdict(rows, i, n)) != "continue")
            for i in range(len(rows))
        ]
        for rows in ratios.tolist()
    ]


def _dropped(ratios: Array, old: bool) -> float:
    ended = _ended(ratios, old)
    return sum(any(verdict == "drop" for verdict, _ in row) for row in ended) / len(ended)


def _pairs(ratios: Array, old: bool) -> float:
    ended = _ended(ratios, old)
    return sum(n for row in ended for _, n in row) / sum(len(row) for row in ended)


# --- a whole search ------------------------------------------------------------------------------


def _verdicts(count: int) -> list[Any]:
    import noise_shapes as shapes
    import numpy as np

    rows = []
    for index, name in enumerate(shapes.SHARED):
        random = np.random.default_rng(200 + index)
        found = [_search(name, random) for _ in range(count)]
        rows.append(
            (name, *(f"{100 * sum(flags) / count:.1f}" for flags in zip(*found, strict=True)))
        )
        tell(name)
    table(
        ("noise", "a false faster %", "a false slower %", "the best is another than the default %"),
        rows,
    )
    print(f"{count} searches of {ROUNDS} rounds with {CHALLENGERS} challengers, all of them equal; "
          f"promised: faster and slower together {100 * LEVEL:g} %\n")  # fmt: skip
    return rows


def _search(name: str, random: np.random.Generator) -> tuple[bool, bool, bool]:
    """Every round meets the leader of those before, as in study/knowledge.py."""
    import noise_shapes as shapes

    from hpcagent.measure.results import Run
    from hpcagent.measure.statistics import effects, verdicts

    done: list[list[Run]] = []
    best, known = "default", {}
    for index in range(ROUNDS):
        ratios = shapes.challengers(name, random, 1, CHALLENGERS, RULE["max_pairs"])
        ended = _ended(ratios, old=False)[0]
        runs = [Run(best, pair + 1, 0, "ok", objective=0.0) for pair in range(RULE["max_pairs"])]
        for i, (_, pairs) in enumerate(ended):
            one = ratios[0, i, :pairs].tolist()
            runs += [
                Run(f"{index}-{i}", pair + 1, 0, "ok", objective=value)
                for pair, value in enumerate(one)
            ]
        done.append(runs)
        known = effects(done, "default")
        leaders = [n for n, e in known.items() if e.log_ratio + e.spread < 0.0 and n != "default"]
        best = min(leaders, key=lambda n: known[n].log_ratio, default="default")
    words = [verdict.verdict for verdict in verdicts(known, "default", LEVEL).values()]
    return "faster" in words, "slower" in words, best != "default"


if __name__ == "__main__":
    main()
