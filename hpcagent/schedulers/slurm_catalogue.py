"""What a Slurm has to give, asked in five commands: three of the controller, two of accounting.

Without the controller there is no catalogue. Without accounting there is one that knows no
accounts, and says why: slurmdbd may be down, or the site keeps no accounts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hpcagent import shell
from hpcagent.catalogue import Account, Catalogue, Qos
from hpcagent.errors import EnvironmentProblem, SchedulerUnreachable
from hpcagent.schedulers import slurm_accounts, slurm_partitions
from hpcagent.schedulers.slurm_nodes import MIB
from hpcagent.schedulers.slurm_submission import said

Ask = Callable[..., shell.Ran]


def read(ask: Ask, clusters: Sequence[str], user: str) -> Catalogue:
    """The catalogue of these clusters (an empty name: the one at hand) for this user.

    SchedulerUnreachable where the controller gives no answer, EnvironmentProblem where the commands
    are not there.
    """
    first, *others = [_read(ask, cluster, user) for cluster in clusters]
    for other in others:
        first = replace(
            first,
            partitions=first.partitions + other.partitions,
            accounts=first.accounts + other.accounts,
            qos=tuple(dict.fromkeys(first.qos + other.qos)),
            missing={**other.missing, **first.missing},
        )
    return first


def _read(ask: Ask, cluster: str, user: str) -> Catalogue:
    on = (f"--clusters={cluster}",) if cluster else ()
    nodes = _shown(ask, *on, "--oneliner", "show", "node")
    partitions = _shown(ask, *on, "--oneliner", "show", "partition")
    config = slurm_partitions.settings(_shown(ask, *on, "show", "config"))
    accounts, qos, missing = _accounting(ask, cluster or config.get("ClusterName", ""), user)
    found = slurm_partitions.partitions(partitions, nodes, config, qos)
    return Catalogue("slurm", found, accounts, qos, memory_unit_bytes=MIB, missing=missing)


def _shown(ask: Ask, *words: str) -> str:
    ran = ask("scontrol", *words)
    if ran.problem == "not found":
        raise EnvironmentProblem(
            "scontrol cannot be run (not found): load the site's Slurm module, or choose another "
            "scheduler with --scheduler"
        )
    if not ran.ok:
        raise SchedulerUnreachable(f"slurm: scontrol {' '.join(words[-2:])}: {said(ran)}")
    return ran.stdout


def _accounting(
    ask: Ask, cluster: str, user: str
) -> tuple[tuple[Account, ...], tuple[Qos, ...], dict[str, str]]:
    """Accounts with their QOS, the QOS, and why they are not there."""
    here = (f"cluster={cluster}",) if cluster else ()
    of_user = (f"user={user}",)
    default = _listed(ask, "user", *of_user, "format=DefaultAccount")
    fields = f"format={','.join(slurm_accounts.ASSOCIATIONS)}"
    associations = _listed(ask, "associations", *here, *of_user, fields)
    qos = _listed(ask, "qos", f"format={','.join(slurm_accounts.QOS)}")
    silent = next((ran for ran in (associations, qos) if not ran.ok), None)
    if silent is not None:
        return (), (), {"accounts": f"{silent.argv[0]}: {said(silent) or silent.problem}"}
    first = default.stdout.strip().split("\n")[0].split("|")[0] if default.ok else ""
    accounts = slurm_accounts.accounts(associations.stdout, first)
    missing = {} if accounts else {"accounts": f"accounting knows no account of {user}"}
    return accounts, slurm_accounts.qos(qos.stdout), missing


def _listed(ask: Ask, *words: str) -> shell.Ran:
    return ask("sacctmgr", "--noheader", "--parsable2", "show", *words)
