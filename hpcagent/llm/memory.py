"""What a model needs in memory, what it may use here, and how both are brought together: pure.

Sizes follow llama.cpp: the weights as they lie in the file; keys and values of every layer for each
token of the context, in 16 bits; the states of recurrent layers; the scores of one batch against
the whole context (heads x batch x context, in 32 bits, where flash attention is off) and their
mask; the activations of one batch. What llama.cpp, Python and the vocabulary take besides was
measured (tests/benchmarks/model_memory.py). Weights that are rearranged for the CPU are counted
once: the pages of the file behind them are clean, and are given back after loading. In the address
space, which `ulimit -v` bounds, they are twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hpcagent.llm.gguf import ModelFile
from hpcagent.llm.gguf_types import TYPES
from hpcagent.probe.procfs import memory_limit_bytes, parse_kib_field

GIB = 1 << 30
# Tokens that are computed at once: blocks, and as many as fit where these give the same bits.
# CPUs read little faster in larger blocks (of 1.1 G weights 16 took 11 % more processor time than
# 32, and 64 took 5 % less), GPUs do. Flash attention, which keeps no scores, is on for GPUs only.
CPU_BLOCK, CPU_BATCH, GPU_BLOCK = 32, 96, 256
SMALLEST_CONTEXT = 2048  # a shorter one holds no useful history
_STEP = 256  # llama.cpp rounds a context up to this
_CACHE_VALUE = 2  # bytes: 16-bit floats
MOST_SEQUENCES = 4  # prompts of so many callers are kept
# Of recurrent layers one state is computed with, and so many are kept beside it, if they are small.
MOST_STATES, _STATES_BYTES = 6, 256 << 20
# The binding's own, that of a menu which is being ranked, and two while one is copied.
_STATES_BESIDE = 4
# What those beyond the first may take together of what is free: half of it, up to so many bytes, or
# a share of it where that is more. Others use the machine as well.
_SPARE_BYTES, _SPARE_SHARE = 512 << 20, 1 / 8
_PROCESS = 64 << 20  # Python, numpy and the libraries
_A_TOKEN_OF_THE_VOCABULARY = 1200  # its text, and what a grammar keeps of it while it samples
# Types that ggml-cpu/repack.cpp rearranges on x86; other processors have more of them.
_REARRANGED = ("Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "MXFP4")
_AGENT = 128 << 20  # what the agent itself needs in the same job
_AGENT_VIRTUAL = 400 << 20  # address space of the child without a model
_SLURM_MIB = ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU")


@dataclass(frozen=True)
class Need:
    """Bytes of a loaded model with a context; `process` is what is there without a model.

    `kept` is what further contexts take, so that prompts of other callers stay evaluated.
    """

    weights: int
    cache: int
    compute: int
    process: int
    kept: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.compute + self.process + self.kept

    def __str__(self) -> str:
        parts = [("weights", self.weights), ("cache", self.cache), ("compute", self.compute)]
        parts += [("process", self.process)] + ([("other prompts", self.kept)] * bool(self.kept))
        told = ", ".join(f"{name} {_gib(size)}" for name, size in parts)
        return f"{_gib(self.total)} GiB ({told})"


@dataclass(frozen=True)
class Room:
    """Bytes that may be used here, and what sets that bound."""

    bytes: int
    why: str

    def __str__(self) -> str:
        return f"{_gib(self.bytes)} GiB ({self.why})"


@dataclass(frozen=True)
class Device:
    """A GPU as ggml tells of it."""

    name: str
    free_bytes: int


@dataclass(frozen=True)
class Plan:
    """How a model is loaded; `refusal` says in one line why it is not, `notes` what is unusual.

    It has `sequences` contexts, so that it keeps the prompts of as many callers.
    """

    context: int
    need: Need
    gpu_layers: int = 0
    layers: int = 0
    notes: tuple[str, ...] = ()
    refusal: str = ""
    sequences: int = 1


def need(file: ModelFile, context: int, gpu: bool = False) -> Need:
    """Of a model with one sequence of `context` tokens; `gpu`: as it is computed there."""
    shape = file.shape
    tokens = -(-context // _STEP) * _STEP
    batch = min(batch_of(file, gpu), tokens)
    heads = 0 if gpu else shape.heads
    wide = 2 * shape.feed_forward * max(1, shape.experts_used) + 6 * shape.embedding
    return Need(
        weights=file.weights.total,
        cache=tokens * cache_bytes_a_token(file) + _states_bytes(shape.state_bytes),
        compute=4 * batch * (tokens * (heads + 1) + wide) + _STATES_BESIDE * shape.state_bytes,
        process=_PROCESS + shape.vocabulary * _A_TOKEN_OF_THE_VOCABULARY,
    )


def batch_of(file: ModelFile, gpu: bool) -> int:
    """Tokens that are computed at once at most.

    What a token of a mixture of experts or a recurrent layer gives rests on its batch, so that
    these keep to blocks (child/grain.py).
    """
    if gpu:
        return GPU_BLOCK
    return CPU_BLOCK if file.shape.experts or file.shape.state_bytes else CPU_BATCH


def cache_bytes_a_token(file: ModelFile) -> int:
    """Keys and values of all layers with attention; those that see a window are counted in full."""
    shape = file.shape
    whole = sum(shape.kv_heads) * (shape.key_length + shape.value_length)
    there = sum(shape.kv_heads[layer] for layer in shape.windowed if layer < len(shape.kv_heads))
    shorter = shape.key_length + shape.value_length - shape.windowed_length
    return (whole - there * shorter) * _CACHE_VALUE


def rearranged_bytes(file: ModelFile) -> int:
    """Of weights that may be in the address space twice, as the file has them and rearranged."""
    shares = dict(file.mixture)
    bits = {each.name: each.size / each.values for each in TYPES.values()}
    return round(sum(file.parameters * shares.get(name, 0.0) * bits[name] for name in _REARRANGED))


def paged_bytes(file: ModelFile, gpu_layers: int = 0) -> int:
    """Of weights that the CPU reads from the pages of the file, each time anew.

    The kernel counts these pages as free, whoever has mapped them.
    """
    return max(0, min(_weights_here(file, gpu_layers), file.weights.total - rearranged_bytes(file)))


def kept_states(state_bytes: int) -> int:
    """How many states of recurrent layers a sequence keeps beside the one that is computed with."""
    return min(MOST_STATES, _STATES_BYTES // max(1, state_bytes))


def _states_bytes(state_bytes: int) -> int:
    return state_bytes * (1 + kept_states(state_bytes))


def plan(
    file: ModelFile,
    context: int,
    room: Room,
    devices: Sequence[Device] = (),
    sequences: int | None = None,
) -> Plan:
    """Layers on the GPUs as far as they fit, the rest in `room`; a shorter context, or refused.

    As many contexts as there is memory for, where `sequences` does not say how many.
    """
    wanted = need(file, context)
    layers = gpu_layers(file, context, devices)
    here = _left_for_the_cpu(file, wanted, layers)
    if here.total <= room.bytes:
        spare = room.bytes - here.total
        if layers:
            spare = _spare_on_gpus(file, context, layers, devices)
        kept = sequences or _sequences(wanted.cache, spare)
        wanted = replace(wanted, kept=(kept - 1) * wanted.cache)
        notes = _on_gpus(file, layers, devices)
        return Plan(context, wanted, layers, file.shape.layers, notes, sequences=kept)
    shorter = _fitting_context(file, context, room, layers)
    if shorter:
        found = plan(file, shorter, room, devices, sequences)
        note = f"context {shorter} of {context} tokens, since memory is short: {room}"
        return replace(found, notes=(note, *found.notes))
    smallest = _left_for_the_cpu(file, need(file, min(context, SMALLEST_CONTEXT)), layers)
    words = (
        f"needs {smallest} with a context of {min(context, SMALLEST_CONTEXT)} tokens, but may use"
        f" {room}: take a smaller quantisation or model, or a job with more memory (--mem)"
    )
    return Plan(0, wanted, refusal=f"model {file.path}: {words}")


def _sequences(cache: int, spare: int) -> int:
    """How many contexts of `cache` bytes to have, those beyond the first in a part of `spare`."""
    further = min(spare // 2, max(_SPARE_BYTES, int(spare * _SPARE_SHARE)))
    return min(MOST_SEQUENCES, 1 + further // max(1, cache))


def _spare_on_gpus(file: ModelFile, context: int, layers: int, devices: Sequence[Device]) -> int:
    """Bytes that are left there with all layers; with fewer, there is nothing to spare."""
    if layers <= file.shape.layers:
        return 0
    whole = need(file, context, gpu=True)
    free = sum(max(0, device.free_bytes - whole.compute - _AGENT) for device in devices)
    return max(0, free - whole.cache - file.weights.total)


def gpu_layers(file: ModelFile, context: int, devices: Sequence[Device]) -> int:
    """Layers that the GPUs take with their cache; one more than there are: the output, too."""
    count = file.shape.layers
    whole = need(file, context, gpu=True)
    free = sum(max(0, device.free_bytes - whole.compute - _AGENT) for device in devices)
    a_layer = file.weights.layer + whole.cache // max(1, count)
    if not devices or not count or not a_layer:
        return 0
    fitting = min(count, free // a_layer)
    return count + 1 if free >= count * a_layer + file.weights.outside else fitting


def _left_for_the_cpu(file: ModelFile, whole: Need, layers: int) -> Need:
    """Of the whole need, without the layers on GPUs: their pages are read once and given back."""
    count = max(1, file.shape.layers)
    here = replace(whole, weights=_weights_here(file, layers))
    if layers > count:
        return replace(here, cache=0, compute=0)
    return replace(here, cache=round(whole.cache * (1 - layers / count)))


def _weights_here(file: ModelFile, layers: int) -> int:
    """Bytes of weights that stay with the CPU where so many layers are on GPUs."""
    total, outside = file.weights.total, file.weights.outside
    if layers > max(1, file.shape.layers):
        return min(total, outside)
    return max(outside, total - layers * file.weights.layer)


def _fitting_context(file: ModelFile, context: int, room: Room, layers: int) -> int:
    """The longest context below `context` that fits; 0 where none of use does."""
    low, high = SMALLEST_CONTEXT // _STEP, (context - 1) // _STEP
    found = 0
    while low <= high:
        middle = (low + high) // 2
        here = _left_for_the_cpu(file, need(file, middle * _STEP), layers)
        if here.total <= room.bytes:
            found, low = middle * _STEP, middle + 1
        else:
            high = middle - 1
    return found


def _on_gpus(file: ModelFile, layers: int, devices: Sequence[Device]) -> tuple[str, ...]:
    count = file.shape.layers
    if not devices or layers >= count:
        return ()
    free = sum(device.free_bytes for device in devices)
    return (f"{layers} of {count} layers on the GPU, which has {_gib(free)} GiB free",)


# --- what may be used ---


def room(
    meminfo: str,
    cgroups: Mapping[str, str],
    environment: Mapping[str, str],
    address_space: int,
    held: int = 0,
    twice: int = 0,
    paged: int = 0,
) -> Room:
    """The tightest bound: free memory, cgroup (v1 and v2), the job's request, `ulimit -v`.

    `cgroups` has the files of this process's cgroups by path, `address_space` is the limit in
    bytes or a negative number, `held` what other models of this agent were counted with, `twice`
    the bytes of a model that are in the address space a second time. What the agent itself needs is
    taken off.

    Models answer in turn, so that the pages of their files may be the same memory one after the
    other. `paged` is how many one of the others reads more than the model that room is wanted for:
    they must be there beside what the latter takes besides its file.
    """
    job = [(size - held, why) for size, why in _of_the_job(environment)]
    bounds = [*_free(meminfo, paged), *_cgroups(cgroups), *job]
    if address_space >= 0:
        less = f" less {_gib(twice)} for rearranged weights" if twice else ""
        bounds.append((address_space - _AGENT_VIRTUAL - twice, f"ulimit -v{less}"))
    if not bounds:
        return Room(1 << 62, "no bound is known here")
    size, why = min(bounds)
    return Room(max(0, size - _AGENT), why)


def _free(meminfo: str, paged: int) -> list[tuple[int, str]]:
    free = parse_kib_field(meminfo, "MemAvailable")
    less = f" less {_gib(paged)} for the file of another model" if paged else ""
    return [] if free is None else [(free - paged, f"memory available on this machine{less}")]


def _cgroups(files: Mapping[str, str]) -> list[tuple[int, str]]:
    """Each limit without what is used below it and could not be given back."""
    found = []
    for path, text in files.items():
        folder, _, name = path.rpartition("/")
        limit = memory_limit_bytes({path: text})
        if limit is not None:
            usage = "memory.current" if name == "memory.max" else "memory.usage_in_bytes"
            used = _number(files.get(f"{folder}/{usage}", ""))
            cached = _unused_pages(files.get(f"{folder}/memory.stat", ""))
            found.append((limit - max(0, used - cached), "memory limit of the job or cgroup"))
    return found


def _unused_pages(stat: str) -> int:
    """Bytes of files that no process has mapped: the kernel takes them back.

    A model that was loaded before in the same job has left its file there, as active pages for the
    most part. v1 has `total_` for what includes the cgroups below, v2 always tells that.
    """
    rows = dict(line.partition(" ")[::2] for line in stat.splitlines())

    def told(name: str, other: str = "") -> int:
        return _number(rows.get(f"total_{name}", rows.get(name, rows.get(other, ""))))

    return max(0, told("inactive_file") + told("active_file") - told("mapped_file", "file_mapped"))


def _of_the_job(environment: Mapping[str, str]) -> list[tuple[int, str]]:
    """What Slurm was asked for; PBS tells its jobs no such number, its limits are elsewhere."""
    if "SLURM_JOB_ID" not in environment:
        return []
    node, cpu = (_number(environment.get(name, "")) << 20 for name in _SLURM_MIB)
    cpus = _number(environment.get("SLURM_CPUS_ON_NODE", ""))
    found = [(node, "SLURM_MEM_PER_NODE")] if node else []
    return found + ([(cpu * cpus, "SLURM_MEM_PER_CPU")] if cpu and cpus else [])


def _number(text: str) -> int:
    word = text.strip()
    return int(word) if word.isdecimal() and len(word) < 20 else 0


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}" if size >= GIB / 10 else f"{size / GIB:.2f}"
