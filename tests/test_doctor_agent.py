"""What an agent needs of a node and a site: looked at for real, and judged from what is said."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doctor_scene import BARE, software, visit
from lab.slurm_lab import Cluster

from hpcagent.records import Queue
from hpcagent.toolchain import agentlook
from hpcagent.toolchain.agentchecks import (
    DOUBTFUL,
    FAILED,
    LOOK,
    OK,
    QUOTA,
    SUBMIT,
    AgentAsks,
    AgentCheck,
    Site,
    agent_steps,
    judge_agent,
)
from hpcagent.toolchain.cellspec import doctor_plan

ASKS = AgentAsks("slurm", "batch", "physics", 3600, "login1", asked_at=1000.0, seen_at=1100.0)
MOUNT = "29 1 0:26 / /work rw - nfs4 server:/work rw"
SEEN = f"""cell python 3.9.2
cell host node1
cell clock 1050.0
cell folder /work/runs/x
cell mount {MOUNT}
cell file_clock 0.010
cell rename ok
cell lock ok
cell space 107374182400 500000
"""


def judged(
    output: str = SEEN, asks: AgentAsks = ASKS, site: Site | None = None, **steps: Any
) -> dict[str, AgentCheck]:
    lines = [{"step": LOOK, "status": "ok", "output": output}]
    lines += [{"step": f"agent.{name}", **line} for name, line in steps.items()]
    return {check.what: check for check in judge_agent(asks, lines, site)}


def test_a_healthy_node() -> None:
    found = judged()
    assert {name: check.status for name, check in found.items()} == dict.fromkeys(
        ("python3", "shared folder", "clock", "space"), OK
    )
    assert found["shared folder"].words == "/work/runs/x is on nfs4 (/work)"


@pytest.mark.parametrize(
    ("line", "instead", "what", "status", "words"),
    [
        ("python 3.9.2", "python 3.4.10", "python3", FAILED, "it is version 3.4.10"),
        (MOUNT, MOUNT.replace("nfs4 server:/work", "ext4 /dev/sda1"), "shared folder", DOUBTFUL,
         "/work/runs/x is on ext4 (/work), which is node1's own"),
        ("rename ok", "rename no: Permission denied", "shared folder", FAILED,
         "/work/runs/x is on nfs4 (/work): rename there: no: Permission denied"),
        ("lock ok", "lock no: No locks available", "shared folder", DOUBTFUL,
         "/work/runs/x is on nfs4 (/work): lock there: no: No locks available"),
        ("clock 1050.0", "clock 900.0", "clock", DOUBTFUL, "node1 is 100 s or more behind login1"),
        ("clock 1050.0", "clock 1400.5", "clock", DOUBTFUL,
         "node1 is 300 s or more ahead of login1"),
        ("file_clock 0.010", "file_clock -42.5", "clock", DOUBTFUL,
         "the file system's clock is 42 s behind node1's"),
        ("space 107374182400 500000", "space 1000 500000", "space", DOUBTFUL,
         "0.0 GiB free, 500000 files"),
        ("space 107374182400 500000", "space 107374182400 3", "space", DOUBTFUL,
         "100.0 GiB free, 3 files"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_node(
    line: str, instead: str, what: str, status: str, words: str
) -> None:
    check = judged(SEEN.replace(f"cell {line}" if line != MOUNT else line,
                                f"cell {instead}" if line != MOUNT else instead))[what]  # fmt: skip
    assert (check.status, check.words) == (status, words)
    assert check.cure


def test_no_python_at_all() -> None:
    lines = [{"step": LOOK, "status": "unstartable", "output": "", "message": "[Errno 2] python3"}]
    assert [(c.what, c.status, c.words) for c in judge_agent(ASKS, lines)] == [
        ("python3", FAILED, "[Errno 2] python3")
    ]


def test_submission_from_the_node() -> None:
    good = judged(submit={"status": "ok", "output": "sbatch: Job 9 to start"})["submission"]
    assert good.status == OK
    gone = judged(submit={"status": "unstartable", "message": "No such file"})["submission"]
    assert gone.words == "there is no sbatch on this node" and "login node" in gone.cure
    words = "sbatch: error: Batch job submission failed: Access/permission denied"
    refused = judged(submit={"status": "failed", "exit": 1, "output": f"x\n{words}\n"})
    assert refused["submission"].status == FAILED
    assert refused["submission"].words == words


def test_quotas() -> None:
    over = """Disk quotas for user me (uid 1000):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
     server:/home  204801* 204800  256000   6days    1200       0       0
"""
    assert judged(quota={"status": "failed", "exit": 1, "output": over})["quota"].status == FAILED
    assert judged(quota={"status": "ok", "output": ""})["quota"].status == OK
    assert "quota" not in judged(quota={"status": "unstartable", "output": ""})


def test_accounts_and_time_limits() -> None:
    batch = Queue("batch", 4, 16, max_walltime_s=1800, default=True)
    found = judged(site=Site((batch,), ("chemistry", "maths")))
    assert found["account"].status == FAILED
    assert "chemistry, maths" in found["account"].words
    assert found["time limit"].words == "batch allows 30 min, 60 are asked for"
    fine = judged(site=Site((Queue("batch", 4, 16),), ("physics",)))
    assert (fine["account"].status, fine["time limit"].words) == (OK, "batch has none")
    down = Queue("batch", 4, 16, available=False, why_not="the partition is down")
    unknown = judged(site=Site((down,), accounts_missing="no accounting"))
    assert unknown["account"].status == DOUBTFUL and "no accounting" in unknown["account"].words
    assert "the partition is down" in unknown["time limit"].words


def test_the_steps_submit_nothing() -> None:
    steps = {step["id"]: step["argv"] for step in agent_steps(ASKS)}
    assert set(steps) == {LOOK, QUOTA, SUBMIT}
    assert "--test-only" in steps[SUBMIT] and "--partition=batch" in steps[SUBMIT]
    assert SUBMIT not in {step["id"] for step in agent_steps(AgentAsks("local"))}


@pytest.mark.slurm
def test_a_real_sbatch_takes_or_refuses_and_queues_nothing(slurm: Cluster, tmp_path: Path) -> None:
    before = slurm.jobs()
    plan = doctor_plan(software(), BARE)
    found = []
    for number, partition in enumerate(("one", "nowhere")):
        asks = AgentAsks("slurm", partition)
        steps = [step for step in agent_steps(asks) if step["id"] == SUBMIT]
        unit = replace(plan, spec={**plan.spec, "steps": steps}, files={})
        lines = visit(unit, tmp_path / str(number), dict(slurm.env))
        found += [check for check in judge_agent(asks, lines) if check.what == "submission"]
    assert [check.status for check in found] == [OK, FAILED]
    assert "invalid partition" in found[1].words
    assert slurm.jobs() == before


def test_the_look_takes_an_old_python() -> None:
    ast.parse(Path(agentlook.__file__).read_text(encoding="utf-8"), feature_version=(3, 6))


def test_the_look_at_this_node(tmp_path: Path) -> None:
    """The script as a job runs it: everything is answered, and nothing is left behind."""
    ran = subprocess.run(
        [sys.executable, "-I", agentlook.__file__],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    found = judged(ran.stdout, AgentAsks("local"))
    assert found["python3"].status == OK and found["clock"].status == OK
    assert str(tmp_path) in found["shared folder"].words
    assert "GiB free" in found["space"].words
    assert list(tmp_path.iterdir()) == []
