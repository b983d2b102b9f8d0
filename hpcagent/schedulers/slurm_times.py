"""Times as Slurm's commands take them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def earlier(utc: str, by: timedelta) -> str:
    """A time as --starttime takes it, in UTC; empty where there is none."""
    try:
        when = datetime.fromisoformat(utc)
    except ValueError:
        return ""
    when = when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    return f"{when - by:%Y-%m-%dT%H:%M:%S}"


def ago(span: timedelta) -> str:
    """The time so long ago, likewise."""
    return f"{datetime.now(UTC) - span:%Y-%m-%dT%H:%M:%S}"


def age_s(utc: str) -> float | None:
    """Seconds since a time; None where there is none."""
    started = earlier(utc, timedelta())
    if not started:
        return None
    then = datetime.fromisoformat(started).replace(tzinfo=UTC)
    return (datetime.now(UTC) - then).total_seconds()
