"""What the witnesses say together of a job: the controller first, accounting where it is silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from hpcagent.records import JobState, JobStatus
from hpcagent.schedulers.slurm_answers import Row, row_of
from hpcagent.schedulers.slurm_states import base_id

# Ends in accounting after which the controller may have the job in its queue: requeued, or
# cancelled shortly before the controller died and came back with an older state.
_MAY_RETURN = frozenset(
    {JobState.PREEMPTED, JobState.NODE_FAIL, JobState.BOOT_FAIL, JobState.CANCELLED}
)


@dataclass(frozen=True)
class Witness:
    """What one command answered; `silent` says why it did not, or that it knows only a part."""

    rows: tuple[Row, ...] = ()
    silent: str = ""

    def row(self, shown: str) -> Row | None:
        """The row that speaks for a job of this id."""
        return row_of(shown, self._by_base.get(base_id(shown), ()))

    @cached_property
    def _by_base(self) -> Mapping[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(base_id(row.id), []).append(row)
        return found


def verdict(job_id: str, shown: str, controller: Witness, accounting: Witness) -> JobStatus | None:
    """The job's status; None where all that can be asked have answered and none knows it.

    `job_id` is the caller's name for it, `shown` Slurm's own (without the cluster).
    """
    live = controller.row(shown)
    if live is not None:
        return live.status(job_id)
    recorded = accounting.row(shown)
    missing = "; ".join(words for words in (controller.silent, accounting.silent) if words)
    if recorded is None:
        if not missing:
            return None
        return JobStatus(job_id, JobState.UNKNOWN, "", missing=missing)
    status = replace(recorded.status(job_id), missing=missing)
    if status.state.terminal:
        if controller.silent and status.state in _MAY_RETURN:
            return _unsure(status, "whether it is in the queue again only the controller knows")
        return status
    if controller.silent:
        return status
    return _unsure(status, "the controller has forgotten it; accounting is behind")


def _unsure(status: JobStatus, words: str) -> JobStatus:
    return replace(status, state=JobState.UNKNOWN, exit_code=None, reason=f"{status.word}: {words}")
