"""When a round is done with a challenger, as the in-job worker is told (worker.decide)."""

from __future__ import annotations

from hpcagent.study.settings import TuneSettings

# What a process may take beyond its expected time before it counts as hung.
HANG_FACTOR = 10
NEVER = 1e9  # as a log ratio


def stop_rule(settings: TuneSettings) -> dict[str, float]:
    """The rule looks at times.

    Where something else counts as well, a slower one is not out and a well-known time is not
    enough; it may take as long as a process may.
    """
    plain = settings.speed_alone
    return {
        "min_pairs": 3,
        "max_pairs": settings.max_pairs,
        "pairs": settings.confirm_pairs,
        "drop_ratio": 0.02 if plain else NEVER,
        "abandon_multiple": 4.0 if plain else float(HANG_FACTOR),
        "confidence": 0.95,
        "resolution": 0.005 if plain else 0.0,
    }
