"""Values that would be commands if anything took them for shell text, in scripts that run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from faults.scene import LONG
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lab import local_lab
from lab.slurm_lab import Cluster

from hpcagent import plugins
from hpcagent.apps.render import job_script
from hpcagent.errors import UsageError
from hpcagent.measure import worker
from hpcagent.protocols import Scheduler
from hpcagent.records import Refused, Resources, Submitted
from hpcagent.templates import clean

PAYLOADS = (
    "$(touch @)", "`touch @`", "; touch @ ;", "\n touch @ \n", "'; touch @; '", '"; touch @; "',
    "\u2028touch @\u2028", "| touch @", "&& touch @", "-", "--wrap=touch @", "--help", "#", "!",
    "%j", "%%", "\\", "$HOME", "~", "{seed}", "*", " ", "\t", "\r\n#SBATCH --wrap=x\n", "é",
    "\u00a0", "x" * 40, "=", ",", "@", "\x1b[2J", "\x00", "\udc80",
)  # fmt: skip
# Pieces of attacks and of ordinary names, in any order.
hostile = st.lists(
    st.one_of(st.sampled_from(PAYLOADS), st.text("abc019._-", min_size=1, max_size=4)),
    min_size=1, max_size=4,
).map("".join)  # fmt: skip
quick = settings(
    max_examples=40 if LONG else 8, deadline=None, database=None, derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
slow = settings(quick, max_examples=25 if LONG else 4)
FIELDS = ("partition", "account", "qos", "reservation", "constraint", "gres", "licenses", "hint")
LISTS = ("extra", "avoid_nodes", "after")
SCRIPT = (
    "import json, os, pathlib, sys; "
    "pathlib.Path('ran.json').write_text(json.dumps([os.getcwd(), sys.argv[1:]]))"
)
_serial = iter(range(10**9))


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scheduler]:
    for _ in local_lab.start(tmp_path, monkeypatch):
        yield plugins.load("hpcagent.schedulers", "local", "scheduler").scheduler()


@pytest.fixture
def cluster(slurm: Cluster) -> Scheduler:
    scheduler: Scheduler = plugins.load("hpcagent.schedulers", "slurm", "scheduler").scheduler()
    return scheduler


class Place:
    """A folder to be hostile in; a payload that ran would leave `canary` there."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        self.canary = self.folder / "canary"

    def __call__(self, text: str) -> str:
        return text.replace("@", str(self.canary))

    def name(self, text: str) -> str:
        """As one component of a path: a canary by its bare name would be in the job's folder."""
        return text.replace("@", "canary").replace("/", "_")

    def unharmed(self) -> None:
        found = [path for path in self.folder.rglob("*") if path.name.startswith("canary")]
        assert not [path for path in found if path.is_file()], found


def finish(scheduler: Scheduler, script: Path) -> str:
    """Submit and wait; the state, or the words of a refusal."""
    answer = scheduler.submit(script)
    if isinstance(answer, Refused):
        return f"refused: {answer.words}"
    assert isinstance(answer, Submitted), answer
    limit = time.monotonic() + 300
    while True:
        status = scheduler.poll([answer.job_id]).get(answer.job_id)
        assert status is not None
        if status.state.terminal:
            return status.state.value
        if status.hopeless or status.state.value == "HELD":
            scheduler.cancel([answer.job_id])
        assert time.monotonic() < limit, status
        time.sleep(0.1)


def in_a_folder(scheduler: Scheduler, place: Place, name: str, words: list[str]) -> None:
    """A run directory of this name: refused in words, or used as it is."""
    folder = place.folder / place.name(name)
    try:
        for value in (folder, *words):
            clean(value, "--run-dir")
    except UsageError as error:
        assert "\n" not in str(error)
        return
    head = scheduler.directives(Resources(walltime_s=60), f"hostile-{next(_serial)}")
    text = job_script(head, (), str(folder), [sys.executable, "-c", SCRIPT, *words])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.sh").write_text(text)
    ended = finish(scheduler, folder / "job.sh")
    place.unharmed()
    if not ended.startswith("refused"):
        assert ended == "COMPLETED", (name, ended)
        assert json.loads((folder / "ran.json").read_text()) == [str(folder), words]


def asking_for(scheduler: Scheduler, place: Place, wishes: dict[str, str]) -> None:
    """Job options with these values: refused by us or by the scheduler, or harmless."""
    values: dict[str, object] = {k: place(v) for k, v in wishes.items() if k in FIELDS}
    values |= {k: (place(v),) for k, v in wishes.items() if k in LISTS}
    asks = replace(Resources(walltime_s=60), **values)  # type: ignore[arg-type]
    folder = place.folder / "job"
    folder.mkdir()
    try:
        head = scheduler.directives(asks, f"hostile-{next(_serial)}")
    except UsageError as error:
        assert "\n" not in str(error)
        return
    assert all(len(line.splitlines()) == 1 and line.startswith("#") for line in head)
    text = job_script(head, (), str(folder), [sys.executable, "-c", SCRIPT])
    (folder / "job.sh").write_text(text)
    finish(scheduler, folder / "job.sh")
    place.unharmed()
    if (folder / "ran.json").exists():
        assert json.loads((folder / "ran.json").read_text()) == [str(folder), []]


