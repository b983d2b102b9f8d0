"""Loading through the real llama.cpp: what fits, hostile templates, damaged files, isolation."""

from __future__ import annotations

import json
import mmap
import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_gguf import TEMPLATE, Shape, make_tiny_gguf

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm import gguf
from hpcagent.llm.child.mapped import give_back
from hpcagent.llm.grammar import longest, violation
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.memory import need
from hpcagent.llm.residents import Residents
from hpcagent.llm.surroundings import room_here
from hpcagent.records import Limits, Message

pytestmark = pytest.mark.llama

ASK = (Message("system", "Answer."), Message("user", "Is seven a prime number?"))
SCHEMA = {"type": "object", "properties": {"answer": {"enum": ["yes", "no"]}}}
LIMITS = Limits(longest(SCHEMA), 60)
MIB = 1 << 20
MUTATIONS = 25  # in one process each; 300 were tried once (docs/benchmarks.md)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Path:
    return make_tiny_gguf(folder / "tiny.gguf")


@pytest.fixture
def in_a_job(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    yield monkeypatch


def peak_bytes(pid: int | None) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


# --- memory ---


def test_the_estimate_is_near_what_a_model_takes(folder: Path) -> None:
    path = make_tiny_gguf(
        folder / "middle.gguf",
        shape=Shape(width=384, heads=6, layers=4, forward=1024, quantised=False),
    )
    residents = Residents(lambda held, paged: room_here(os.environ, held, paged=paged).bytes)
    model = LlamaCpp(path, context=1024, sequences=4, residents=residents)
    prompt = (Message("user", "a" * 800),)  # a token each: most of the context is used
    assert model.complete(prompt, SCHEMA, Limits(longest(SCHEMA), 200), 1).failure is None
    peak, alone = peak_bytes(model.pid), need(model.file, 1024)
    assert residents.held() == model.needs == alone.total + 3 * alone.cache
    assert residents.paged() == alone.weights, "nothing of it is rearranged"
    model.close()
    assert 0.9 * peak < alone.total + 3 * alone.cache < 1.5 * peak + 50 * MIB
    assert alone.total < 1.1 * peak, "what is kept takes memory"


def test_a_short_context_is_taken_where_memory_is_short_and_told(
    folder: Path, in_a_job: pytest.MonkeyPatch
) -> None:
    path = make_tiny_gguf(folder / "wide.gguf", shape=Shape(width=256, heads=8, layers=2))
    whole = need(gguf.read(path), 8192).total
    in_a_job.setenv("SLURM_MEM_PER_NODE", str(whole // MIB - 8 + 128))
    model = LlamaCpp(path)
    assert model.complete(ASK, SCHEMA, LIMITS, 1).failure is None
    assert 2048 <= model.context < 8192
    assert f"context {model.context} of 8192 tokens, since memory is short" in model.notes[0]
    model.close()
    in_a_job.setenv("SLURM_MEM_PER_NODE", "190")
    refused = model.complete(ASK, SCHEMA, LIMITS, 1).failure
    assert refused is not None and refused.id == "model.memory"
    assert "SLURM_MEM_PER_NODE" in refused.evidence and "\n" not in refused.evidence
    assert model.pid is None


def test_two_models_take_turns_where_both_do_not_fit(
    folder: Path, tiny: Path, in_a_job: pytest.MonkeyPatch
) -> None:
    other = make_tiny_gguf(folder / "other.gguf", seed=2)
    each = need(gguf.read(tiny), 8192).total // MIB + 1
    in_a_job.setenv("SLURM_MEM_PER_NODE", str(each + each // 2 + 128))
    residents = Residents(lambda held, paged: room_here(os.environ, held, paged=paged).bytes)
    models = [LlamaCpp(path, residents=residents) for path in (tiny, other)]
    for first, second in (models, models[::-1]):
        assert first.complete(ASK, SCHEMA, LIMITS, 1).failure is None
        assert first.pid is not None and second.pid is None
    in_a_job.setenv("SLURM_MEM_PER_NODE", str(3 * each + 128))
    for model in (*models, *models):
        assert model.complete(ASK, SCHEMA, LIMITS, 1).failure is None
    assert all(model.pid is not None for model in models)
    for model in models:
        model.close()
    assert residents.held() == 0


def test_pages_of_a_file_are_given_back_and_can_still_be_read(tmp_path: Path) -> None:
    """Weights that are rearranged are not read from the file again."""
    path = tmp_path / "a model.gguf"
    path.write_bytes(bytes(range(256)) * 16384)
    with path.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED)
    whole = bytes(mapped)
    assert _resident(path) == len(whole)
    give_back([tmp_path / "another.gguf"])
    assert _resident(path) == len(whole)
    give_back([path])
    assert _resident(path) == 0 and bytes(mapped) == whole
    mapped.close()


def _resident(path: Path) -> int:
    """Bytes of a file's mapping in this process (proc(5), smaps)."""
    _, _, ours = Path("/proc/self/smaps").read_text().partition(f" {path}\n")
    return next(int(line.split()[1]) << 10 for line in ours.splitlines() if "Rss:" in line)


# --- chat templates ---

# The real process with a tenth of the time for a template: its bounds are kept as they are else.
HASTY = (
    sys.executable, "-P", "-c",
    "from hpcagent.llm.child import __main__, prompt; prompt.TEMPLATE_S = 0.2; __main__.main()",
)  # fmt: skip
HOSTILE = {
    "a text of ten gigabytes": "{{ 'a' * 10 ** 10 }}",
    "gigabytes that the compiler would fold": "{% set x = 'a' * 10 ** 9 * 9 %}{{ x }}",
    "a list of gigabytes": "{% set x = [0] * 10 ** 9 %}{{ x | length }}",
    "padding": "{{ '%1000000000s' % 'a' }}",
    "a long range": "{% for x in range(10 ** 9) %}a{% endfor %}",
    "recursion": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "subclasses": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ cycler.__init__.__globals__.os.system('touch escaped') }}",
    "format": "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "attr": "{{ messages | attr('__class__') }}{{ (messages | attr('append'))(1) }}",
    "mutation": "{{ messages.append(messages) }}",
    "a large text": "{% for x in range(99999) %}{{ 'a' * 999 }}{% endfor %}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_survived_and_told(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    path = make_tiny_gguf(folder / "hostile.gguf", template=HOSTILE[name])
    model = LlamaCpp(path, command=HASTY)
    reply = model.complete(ASK, SCHEMA, LIMITS, 1)
    assert reply.failure is None and violation(json.loads(reply.text), SCHEMA) == ""
    assert peak_bytes(model.pid) < 800 * MIB
    model.close()
    told = " ".join(model.notes)
    if name not in ("attr", "format"):  # these two give an empty or a harmless text
        assert "its chat template is not used (" in told and "\n" not in told
    assert "__globals__" not in reply.text
    assert not (folder / "escaped").exists()


TOOLS = {
    "goes through them unasked": "{% for tool in tools %}{{ tool.name }}{% endfor %}",
    "asks whether they are none": "{% if tools is not none %}{{ raise_exception('a') }}{% endif %}",
    "asks whether they are there": "{{ 'tools' if tools is not defined }}",
    "asks for what nobody gives": "{% if functions is defined %}{% for f in functions %}"
    "{% endfor %}{% endif %}{% for choice in tool_choice %}{% endfor %}",
    "knows no system": "{% for tool in tools %}{% endfor %}"
    "{{ raise_exception('no system') if messages[0].role == 'system' }}",
}  # fmt: skip


@pytest.mark.parametrize("name", TOOLS)
def test_a_template_made_for_tools_is_used_where_there_are_none(folder: Path, name: str) -> None:
    template = f"{TOOLS[name]}[own]{TEMPLATE}"
    model = LlamaCpp(make_tiny_gguf(folder / "tools.gguf", template=template))
    reply = model.complete(ASK, SCHEMA, LIMITS, 1)
    plain = LlamaCpp(make_tiny_gguf(folder / "own.gguf", template=f"[own]{TEMPLATE}"))
    same = plain.complete(_moved(ASK) if name == "knows no system" else ASK, SCHEMA, LIMITS, 1)
    model.close()
    plain.close()
    assert model.notes == () and reply.failure is None
    assert (reply.text, reply.tokens_in) == (same.text, same.tokens_in)


def _moved(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return (Message("user", "\n\n".join(message.text for message in messages)),)


def test_an_endless_template_costs_seconds_and_not_the_model(folder: Path) -> None:
    loops = "{% for x in range(99999) %}{% for y in range(99999) %}{% endfor %}{% endfor %}"
    model = LlamaCpp(make_tiny_gguf(folder / "endless.gguf", template=loops), command=HASTY)
    failure = model.load()
    model.close()
    assert failure is None
    assert "its chat template is not used (TooLong" in model.notes[0]


def test_a_step_that_hears_no_signal_ends_the_process_in_seconds(folder: Path) -> None:
    power = "{{ 10 ** (10 ** 10) }}"
    model = LlamaCpp(make_tiny_gguf(folder / "power.gguf", template=power), command=HASTY)
    failure = model.load()
    assert failure is not None and failure.id == "model.died"
    assert "killed by SIGVTALRM" in failure.evidence


def test_the_time_of_a_template_counts_from_its_beginning() -> None:
    """Not from that of the process: clocks drift apart in one that has computed for long."""
    code = """
import resource, signal
from hpcagent.llm.child.bounds import within
timers = signal.ITIMER_PROF, signal.ITIMER_VIRTUAL
before = resource.getrlimit(resource.RLIMIT_CPU)
with within(5, 1 << 30):
    print(resource.getrlimit(resource.RLIMIT_CPU) == before)
    print(*(4 < signal.getitimer(timer)[0] < 12 for timer in timers))
print(*(signal.getitimer(timer)[0] == 0 for timer in timers))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 5


# --- damaged files ---


def test_no_mutation_of_a_model_harms_its_parent(tiny: Path, folder: Path) -> None:
    whole = tiny.read_bytes()
    random_ = random.Random(20261128)
    path, outcomes = folder / "mutated.gguf", set()
    for number in range(MUTATIONS):
        path.write_bytes(mutated(whole, random_))
        try:
            model = LlamaCpp(path, load_timeout_s=60)
        except EnvironmentProblem as problem:
            assert "\n" not in str(problem)
            outcomes.add("read")
            continue
        failure = model.complete(ASK, SCHEMA, Limits(longest(SCHEMA), 30), 1).failure
        model.close()
        assert failure is None or (failure.stage == "model" and failure.evidence), number
        outcomes.add(failure.kind if failure else "answered")
    assert len(outcomes) >= 2, outcomes


def mutated(whole: bytes, random_: random.Random) -> bytes:
    """Flipped bytes, a cut, a length or a piece put in: mostly in the header."""
    made = bytearray(whole)
    for _ in range(random_.randint(1, 3)):
        where = random_.randrange(24, 9000 if random_.random() < 0.8 else len(made))
        kind = random_.random()
        if kind < 0.55:
            made[where] = random_.randrange(256)
        elif kind < 0.75:
            length = random_.choice((0, 1, 255, 2**31, 2**32 - 1, 2**63, 2**64 - 1))
            made[where : where + 8] = struct.pack("<Q", length)
        elif kind < 0.9:
            made[where:where] = random_.randbytes(random_.randint(1, 64))
        else:
            del made[where : where + random_.randint(1, 64)]
    return bytes(made)


def test_a_split_model_of_links_is_found_by_their_names(folder: Path) -> None:
    """As the caches of download tools have them: links with names to files without."""
    blobs, snapshot = folder / "blobs", folder / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    make_tiny_gguf(folder / "parted.gguf", tensors_a_part=5)
    parts = sorted(folder.glob("parted-0*.gguf"))
    for number, part in enumerate(parts):
        (snapshot / part.name).symlink_to(part.rename(blobs / f"{number:064x}"))
    model = LlamaCpp(snapshot / parts[0].name)
    reply = model.complete(ASK, SCHEMA, LIMITS, 1)
    model.close()
    assert len(parts) > 1 and reply.failure is None


def test_broken_vocabularies_and_shapes_are_told_in_one_line(tiny: Path, folder: Path) -> None:
    whole = tiny.read_bytes()
    damages = {
        "an unknown architecture": whole.replace(b"llama", b"lluma"),
        "a tensor of another shape": whole.replace(
            struct.pack("<QQ", 32, 64), struct.pack("<QQ", 64, 32), 1
        ),
        "no heads": whole.replace(
            b"llama.attention.head_count\x04\0\0\0\x02", b"llama.attention.head_count\x04\0\0\0\0"
        ),
    }
    for name, content in damages.items():
        assert content != whole, name
        path = folder / "broken.gguf"
        path.write_bytes(content)
        model = LlamaCpp(path)
        failure = model.load()
        model.close()
        assert failure is not None, name
        assert failure.kind in ("load", "died") and "\n" not in failure.evidence, name


# --- isolation ---


def test_the_process_of_a_model_cannot_be_looked_into_and_opens_no_door(tiny: Path) -> None:
    model = LlamaCpp(tiny)
    assert model.load() is None
    limits = Path(f"/proc/{model.pid}/limits").read_text()
    status = Path(f"/proc/{model.pid}/status").read_text()
    owner = Path(f"/proc/{model.pid}/mem").stat().st_uid
    model.close()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    assert "NoNewPrivs:\t1" in status
    assert owner == 0  # the kernel gives what is not dumpable to root


@pytest.mark.parametrize(
    "deed",
    [
        "import socket; socket.socket()",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true')",
        "import os; os.fork()",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
    ],
)
def test_python_in_that_process_gets_neither_sockets_nor_programs(deed: str) -> None:
    code = f"from hpcagent.llm.child.bounds import isolate\nisolate()\n{deed}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith("is not for the process of a model")


def test_bounds_hold_and_are_lifted_again() -> None:
    code = """
from hpcagent.llm.child.bounds import TooLong, within
for work in (lambda: "a" * (300 << 20), lambda: next(x for x in iter(int, 1) if x)):
    try:
        with within(0.2, 100 << 20):
            work()
    except (TooLong, MemoryError) as error:
        print(type(error).__name__)
print(len("a" * (300 << 20)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["MemoryError", "TooLong", str(300 << 20)]


def test_nothing_is_left_running_when_a_model_is_closed(tiny: Path) -> None:
    model = LlamaCpp(tiny)
    assert model.load() is None
    pid = model.pid
    model.close()
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
