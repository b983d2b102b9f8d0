"""What is run in quarantine ends within its limits, tells the truth, and reaches nothing else."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hpcagent.codegen import quarantine

HERE = Path(__file__).parent
SCRIPTS = [Path(quarantine.__file__ or "").with_name(name) for name in quarantine.PARTS]
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
PYTHON = "/usr/bin/python3"

pytestmark = pytest.mark.toolchain


@dataclass(frozen=True)
class Place:
    """A folder with the attacks in it, and how its user starts the quarantine."""

    folder: Path
    prefix: tuple[str, ...]

    def run(self, *words: str, **spec: Any) -> dict[str, Any]:
        """As a unit does it: the scripts lie beside the spec."""
        data = {"argv": [str(self.folder / "attacks"), *words], "cwd": str(self.folder / "work")}
        limits: Mapping[str, Any] = {"wall_s": 20, "processes": 40, **spec.pop("limits", {})}
        data |= {"writable": [str(self.folder / "work")], "limits": limits, **spec}
        path = self.folder / "work" / "SPEC.json"
        path.write_text(json.dumps(data))
        path.with_name("RESULT.json").unlink(missing_ok=True)
        command = [*self.prefix, PYTHON, str(self.folder / "quarantine.py"), str(path)]
        handles = [int(number) for number in spec.get("pass_fds", [])]
        ended = subprocess.run(command, timeout=300, capture_output=True, pass_fds=handles)
        assert ended.returncode == 0, ended.stderr
        result = json.loads(path.with_name("RESULT.json").read_text())
        assert set(result) == {*RESULT_KEYS}
        return dict(result)


RESULT_KEYS = (
    "exit", "signal", "wall_s", "cpu_s", "maxrss_bytes", "stopped_by", "stdout_tail",
    "stderr_tail", "output_bytes", "protections", "leftover_processes", "survivors", "error",
)  # fmt: skip


@pytest.fixture(scope="module")
def attacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc")
    if compiler is None or not Path(PYTHON).exists():
        pytest.skip("no gcc, or no python3 of the system")
    program = tmp_path_factory.mktemp("attacks") / "attacks"
    for name in ("attacks", "refuser"):
        source = HERE / f"quarantine_{name}.c"
        target = str(program.with_name(name))
        subprocess.run([compiler, "-O1", "-w", "-o", target, str(source)], check=True)
    return program


@pytest.fixture(params=["self", "nobody", "nobody without namespaces"])
def place(request: pytest.FixtureRequest, attacks: Path) -> Iterator[Place]:
    prefix: tuple[str, ...] = ()
    folder = Path(tempfile.mkdtemp(prefix="haq-"))
    if request.param != "self":
        if os.getuid() != 0 or shutil.which("setpriv") is None:
            shutil.rmtree(folder)
            pytest.skip("only root can be somebody else")
        prefix = NOBODY
    if "without" in request.param:
        prefix = (*NOBODY, str(folder / "refuser"))
    (folder / "work").mkdir()
    for path in (attacks, attacks.with_name("refuser"), *SCRIPTS):
        shutil.copy(path, folder)
    if prefix:
        for path in (folder, folder / "work"):
            os.chown(path, 65534, 65534)
    yield Place(folder, prefix)
    shutil.rmtree(folder)


STOPPED = {
    "loop": ("wall", {"wall_s": 0.4}, None),
    "loop of much work": ("cpu", {"cpu_s": 0.4}, None),
    "bomb": ("processes", {"processes": 40}, None),
    "eat": ("memory", {"memory_bytes": 200 << 20, "address_bytes": 0}, None),
    "flood": ("output", {"output_bytes": 1 << 20}, None),
    "bigfile": ("file", {"file_bytes": 8 << 20}, "big"),
    "manyfiles": ("file", {"file_bytes": 20 << 20}, ""),
    "stop": ("wall", {"wall_s": 0.4}, None),
    "stubborn": ("wall", {"wall_s": 0.4}, None),
}


@pytest.mark.parametrize("attack", STOPPED)
def test_what_has_no_end_is_ended_for_the_right_reason(place: Place, attack: str) -> None:
    reason, limits, name = STOPPED[attack]
    words = [attack.split()[0]]
    if name is not None:
        words.append(str(place.folder / "work" / name))
    before = set(all_processes())
    result = place.run(*words, limits=limits)
    assert result["stopped_by"] == reason, result
    assert result["signal"] is not None
    assert result["exit"] is None
    assert result["survivors"] == 0
    assert len(result["stdout_tail"]) <= 16384
    assert not [pid for pid in all_processes() if pid not in before]


def all_processes() -> list[int]:
    """Those of the attacks that are alive."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            alive = path.name.isdigit() and (path / "comm").read_text().strip() == "attacks"
            if alive and (path / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append(int(path.name))
        except OSError:
            continue
    return found


def test_daemons_do_not_outlive_the_program(place: Place) -> None:
    before = set(all_processes())
    sign = place.folder / "work" / "sign"
    result = place.run("daemons", str(sign))
    assert (result["exit"], result["stopped_by"]) == (0, None)
    assert result["leftover_processes"] == 3
    assert not [pid for pid in all_processes() if pid not in before]
    size = sign.stat().st_size
    time.sleep(0.1)
    assert sign.stat().st_size == size > 0


def test_the_network_is_out_of_reach_where_it_is_said(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = place.run("connect", str(server.getsockname()[1]), calls="ranks")
        alone = place.run("connect", str(server.getsockname()[1]), calls="alone")
    said = result["protections"]["network"]
    assert ("did: connect" in result["stdout_tail"]) == (said is not True)
    assert said is True or "not permitted" in said
    if said is True:
        assert "loopback: up" in result["stdout_tail"]
    if alone["protections"]["call_filter"] is True:
        assert "refused: connect" in alone["stdout_tail"]


def test_sockets_of_daemons_are_out_of_reach_where_it_is_said(place: Place) -> None:
    path = Path(tempfile.mkdtemp(dir="/tmp", prefix="hs-")) / "daemon"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        path.parent.chmod(0o777)
        path.chmod(0o777)
        result = place.run("unix", str(path), calls="ranks")
    shutil.rmtree(path.parent)
    said = result["protections"]["private_tmp"]
    assert ("did: connect" in result["stdout_tail"]) == (said is not True)


def test_files_of_others_are_out_of_reach_where_it_is_said(place: Place) -> None:
    answer, plain = place.folder / "reference" / "answer", place.folder / "plain"
    answer.parent.mkdir()
    for path in (answer, plain):
        path.write_text("42")
        path.chmod(0o666)
    folders = {"hidden": [str(answer.parent)], "visible": [str(place.folder)]}
    hidden = place.run("look", str(answer), **folders)
    seen = place.run("look", str(plain), **folders)
    told = seen["protections"]
    assert ("content: 42" in hidden["stdout_tail"]) == (told["hidden"] is not True)
    assert "content: 42" in seen["stdout_tail"]
    assert ("did: write" in seen["stdout_tail"]) == (told["read_only"] is not True)


def test_there_is_no_way_out(place: Place) -> None:
    result = place.run("breakout", visible=[str(place.folder)])
    told = result["protections"]
    did = {line for line in result["stdout_tail"].splitlines() if line.startswith("did: ")}
    if told["process_namespace"] is True:
        # Signals to process 1 that it has no handler for have no effect (pid_namespaces(7)).
        assert did <= {"did: kill"}
    assert not did & {"did: trace", "did: memory", "did: remount", "did: uncover", "did: become"}
    assert "did: namespace" not in did
    for name in ("no_privileges", "no_new_privileges", "limits", "session", "clean_environment"):
        assert told[name] is True


def test_one_that_is_alone_reaches_no_other(place: Place) -> None:
    result = place.run("breakout", calls="alone")
    bomb = place.run("bomb", calls="alone", limits={"wall_s": 0.4, "processes": 40})
    if result["protections"]["call_filter"] is True:
        assert "did: " not in result["stdout_tail"]
        assert (bomb["stopped_by"], bomb["signal"]) == (None, 31)


def test_one_that_kills_its_supervisor_gets_no_result(place: Place) -> None:
    result = place.run("killparent")
    if result["protections"].get("process_namespace") is True:
        assert result["exit"] == 0
    else:
        assert result["exit"] is None
        assert "supervising process" in result["error"]


def test_ends_of_programs_are_told_as_they_are(place: Place) -> None:
    early, crash = place.run("early"), place.run("crash")
    assert (early["exit"], early["signal"], early["stopped_by"]) == (0, None, None)
    assert (crash["exit"], crash["signal"], crash["stopped_by"]) == (None, 11, None)
    closed = place.run("closefds")
    assert (closed["exit"], closed["stdout_tail"]) == (0, "")
    missing = place.run(argv=["/no/such/program"])
    assert missing["exit"] is None
    assert "/no/such/program: No such file" in missing["error"]


def test_what_it_is_given_and_what_not(place: Place) -> None:
    text = place.folder / "work" / "in"
    text.write_text("letters")
    reader, writer = os.pipe()
    given = {"stdin_file": str(text), "pass_fds": [writer], "env": {"SECRET": "told"}}
    try:
        result = place.run("echo", str(writer), **given)
        assert os.read(reader, 20) == b"through"
    finally:
        os.close(reader)
        os.close(writer)
    assert (result["exit"], result["stdout_tail"]) == (5, "letters")
    assert result["stderr_tail"].startswith("told in /tmp/ha-")
    os.environ["SECRET"] = "of the agent"
    try:
        assert place.run("echo")["stderr_tail"].startswith("no secret in")
    finally:
        del os.environ["SECRET"]


def test_scratch_folders_are_gone_afterwards(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    own = place.folder / "work" / "tmp"
    own.mkdir()
    shutil.chown(own, *(65534, 65534) if place.prefix else (os.getuid(), os.getgid()))
    monkeypatch.setenv("TMPDIR", str(own))
    home = place.run("echo")["stderr_tail"].rpartition(" ")[2]
    assert Path(home).name.startswith("ha-")
    assert not Path(home).exists()
    assert not list(own.iterdir())


def test_a_node_without_namespaces_says_so(place: Place) -> None:
    told = place.run("early")["protections"]
    names = ("network", "read_only", "hidden", "process_namespace", "private_tmp")
    refused = [name for name in names if told[name] is not True]
    if place.prefix and place.prefix[-1].endswith("refuser"):
        held = ["read_only", "hidden"] if told["landlock"] is True else []
        assert refused == [name for name in names if name not in held]
        assert "user namespace: " in told["network"]
    assert all(value is True or len(value) > 5 for value in told.values())


def test_a_bad_spec_is_told(tmp_path: Path) -> None:
    path = tmp_path / "SPEC.json"
    for text, words in (
        ("{", "Expecting"),
        ('{"argv": [], "cwd": "/"}', "there is no program"),
        ('{"argv": ["x"], "cwd": "/nowhere"}', "no such folder"),
        ('{"argv": ["x"], "cwd": "/", "limits": {"wall_s": 0}}', "wall_s"),
        ('{"argv": ["x"], "cwd": "/", "limits": {"moon": 1}}', "moon"),
        ('{"argv": ["x"], "cwd": "/", "calls": "some"}', "some"),
        ('{"argv": ["x"], "cwd": "/", "limits": {"wall_s": "long"}}', "long"),
    ):
        path.write_text(text)
        command = [PYTHON, str(SCRIPTS[0]), str(path)]
        ended = subprocess.run(command, capture_output=True, text=True)
        assert ended.returncode == 2
        assert words in ended.stderr
        assert ended.stderr.count("\n") == 1


def test_it_can_be_called(attacks: Path, tmp_path: Path) -> None:
    spec = {"argv": [str(attacks), "crash"], "cwd": str(tmp_path), "visible": [str(attacks)]}
    assert quarantine.run(spec)["signal"] == 11
    assert "no such folder" in quarantine.run(dict(spec, cwd="/nowhere"))["error"]
