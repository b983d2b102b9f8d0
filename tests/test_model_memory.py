"""What a model needs, what it may use, its threads, and which models stay loaded: pure parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.llm.gguf import ModelFile, Shape, Weights
from hpcagent.llm.memory import (
    CPU_BATCH,
    CPU_BLOCK,
    GIB,
    Device,
    Room,
    cache_bytes_a_token,
    need,
    paged_bytes,
    plan,
    rearranged_bytes,
    room,
)
from hpcagent.llm.residents import Needed, Residents
from hpcagent.llm.threads import Allocation, bounds, choose

# Llama 3.1 8B in Q4_K_M, by its published configuration and file size.
SHAPE = Shape(32, 4096, 14336, 32, (8,) * 32, 128, 128, 128_256)
LAYER = 4_200_000_000 // 32
EIGHT_B = ModelFile(
    path=Path("/m/llama.gguf"), architecture="llama", name="Llama", parameters=8_030_261_248,
    quantisation="Q4_K_M", context_length=131_072, size_bytes=4_920_000_000, chat_template=None,
    shape=SHAPE, weights=Weights(4_912_000_000, LAYER, 712_000_000),
)  # fmt: skip
PLENTY = Room(64 * GIB, "memory available on this machine")
MEMINFO = "MemTotal: 67108864 kB\nMemFree: 1 kB\nMemAvailable:   33554432 kB\n"
V2 = "/sys/fs/cgroup/job"
V1 = "/sys/fs/cgroup/memory/job"


def test_the_need_of_a_well_known_model() -> None:
    """llama.cpp tells 1024 MiB of cache with 8192 tokens, and 560 of compute for 512 at once."""
    assert cache_bytes_a_token(EIGHT_B) == 131_072
    found = need(EIGHT_B, 8192)
    assert found.cache == 1 << 30
    assert 0.9 < found.compute * 512 / CPU_BATCH / (560 << 20) < 1.3
    assert str(found).startswith("5.9 GiB (weights 4.6, cache 1.0, compute 0.1, process")


def test_what_reads_in_blocks_needs_no_room_for_more() -> None:
    for more in ({"experts": 8}, {"state_bytes": 1}):
        other = replace(EIGHT_B, shape=replace(SHAPE, **more))  # type: ignore[arg-type]
        ratio = need(EIGHT_B, 8192).compute / need(other, 8192).compute
        assert ratio == pytest.approx(CPU_BATCH / CPU_BLOCK, rel=0.01)


def test_layers_with_a_window_may_have_shorter_keys() -> None:
    """As gemma4: five of six layers see a window, with keys of half the length."""
    windowed = tuple(layer for layer in range(32) if layer % 6 != 5)
    shape = replace(SHAPE, windowed=windowed, windowed_length=128)
    heads_at_all = 8 * (len(windowed) * 128 + (32 - len(windowed)) * 256)
    assert cache_bytes_a_token(replace(EIGHT_B, shape=shape)) == 2 * heads_at_all


def test_a_model_that_fits_is_loaded_as_it_was_asked_for() -> None:
    found = plan(EIGHT_B, 8192, PLENTY)
    assert (found.context, found.notes, found.refusal, found.gpu_layers) == (8192, (), "", 0)


def test_the_context_is_shortened_before_a_model_is_refused() -> None:
    found = plan(EIGHT_B, 32_768, Room(7 * GIB, "SLURM_MEM_PER_NODE"))
    assert not found.refusal and 8192 < found.context < 20_000 and found.context % 256 == 0
    assert need(EIGHT_B, found.context).total <= 7 * GIB < need(EIGHT_B, found.context + 256).total
    (note,) = found.notes
    assert f"context {found.context} of 32768 tokens" in note
    assert "7.0 GiB (SLURM_MEM_PER_NODE)" in note


def test_a_model_that_cannot_fit_is_refused_with_numbers_in_one_line() -> None:
    refusal = plan(EIGHT_B, 8192, Room(4 * GIB, "memory limit of the job or cgroup")).refusal
    assert refusal.startswith("model /m/llama.gguf: needs 5.1 GiB (weights 4.6, cache 0.2")
    assert "may use 4.0 GiB (memory limit of the job or cgroup): take a smaller" in refusal
    assert "\n" not in refusal


@pytest.mark.parametrize(
    ("gib", "sequences"),
    [
        (5.85, 1),
        (5.9, 1),
        (8.0, 1),
        (13.8, 1),
        (14.0, 2),
        (21.8, 2),
        (22.0, 3),
        (30.0, 4),
        (256.0, 4),
    ],
)
def test_long_contexts_are_kept_where_an_eighth_of_what_is_left_holds_them(
    gib: float, sequences: int
) -> None:
    """One of 8192 tokens takes a gibibyte here, and the model 5.9."""
    found = plan(EIGHT_B, 8192, Room(int(gib * GIB), "w"))
    assert (found.sequences, found.need.kept) == (sequences, (sequences - 1) * GIB)


@pytest.mark.parametrize(
    ("spare_mib", "sequences"),
    [(500, 1), (512, 2), (900, 2), (1024, 3), (6143, 3), (6144, 4), (9999, 4)],
)
def test_prompts_of_other_callers_count_in_the_estimate(spare_mib: int, sequences: int) -> None:
    """2048 tokens take 256 MiB; what is kept takes half of what is left, and 512 MiB of it or an
    eighth, whichever is more."""
    alone = need(EIGHT_B, 2048).total
    found = plan(EIGHT_B, 2048, Room(alone + (spare_mib << 20), "w"))
    assert found.sequences == sequences
    assert found.need.kept == (sequences - 1) << 28
    assert found.need.total == alone + found.need.kept
    told = f", other prompts {(sequences - 1) / 4:.1f})"
    assert (told in str(found.need)) == (sequences > 1)
    assert plan(EIGHT_B, 2048, PLENTY, sequences=4).need.kept == 3 << 28


def test_what_is_kept_on_a_gpu_is_taken_from_its_own_memory() -> None:
    """With a part of the layers there, nothing is left to keep other prompts in."""
    assert plan(EIGHT_B, 2048, PLENTY, [Device("CUDA0", 4 * GIB)]).sequences == 1
    assert plan(EIGHT_B, 2048, PLENTY, [Device("CUDA0", 8 * GIB)]).sequences == 3
    assert plan(EIGHT_B, 2048, PLENTY, [Device("CUDA0", 80 * GIB)]).sequences == 4
    close = need(EIGHT_B, 2048, gpu=True)
    exactly = close.weights + close.cache + close.compute + (128 << 20)
    assert plan(EIGHT_B, 2048, PLENTY, [Device("CUDA0", exactly)]).sequences == 1


@given(
    gib=st.floats(0, 80),
    context=st.integers(1, 200_000),
    free=st.lists(st.floats(0, 90), max_size=3),
)
def test_a_plan_never_uses_more_than_there_is(gib: float, context: int, free: list[float]) -> None:
    here = Room(int(gib * GIB), "w")
    devices = [Device(f"CUDA{index}", int(size * GIB)) for index, size in enumerate(free)]
    found = plan(EIGHT_B, context, here, devices)
    assert 0 <= found.context <= context
    assert 0 <= found.gpu_layers <= 33
    if found.refusal:
        assert "\n" not in found.refusal
    else:
        on_gpu = min(found.gpu_layers, 32)
        each = LAYER + need(EIGHT_B, found.context).cache // 32
        assert on_gpu * each <= sum(device.free_bytes for device in devices)
        if not found.gpu_layers:
            assert found.need.total <= here.bytes


def test_all_layers_go_to_a_gpu_that_holds_them_else_as_many_as_fit() -> None:
    assert plan(EIGHT_B, 8192, PLENTY, [Device("CUDA0", 80 * GIB)]).gpu_layers == 33
    found = plan(EIGHT_B, 8192, PLENTY, [Device("CUDA0", 4 * GIB)])
    assert 10 < found.gpu_layers < 32
    assert f"{found.gpu_layers} of 32 layers on the GPU, which has 4.0 GiB free" in found.notes
    assert plan(EIGHT_B, 8192, PLENTY, [Device("CUDA0", GIB // 4)]).gpu_layers == 0
    two = [Device("CUDA0", 4 * GIB), Device("CUDA1", 4 * GIB)]
    assert plan(EIGHT_B, 8192, PLENTY, two).gpu_layers > found.gpu_layers
    small = Room(2 * GIB, "memory limit of the job or cgroup")
    assert not plan(EIGHT_B, 8192, small, [Device("CUDA0", 80 * GIB)]).refusal
    assert plan(EIGHT_B, 8192, small).refusal


@pytest.mark.parametrize(
    ("cgroups", "environment", "address_space", "gib", "why"),
    [
        ({}, {}, -1, 32, "memory available"),
        ({f"{V2}/memory.max": "max\n"}, {}, -1, 32, "memory available"),
        ({f"{V2}/memory.max": str(16 * GIB)}, {}, -1, 16, "memory limit of the job or cgroup"),
        (
            {
                f"{V2}/memory.max": str(16 * GIB),
                f"{V2}/memory.current": str(10 * GIB),
                f"{V2}/memory.stat": f"anon 5\nfile_mapped {2 * GIB}\n"
                f"inactive_file {1 * GIB}\nactive_file {5 * GIB}\n",
            },
            {},
            -1,
            10,
            "memory limit",
        ),
        (
            {
                f"{V1}/memory.limit_in_bytes": str(8 * GIB),
                f"{V1}/memory.usage_in_bytes": str(6 * GIB),
                f"{V1}/memory.stat": f"inactive_file 7\nactive_file 7\n"
                f"total_mapped_file {1 * GIB}\ntotal_inactive_file {1 * GIB}\n"
                f"total_active_file {1 * GIB}\n",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            },
            {},
            -1,
            3,
            "memory limit",
        ),
        ({}, {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_NODE": "4096"}, -1, 4, "SLURM_MEM_PER_NODE"),
        (
            {},
            {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_CPU": "512", "SLURM_CPUS_ON_NODE": "16"},
            -1,
            8,
            "SLURM_MEM_PER_CPU",
        ),
        ({}, {"SLURM_MEM_PER_NODE": "4096"}, -1, 32, "memory available"),  # of a job long gone
        ({}, {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_NODE": "0"}, -1, 32, "memory available"),
        ({}, {}, 2 * GIB, 2, "ulimit -v"),
    ],
)
def test_the_tightest_bound_holds(
    cgroups: dict[str, str], environment: dict[str, str], address_space: int, gib: int, why: str
) -> None:
    found = room(MEMINFO, cgroups, environment, address_space)
    assert why in found.why
    assert 0.7 * gib * GIB < found.bytes < gib * GIB


def test_rearranged_weights_are_in_the_address_space_twice() -> None:
    """Of Llama 3.1 8B in Q4_K_M llama.cpp rearranges the part in Q4_K."""
    file = replace(EIGHT_B, mixture=(("Q4_K", 0.8), ("Q6_K", 0.2)))
    twice = rearranged_bytes(file)
    assert twice == round(0.8 * file.parameters * 4.5 / 8)
    bounded = room(MEMINFO, {}, {}, 9 * GIB, twice=twice)
    assert bounded.bytes == room(MEMINFO, {}, {}, 9 * GIB).bytes - twice
    assert "ulimit -v less 3.4 for rearranged weights" in str(bounded)
    assert "ulimit -v less 3.4" in plan(file, 8192, bounded).notes[0]
    assert room(MEMINFO, {}, {}, -1, twice=twice) == room(MEMINFO, {}, {}, -1)
    assert rearranged_bytes(replace(file, mixture=(("Q8_0", 1.0),))) == 0


def test_what_other_models_hold_counts_against_the_job_and_not_twice() -> None:
    slurm = {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_NODE": "4096"}
    assert room("", {}, slurm, -1).bytes - room("", {}, slurm, -1, held=GIB).bytes == GIB
    assert room(MEMINFO, {}, {}, -1, held=GIB) == room(MEMINFO, {}, {}, -1)
    assert room("", {}, {}, -1).why == "no bound is known here"


def test_models_share_the_pages_of_their_files_but_the_larger_file_must_have_room() -> None:
    """MemAvailable stays as it is while a file is mapped and read; what is rearranged is taken."""
    rearranged = replace(EIGHT_B, mixture=(("Q4_K", 0.8), ("Q6_K", 0.2)))
    assert paged_bytes(EIGHT_B) == EIGHT_B.weights.total
    assert paged_bytes(rearranged) == EIGHT_B.weights.total - rearranged_bytes(rearranged)
    assert paged_bytes(EIGHT_B, gpu_layers=33) == EIGHT_B.weights.outside
    free = room(MEMINFO, {}, {}, -1)
    less = room(MEMINFO, {}, {}, -1, held=9 * GIB, paged=3 * GIB)
    assert free.bytes - less.bytes == 3 * GIB
    assert (
        str(less)
        == "28.9 GiB (memory available on this machine less 3.0 for the file of another model)"
    )
    v2 = {f"{V2}/memory.max": str(16 * GIB)}  # in whose use mapped pages are
    assert room("", v2, {}, -1, paged=GIB) == room("", v2, {}, -1)


# --- threads ---

SMT = Allocation(
    frozenset(range(8)), {cpu: frozenset((cpu, (cpu + 4) % 8)) for cpu in range(8)}
)  # four cores, two threads each
LARGE = 5_000_000_000


@pytest.mark.parametrize(
    ("given_", "size", "configured", "count", "why"),
    [
        (SMT, LARGE, 0, 4, "physical cores"),
        (replace(SMT, cpus=frozenset((0, 4))), LARGE, 0, 1, "physical cores"),
        (replace(SMT, cpus=frozenset((0, 1, 2))), LARGE, 0, 3, "physical cores"),
        (replace(SMT, siblings={}), LARGE, 0, 8, "physical cores"),
        (replace(SMT, bounds=((2.5, "CPU quota of the cgroup"),)), LARGE, 0, 2, "CPU quota"),
        (replace(SMT, bounds=((0.5, "CPU quota of the cgroup"),)), LARGE, 0, 1, "CPU quota"),
        (replace(SMT, bounds=((3.0, "NCPUS"),)), LARGE, 0, 3, "NCPUS"),
        (replace(SMT, bounds=((64.0, "NCPUS"),)), LARGE, 0, 4, "physical cores"),
        (SMT, 50_000_000, 0, 1, "a small model"),
        (SMT, 50_000_000, 6, 6, "configured: 6"),
        (SMT, LARGE, 99, 8, "cut to the 8 CPUs"),
    ],
)
def test_threads_are_those_that_were_given(
    given_: Allocation, size: int, configured: int, count: int, why: str
) -> None:
    found = choose(size, given_, configured)
    assert found.count == count and why in found.why


def test_what_bounds_the_threads() -> None:
    slurm = {"SLURM_CPUS_PER_TASK": "4", "OMP_NUM_THREADS": "1"}
    assert bounds(slurm, None) == ()  # exported in a shell that is in no job
    assert bounds({**slurm, "SLURM_JOB_ID": "1"}, 1.5) == (
        (1.5, "CPU quota of the cgroup"),
        (4.0, "SLURM_CPUS_PER_TASK"),
    )
    assert bounds({"PBS_JOBID": "1.server", "NCPUS": "2"}, None) == ((2.0, "NCPUS"),)
    assert bounds({"PBS_JOBID": "1.server", "NCPUS": "all"}, None) == ()


# --- which models stay ---


class Held:
    def __init__(self, name: str, closed: list[str]) -> None:
        self.name, self.closed = name, closed

    def close(self) -> None:
        self.closed.append(self.name)


def test_the_model_used_least_recently_gives_way() -> None:
    closed: list[str] = []
    a, b, c = (Held(name, closed) for name in "abc")
    residents = Residents(lambda held, paged: 100 - held)
    residents.enter(a, Needed(40))
    residents.enter(b, Needed(50))
    residents.enter(a, Needed(40))
    assert (closed, residents.held(), residents.held(a)) == ([], 90, 50)
    residents.enter(c, Needed(30))
    assert (closed, residents.held()) == (["b"], 70)
    residents.leave(a)
    assert residents.held() == 30
    residents.count(c, Needed(45))  # with the prompts that it keeps
    residents.count(b, Needed(99))  # gone meanwhile
    assert residents.held() == 45
    assert residents.make_room(Needed(500)) == 1
    assert closed == ["b", "c"]


@pytest.mark.parametrize(
    ("first", "second", "stays"),
    [
        # of 100: what is rearranged and kept is taken for good, the file's pages are lent
        (Needed(70, paged=60), Needed(70, paged=60), True),  # 10 + 10 and 60 of either
        (Needed(70, paged=60), Needed(60, paged=0), False),  # 10 + 60 and then 60
        (Needed(70, paged=60), Needed(30, paged=0), True),
        (Needed(60, paged=0), Needed(60, paged=50), False),
    ],
)
def test_a_model_stays_where_each_can_read_its_file_in_turn(
    first: Needed, second: Needed, stays: bool
) -> None:
    closed: list[str] = []
    taken = {"first": first.all - first.paged}

    def free(held: int, paged: int) -> int:
        return 100 - (0 if closed else taken["first"]) - paged

    residents = Residents(free)
    residents.enter(Held("first", closed), first)
    assert residents.paged() == first.paged
    residents.enter(Held("second", closed), second)
    assert (closed == []) == stays


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 60)), max_size=30))
def test_what_is_loaded_never_exceeds_the_room(uses: list[tuple[int, int]]) -> None:
    closed: list[str] = []
    models = [Held(str(index), closed) for index in range(5)]
    residents = Residents(lambda held, paged: 60 - held)
    for index, size in uses:
        residents.enter(models[index], Needed(size))
        assert residents.held() <= 60
        assert residents.held() > residents.held(models[index])
