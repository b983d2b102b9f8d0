"""A slurmctld that is killed gives the ids of its last seconds out again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from lab.slurm_lab import Cluster
from test_study import settings, unit

from hpcagent.records import JobState, Resources, Submitted
from hpcagent.schedulers.slurm import SlurmScheduler
from hpcagent.study.desk import Desk, Patience
from hpcagent.study.rundir import create_run, unit_name

ATTEMPTS = 10  # it saves its state every 5 s, so that most are lost


def submit(scheduler: SlurmScheduler, folder: Path, name: str) -> str:
    folder.mkdir(exist_ok=True)
    head = scheduler.directives(Resources(60, exclusive=False, extra=("--hold",)), name)
    script = folder / f"{name}.sh"
    script.write_text("\n".join(["#!/bin/sh", *head, "true", ""]))
    answer = scheduler.submit(script)
    assert isinstance(answer, Submitted), answer
    return answer.job_id


@pytest.mark.slurm
def test_a_job_that_got_our_id_is_neither_watched_nor_cancelled(
    slurm: Cluster, tmp_path: Path
) -> None:
    scheduler = SlurmScheduler()
    for attempt in range(ATTEMPTS):
        mine = unit_name("reuse", attempt)
        ours = submit(scheduler, tmp_path / "jobs", mine)
        slurm.stop("slurmctld")
        slurm.start("slurmctld")
        theirs = submit(scheduler, tmp_path / "jobs", f"hatheirs{attempt}")
        if theirs == ours:
            break
    assert theirs == ours
    status = scheduler.poll([ours])[ours]
    assert (status.state, status.name) == (JobState.HELD, f"hatheirs{attempt}")
    run = create_run("tune", "1", tmp_path)
    desk = Desk(scheduler, run, Patience.of(settings(), scheduler.pace))
    out = unit("round-1", name=mine, job_id=ours)
    seen = desk.look([out], datetime.now(UTC))[out.name]
    assert (seen.state, seen.collected) == (JobState.UNKNOWN, None)
    assert f"hatheirs{attempt}" in seen.reason
    desk.cancel([out])
    assert not scheduler.poll([ours])[ours].state.terminal
