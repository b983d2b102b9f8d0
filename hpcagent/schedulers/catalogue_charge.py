"""Who pays for a job, and how much: accounts, QOS and the site's rates. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hpcagent.catalogue import (
    CORE_HOUR,
    NODE_HOUR,
    Account,
    Bounds,
    Catalogue,
    NodeType,
    Partition,
    Wanted,
)
from hpcagent.errors import UsageError
from hpcagent.measure.objectives import Charge as Price
from hpcagent.records import Resources
from hpcagent.schedulers.catalogue_words import hours


@dataclass(frozen=True)
class Charge:
    """What a job names (None: the site's default), and the bounds of its QOS."""

    account: str | None
    qos: str | None
    bounds: Bounds


def charges(wanted: Wanted, partition: Partition, catalogue: Catalogue) -> tuple[Charge, ...] | str:
    """Accounts with a QOS that the partition takes, default ones first, or why none will do."""
    if not catalogue.accounts:
        return (Charge(wanted.account or None, None, Bounds()),)
    mine = [a for a in catalogue.accounts if not a.partition or a.partition == partition.name]
    named = [a for a in mine if wanted.account in ("", a.name)]
    if not named:
        return f"accounting knows no account {wanted.account or 'of yours'} here"
    usable = [a for a in named if partition.access.takes_account(a.name)]
    if not usable:
        yours = ", ".join(dict.fromkeys(a.name for a in named))
        takes = ", ".join(partition.access.accounts) or "others"
        return f"its accounts are {takes}; yours: {yours}"
    found: list[Charge] = []
    why = ""
    for account in sorted(usable, key=lambda a: not a.default):
        some, reason = _of_account(wanted, partition, account, catalogue)
        unsaid = account.default and not wanted.account
        found += [replace(one, account=None) if unsaid else one for one in some]
        why = why or reason
    return tuple(found) or why


def _of_account(
    wanted: Wanted, partition: Partition, account: Account, catalogue: Catalogue
) -> tuple[list[Charge], str]:
    """The QOS of an account that will do, and why the first of the others does not.

    The default QOS is not named: it holds where a job says nothing (sacctmgr(1), DefaultQOS).
    """
    known = {one.name: one.bounds for one in catalogue.qos}
    default = account.default_qos or ("normal" if "normal" in account.qos else "")
    found, why = [], ""
    for name in sorted(account.qos, key=lambda name: name != default):
        bounds = known.get(name, Bounds())
        limit = bounds.max_walltime_s
        if not partition.access.takes_qos(name):
            takes = ", ".join(partition.access.qos) or "others"
            why = why or f"QOS {name}: it takes {takes}"
        elif limit is not None and limit < wanted.walltime_s:
            why = why or f"QOS {name}: MaxWall {hours(limit)} < {hours(wanted.walltime_s)} asked"
        else:
            found.append(Charge(account.name, None if name == default else name, bounds))
    if not found and not why:
        found.append(Charge(account.name, None, Bounds()))
    return found, why


def cost(partition: Partition, node: NodeType, asked: Resources, gpus: int) -> float | None:
    """What the site charges for all of the wall time; None where its rate does not apply.

    A job on whole nodes pays for all cores and GPUs of them. `gpus` are those asked for of a node;
    a rate by the GPU says nothing of a job without one.
    """
    rate, node_hours = partition.rate, asked.nodes * asked.walltime_s / 3600.0
    if rate is None:
        return None
    if rate.per == NODE_HOUR:
        return rate.amount * node_hours
    if rate.per == CORE_HOUR:
        cpus = node.schedulable_cpus if asked.exclusive else asked.cpus_per_task
        return rate.amount * node_hours * cpus / node.cpus_per_core
    held = sum(gpu.count for gpu in node.gpus) if asked.exclusive else gpus
    return rate.amount * node_hours * held if held else None


def price(catalogue: Catalogue, asked: Resources, cpus: int) -> Price:
    """What an hour of a job with so many CPUs costs; core-hours where the site has no rate for it.

    On whole nodes a job pays for them whatever it runs; elsewhere for the CPUs that it asks for.
    """
    partition = _partition(catalogue, asked.partition)
    node = max(partition.node_types, key=lambda one: one.up)
    hour = replace(asked, nodes=1, walltime_s=3600, cpus_per_task=cpus)
    one_cpu = replace(hour, exclusive=False, cpus_per_task=1)
    whole, single = cost(partition, node, hour, 0), cost(partition, node, one_cpu, 0)
    unit = "charge units"
    if whole is None:
        held = node.schedulable_cpus if asked.exclusive else cpus
        whole, single, unit = held / node.cpus_per_core, 1.0 / node.cpus_per_core, "core-hours"
    by_cpu = not (asked.exclusive or partition.whole_nodes) and single is not None
    return Price(whole, unit, single if by_cpu and single != whole else None)


def _partition(catalogue: Catalogue, name: str | None) -> Partition:
    """The one that is named, else the default one; UsageError where there is none with nodes."""
    found = [p for p in catalogue.partitions if p.name == name or (name is None and p.default)]
    if not found or not found[0].node_types:
        where = f"partition {name}" if name else "a default partition"
        raise UsageError(f"--objective cost: {catalogue.scheduler} tells nothing of {where}")
    return found[0]
