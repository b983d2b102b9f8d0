"""Units that share a job: several rounds measured one after the other in one allocation."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hpcagent.records import JobState, Resources
from hpcagent.study.state import TuneState, Unit


@dataclass(frozen=True)
class Pack:
    """The units of one job. The job has the name of the first, and its script lies there."""

    members: tuple[Unit, ...]

    @property
    def lead(self) -> Unit:
        return self.members[0]

    @property
    def purpose(self) -> str:
        return ", ".join(unit.purpose for unit in self.members)

    @property
    def resources(self) -> Resources:
        """Wall times add up; the largest of each size is asked for."""
        asked = [unit.resources for unit in self.members]
        return replace(
            asked[0],
            walltime_s=sum(one.walltime_s for one in asked),
            cpus_per_task=max(one.cpus_per_task for one in asked),
        )


def unsubmitted(state: TuneState) -> tuple[Pack, ...]:
    """The packs that have no job yet, in the order of their making."""
    packs: dict[str, list[Unit]] = {}
    for unit in state.open_units:
        if not unit.job_id:
            packs.setdefault(unit.pack or unit.name, []).append(unit)
    return tuple(Pack(tuple(members)) for members in packs.values())


def growing(state: TuneState) -> Pack | None:
    """The pack that another round may still join."""
    for pack in unsubmitted(state):
        untouched = all(unit.job_state is JobState.PREPARED for unit in pack.members)
        led = pack.lead.pack == pack.lead.name
        if led and untouched and len(pack.members) < state.settings.pack:
            return pack
    return None


def pack_for(state: TuneState, purpose: str, name: str) -> str:
    """The pack that a new unit joins, or leads itself; empty of units that go alone."""
    if state.settings.pack == 1 or not purpose.startswith("round-"):
        return ""
    pack = growing(state)
    return name if pack is None else pack.lead.name


def job_of(state: TuneState, pack: Pack) -> str:
    """The number of the job that the pack's lead has got already; empty where it has none.

    The agent may have been killed when some of the members were recorded as submitted.
    """
    lead = next((unit for unit in state.units if unit.name == pack.lead.pack), None)
    return lead.job_id if lead is not None else ""
