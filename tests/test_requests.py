"""What other processes may ask of a run: advice, approval, a look at it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from mainjob import Bench, Inside, make_bench, until

from hpcagent.study.journal import JournalWriter, read_journal
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.lease import Lease
from hpcagent.study.rundir import create_run
from hpcagent.study.session import open_tune
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import fold

pytestmark = pytest.mark.openblas


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Inside(tmp_path, make_bench(tmp_path).env)


def step_until(bench: Bench, kind: str, purpose: str) -> None:
    """Step until the journal has an event of this kind for a unit of this purpose."""

    def there() -> bool:
        bench.hpcagent("step", str(bench.run))
        units = {e["data"]["unit"] for e in bench.events("unit_intent")
                 if e["data"]["purpose"] == purpose}  # fmt: skip
        return any(e["data"]["unit"] in units for e in bench.events(kind))

    until(there, lambda: [e["type"] for e in bench.events()])


@pytest.mark.parametrize(
    ("kind", "strategy", "rounds", "words"),
    [
        ("probe", "surrogate", 2, "is a probe run"),
        ("tune", "surrogate", 2, "no language model that could read words"),
        ("tune", "embedded", 2, "no language model that could read words"),
        ("tune", "model", 1, "has proposed its last round"),
        ("tune", "model", 2, ""),
    ],
)
def test_advice_that_nothing_would_come_of_is_refused(
    tmp_path: Path, kind: str, strategy: str, rounds: int, words: str
) -> None:
    bench = Inside(tmp_path, make_bench(tmp_path).env)
    run = create_run(kind, "1", tmp_path, bench.run)
    settings = TuneSettings("openblas", 1, "local", strategy, rounds, 4)
    open_tune(run, settings, "1")
    with Lease.acquire(run.path) as lease, JournalWriter(run.journal, lease.check) as journal:
        journal.append("proposed", {"round": 1, "proposals": []})
    done = bench.hpcagent("advise", str(run.path), "use one thread")
    assert (done.returncode, words in done.stderr) == (2 if words else 0, True)
    assert len(list((run.path / "inbox").iterdir())) == (0 if words else 1)


def test_an_advised_configuration_is_measured_in_the_next_round(bench: Bench) -> None:
    assert bench.tune("--budget", "rounds=2", "--no-wait").returncode == 0
    early = bench.hpcagent("advise", str(bench.run), "--config", "threads=1")
    assert early.returncode == 2
    assert "not known yet" in early.stderr
    step_until(bench, "unit_submitted", "round-1")
    (round_1,) = [e["data"] for e in bench.events("proposed") if e["data"]["round"] == 1]
    tried = [p["config"] for p in round_1["proposals"]]
    space = sorted(tried[0])
    wrong = bench.hpcagent("advise", str(bench.run), "--config", "colour=red")
    assert wrong.returncode == 2
    assert space[0] in wrong.stderr
    bad = bench.hpcagent("advise", str(bench.run), "--config", f"{space[0]}=no-such-value")
    assert bad.returncode == 2
    wish = _untried(bench, tried)
    words = ",".join(f"{name}={value}" for name, value in wish.items())
    told = bench.hpcagent("advise", str(bench.run), "on a hunch", "--config", words)
    assert told.returncode == 0, told.stderr
    assert bench.hpcagent("resume", str(bench.run)).returncode == 0
    proposed = {e["data"]["round"]: e["data"]["proposals"] for e in bench.events("proposed")}
    assert proposed[2][0]["config"] == wish
    assert proposed[2][0]["proposed_by"] == "user"
    assert proposed[2][0]["reason"] == "on a hunch"
    late = bench.hpcagent("advise", str(bench.run), "too late")
    assert late.returncode == 2


def _untried(bench: Bench, tried: list[dict[str, str]]) -> dict[str, str]:
    """A point of the space that round 1 has not; each machine has a space of its own."""
    space = Knowledge(fold(read_journal(bench.run / "journal.jsonl"))).space
    known = [*tried, dict(space.default.values)]
    return next(dict(p.values) for p in space.first(len(known) + 1) if dict(p.values) not in known)


def test_what_needs_approval_waits_for_it(bench: Bench) -> None:
    config = bench.folder / "hpcagent.toml"
    config.write_text(config.read_text() + "approve_core_hours = 0.000001\n")
    done = bench.tune("--budget", "rounds=1", "--no-wait")
    assert done.returncode == 0, done.stderr
    assert "hpcagent approve" in done.stderr
    assert not bench.events("unit_intent")
    assert bench.hpcagent("step", str(bench.run)).returncode == 0
    assert not bench.events("unit_intent")
    assert bench.hpcagent("approve", str(bench.run)).returncode == 0
    assert bench.hpcagent("resume", str(bench.run)).returncode == 0
    assert bench.outcome() in ("improved", "nothing better")


def test_a_watch_follows_a_run_and_takes_no_part(bench: Bench) -> None:
    assert bench.tune("--budget", "rounds=1", "--no-wait").returncode == 0
    watching = subprocess.Popen(
        bench.argv("watch", str(bench.run), "--every", "0.1"), cwd=bench.folder, env=bench.env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watching.stderr is not None
    followed = watching.stderr.readline()  # it has started
    assert bench.hpcagent("resume", str(bench.run)).returncode == 0
    shown, rest = watching.communicate(timeout=240)
    followed += rest
    assert watching.returncode == 0, followed
    assert "round-1: running" in followed  # the probe may be over before the watch has started
    assert str(bench.run) in "".join(shown.split()), "long paths go on below"
    again = bench.hpcagent("watch", str(bench.run))
    assert (again.returncode, again.stderr) == (0, "")
