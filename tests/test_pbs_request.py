"""Requests in the words of PBS, and the script that qsub is given."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcagent.errors import UsageError
from hpcagent.records import Resources
from hpcagent.schedulers import pbs_request

GIB = 1 << 30


def lines(name: str = "haabc", **asked: object) -> list[str]:
    return pbs_request.directives(Resources(**{"walltime_s": 90, **asked}), name)  # type: ignore[arg-type]


def test_one_task() -> None:
    assert lines() == [
        "#PBS -N haabc",
        "#PBS -l select=1:ncpus=1:mpiprocs=1",
        "#PBS -l place=scatter:excl",
        "#PBS -l walltime=00:01:30",
        "#PBS -r n",
    ]


def test_everything() -> None:
    asked = lines(
        walltime_s=100 * 3600 + 62,
        nodes=2,
        tasks_per_node=4,
        cpus_per_task=8,
        memory_bytes=3 * GIB + 1,
        partition="work@other.server",
        account="p-1/x:y",
        exclusive=False,
        extra=("-P proj1", "-lfilesystems=home:eagle", "-r y", ":model=rom_ait:ngpus=1", "-m n"),
        after=("12.pbs01", "30[].pbs01"),
    )
    assert asked == [
        "#PBS -N haabc",
        "#PBS -l select=2:ncpus=32:mpiprocs=4:mem=3145729kb:model=rom_ait:ngpus=1",
        "#PBS -l place=scatter",
        "#PBS -l walltime=100:01:02",
        "#PBS -q work@other.server",
        "#PBS -A p-1/x:y",
        "#PBS -W depend=afterany:12.pbs01:30[].pbs01",
        "#PBS -P proj1",
        "#PBS -l filesystems=home:eagle",
        "#PBS -r y",
        "#PBS -m n",
    ]


def test_memory_of_a_cpu_is_that_of_the_chunk() -> None:
    asked = lines(tasks_per_node=2, cpus_per_task=3, memory_per_cpu_bytes=GIB)
    assert "#PBS -l select=1:ncpus=6:mpiprocs=2:mem=6291456kb" in asked


def test_a_reservation_is_a_queue() -> None:
    assert "#PBS -q R123.pbs01" in lines(reservation="R123.pbs01")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"reservation": "R1", "partition": "workq"}, "--reservation"),
        ({"memory_bytes": 1, "memory_per_cpu_bytes": 1}, "memory"),
        ({"memory_bytes": 0}, "memory"),
        ({"walltime_s": 0}, "wall time"),
        ({"nodes": 0}, "nodes"),
        ({"constraint": "skylake"}, "--scheduler-option"),
        ({"qos": "high"}, "--qos"),
        ({"gres": "gpu:1"}, "--gres"),
        ({"licenses": "x"}, "--licenses"),
        ({"hint": "nomultithread"}, "--hint"),
        ({"after": ("12; id",)}, "job id"),
        ({"extra": ("-N other",)}, "names its jobs"),
        ({"extra": ("-q workq",)}, "--partition"),
        ({"extra": ("-A acct",)}, "--account"),
        ({"extra": ("-l walltime=9",)}, "wall time"),
        ({"extra": ("-lx=1,select=2",)}, "nodes and CPUs"),
        ({"extra": ("-l mem=1gb",)}, "memory"),
        ({"extra": (":ncpus=9",)}, "nodes and CPUs"),
        ({"extra": (":model=x:mem=1gb",)}, "memory"),
        ({"extra": ("-W depend=afterok:1",)}, "jobs must have ended"),
        ({"extra": ("-W block=true",)}, "does not wait"),
        ({"extra": ("-W umask=000",)}, "umask"),
        ({"extra": ("-o x",)}, "output"),
        ({"extra": ("-V",)}, "prologue"),
        ({"extra": ("-S /bin/csh",)}, "first line"),
        ({"extra": ("-J 1-3",)}, "by itself"),
        ({"extra": ("--bogus",)}, "option of qsub"),
        ({"extra": ("-P a b",)}, "option of qsub"),
        ({"extra": ('-P "a',)}, "option of qsub"),
        ({"extra": ("-v A=$HOME",)}, "option of qsub"),
        ({"extra": ("",)}, "option of qsub"),
    ],
)
def test_what_cannot_be_asked_for_is_told(asked: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        lines(**asked)


# Words that qsub would take apart, or a shell would run.
HOSTILE = st.one_of(
    st.text(min_size=1, max_size=30),
    st.sampled_from(
        ["a b", "a\nb", "$(id)", "`id`", "-x", "'a'", '"a"', "a\u2028b", "a\\b", "#", "a;b", "ä"]
    ),
    st.text("ab -\"'`$()\n\t\r\\;#:=.,@\u2028\u2029\x85\x00", min_size=1, max_size=20),
)


FIELDS = ("partition", "account", "reservation", "extra", "after", "avoid_nodes")
# One option and one value, and nothing that qsub or a shell would take apart.
LINE = re.compile(r"#PBS -[A-Za-z](?: [A-Za-z0-9_.,:;@+%^*/=~()<>\[\]-]+)?")


@given(HOSTILE, st.sampled_from(FIELDS))
def test_a_hostile_value_is_refused_or_stays_one_word(value: str, field: str) -> None:
    many = field in ("extra", "after", "avoid_nodes")
    try:
        asked = lines(**{field: (value,) if many else value})
    except UsageError as error:
        assert "\n" not in str(error)
        return
    assert all(LINE.fullmatch(line) for line in asked)
    assert field != "avoid_nodes" or asked == lines()


@given(HOSTILE)
def test_a_hostile_name_is_refused(name: str) -> None:
    try:
        asked = lines(name)
    except UsageError:
        return
    assert asked[0] == f"#PBS -N {name}"
    assert re.fullmatch("[A-Za-z0-9][A-Za-z0-9_.-]*", name)


def test_a_job_with_several_tasks_has_a_launcher() -> None:
    assert pbs_request.launcher(Resources(walltime_s=1)) == []
    two = Resources(walltime_s=1, nodes=2, tasks_per_node=2)
    assert pbs_request.launcher(two) == ["mpiexec", "-n", "4"]


# --- the script that qsub is given ----------------------------------------------------------------


def test_the_head_ends_at_the_first_command() -> None:
    text = "#!/bin/sh\n# hello\n#PBS -N a\n\n#PBS -l x=1\r\necho\n#PBS -N late\n"
    assert pbs_request.head(text) == ["#PBS -N a", "#PBS -l x=1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#!/bin/sh\ntrue\n", ("/bin/sh",)),
        ("#! /usr/bin/env python3 -u\n", ("/usr/bin/env", "python3 -u")),
        ("#!/bin/bash\r\n", ("/bin/bash",)),
        ("echo\n", ()),
        ("#!\n", ()),
        ("", ()),
    ],
)
def test_the_interpreter_is_read_as_the_kernel_reads_it(text: str, words: tuple[str, ...]) -> None:
    assert pbs_request.interpreter(text) == words


def test_dependencies_on_what_has_ended_are_left_out() -> None:
    asked = lines(after=("1.pbs01", "2.pbs01"))
    assert pbs_request.waits_for(asked) == ["1.pbs01", "2.pbs01"]
    one = pbs_request.without(asked, ["1.pbs01"])
    assert pbs_request.waits_for(one) == ["2.pbs01"]
    assert pbs_request.without(asked, ["1.pbs01", "2.pbs01"]) == lines()
    assert pbs_request.without(asked, []) == asked


PATH_TEXT = st.text(
    st.one_of(
        st.sampled_from("$(touch pwned)`'\"\\;&|<>*?[]{}~#!^: -\u2028\u2029\u00a0ä☃%"),
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(PATH_TEXT)
def test_hostile_paths_are_only_paths(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = tmp_path_factory.mktemp("paths")
    folder = root / f"x{name}"[:60]
    if len(str(folder.name).encode()) > 200:
        return
    folder.mkdir()
    script = folder / "job.sh"
    script.write_text("#!/bin/sh\npwd; echo err >&2; umask\n")
    try:
        text = pbs_request.wrapper(lines(), str(script), ("/bin/sh",), 0o027)
    except UsageError:
        assert "\u2028" in name or "\u2029" in name
        return
    made = root / "job.pbs"
    made.write_text(text)
    home = root / "home"
    home.mkdir()
    done = subprocess.run(["/bin/sh", str(made)], cwd=home, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (folder / "out").read_text() == f"{folder}\n0027\n"
    assert (folder / "err").read_text() == "err\n"
    assert sorted(path.name for path in folder.iterdir()) == ["err", "job.sh", "out"]
    assert sorted(path.name for path in root.iterdir()) == sorted(["home", "job.pbs", folder.name])
    assert not list(home.iterdir())


@pytest.mark.parametrize("folder", ["/a\nb", "/a\x85b", "/a\u2028b", "/a\x00b", "/a\udcff"])
def test_a_path_that_no_line_carries_is_refused(folder: str) -> None:
    with pytest.raises(UsageError):
        pbs_request.wrapper([], f"{folder}/job.sh", ("/bin/sh",), 0o022)


def test_a_folder_that_is_gone_ends_the_job(tmp_path: Path) -> None:
    text = pbs_request.wrapper([], f"{tmp_path}/none/job.sh", ("/bin/sh",), 0o022)
    done = subprocess.run(["/bin/sh", "-c", text], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 127
    assert b"none" in done.stderr
    assert not list(tmp_path.iterdir())