def with_environment(scheduler: Scheduler, place: Place, values: dict[str, str]) -> None:
    """A configuration's variables arrive byte for byte, whatever they hold."""
    environment = {name: place(value) for name, value in values.items()}
    folder = place.folder / "unit"
    folder.mkdir()
    dump = "import json, os; print('time k 1.0'); print('env', json.dumps(dict(os.environ)))"
    spec = {
        "schema": 1, "unit": "u", "mode": "once", "reference": "c",
        "configs": [{"id": "c", "argv": [], "env": environment, "binding": None}],
        "unset": [], "command": [sys.executable, "-c", dump], "timeout_s": 30, "budget_s": 60,
        "seed": 1, "weights": {"k": 1.0},
        "check": {"figure": "^time (?P<key>\\S+) (?P<value>\\S+)$", "keys": ["k"],
                  "success": [], "readback": {"env": "^env (.+)$"}},
    }  # fmt: skip
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "worker.py").write_text(Path(str(worker.__file__)).read_text())
    head = scheduler.directives(Resources(walltime_s=60), f"hostile-{next(_serial)}")
    text = job_script(head, (), str(folder), [sys.executable, "worker.py", "spec.json"])
    (folder / "job.sh").write_text(text)
    assert finish(scheduler, folder / "job.sh") == "COMPLETED"
    place.unharmed()
    line = json.loads((folder / "result.jsonl").read_text())
    told = json.loads(line["readback"]["env"])
    assert {name: told[name] for name in environment} == environment


names = st.from_regex(r"HOSTILE_[A-Z]{1,3}", fullmatch=True)
sayable = hostile.filter(lambda text: "\0" not in text and "\udc80" not in text)
wish = st.dictionaries(st.sampled_from((*FIELDS, *LISTS)), hostile, min_size=1, max_size=2)
words = st.lists(sayable, max_size=2)


@quick
@given(name=hostile, arguments=words)
def test_local_run_directory(
    local: Scheduler, tmp_path: Path, name: str, arguments: list[str]
) -> None:
    in_a_folder(local, Place(tmp_path), name, [a.replace("@", "canary") for a in arguments])


@quick
@given(values=st.dictionaries(names, sayable, min_size=1, max_size=3))
def test_local_environment(local: Scheduler, tmp_path: Path, values: dict[str, str]) -> None:
    with_environment(local, Place(tmp_path), values)


@pytest.mark.slurm
@slow
@given(name=hostile, arguments=words)
def test_slurm_run_directory(
    cluster: Scheduler, tmp_path: Path, name: str, arguments: list[str]
) -> None:
    in_a_folder(cluster, Place(tmp_path), name, [a.replace("@", "canary") for a in arguments])


@pytest.mark.slurm
@settings(quick, max_examples=80 if LONG else 15)
@given(wishes=wish)
def test_slurm_requests(cluster: Scheduler, tmp_path: Path, wishes: dict[str, str]) -> None:
    asking_for(cluster, Place(tmp_path), wishes)


@pytest.mark.slurm
@slow
@given(option=st.sampled_from(("--comment=", "--nice=", "--mail-user=", "--wckey=", "-k")),
       value=hostile)  # fmt: skip
def test_slurm_further_options(cluster: Scheduler, tmp_path: Path, option: str, value: str) -> None:
    asking_for(cluster, Place(tmp_path), {"extra": option + value})


@pytest.mark.slurm
@slow
@given(values=st.dictionaries(names, sayable, min_size=1, max_size=3))
def test_slurm_environment(cluster: Scheduler, tmp_path: Path, values: dict[str, str]) -> None:
    with_environment(cluster, Place(tmp_path), values)


@pytest.mark.slurm
def test_slurm_values_from_the_submitters_environment(
    cluster: Scheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is exported into the job is data there."""
    place = Place(tmp_path)
    for number, payload in enumerate(PAYLOADS):
        if "\0" not in payload and "\udc80" not in payload:
            monkeypatch.setenv(f"HOSTILE_{number}", place(payload))
    monkeypatch.setenv("BASH_FUNC_python%%", "() { touch " + str(place.canary) + "; }")
    before = {k: v for k, v in os.environ.items() if k.startswith("HOSTILE_")}
    folder = place.folder / "job"
    folder.mkdir()
    show = "import json, os; json.dump(dict(os.environ), open('env.json', 'w'))"
    head = cluster.directives(Resources(walltime_s=60), f"hostile-{next(_serial)}")
    (folder / "job.sh").write_text(job_script(head, (), str(folder), [sys.executable, "-c", show]))
    assert finish(cluster, folder / "job.sh") == "COMPLETED"
    place.unharmed()
    after = json.loads((folder / "env.json").read_text())
    assert {k: after.get(k) for k in before} == before


def test_the_payloads_would_be_seen(tmp_path: Path) -> None:
    """The canary works: a shell that is given such a value as text creates it."""
    place = Place(tmp_path)
    subprocess.run(["bash", "-c", f"echo {place('$(touch @)')}"], check=True)
    with pytest.raises(AssertionError):
        place.unharmed()
