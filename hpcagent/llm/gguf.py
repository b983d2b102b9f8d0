"""What a GGUF model says of itself, all its parts together; hostile files are expected."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm import gguf_layers
from hpcagent.llm.digests import cache_folder, digest_of
from hpcagent.llm.gguf_kinds import LANGUAGE, kind_of
from hpcagent.llm.gguf_reader import Array, Header, Tensor, Value, read_header
from hpcagent.llm.gguf_strangers import LONGEST, stranger
from hpcagent.llm.gguf_types import GIVEN_UP, MIXTURES, TYPES, type_name
from hpcagent.llm.progress import Tell, silent

_PART = re.compile(r"(?P<stem>.+)-(?P<no>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf")
_MOST_PARTS = 1000
_MOST_LAYERS = 10_000
_TEMPLATE = "tokenizer.chat_template"


@dataclass(frozen=True)
class Shape:
    """Sizes of the network, 0 where the file does not tell; `kv_heads` has one for each layer.

    Layers numbered in `windowed` have keys and values of `windowed_length` together. `state_bytes`
    are those of the recurrent layers' state, for all that one sequence has read.
    """

    layers: int = 0
    embedding: int = 0
    feed_forward: int = 0
    heads: int = 0
    kv_heads: tuple[int, ...] = ()
    key_length: int = 0
    value_length: int = 0
    vocabulary: int = 0
    experts: int = 0
    experts_used: int = 0
    sliding_window: int = 0
    state_bytes: int = 0
    windowed: tuple[int, ...] = ()
    windowed_length: int = 0


@dataclass(frozen=True)
class Weights:
    """Bytes in the file: all tensors, those of the largest layer, and those of no layer."""

    total: int = 0
    layer: int = 0
    outside: int = 0


@dataclass(frozen=True)
class ModelFile:
    """What a GGUF says of itself. `parameters` counts the weights of all its parts.

    `quantisation` names the mixture, or the tensor type that holds most of the weights; `mixture`
    has each type's share. `chat_template` is None where the file has none; `templates` has it and
    those for other uses. `kind` is "language model" or what else it is. `path` is the first of
    `parts`.
    """

    path: Path
    architecture: str
    name: str
    parameters: int
    quantisation: str
    context_length: int | None
    size_bytes: int
    chat_template: str | None
    kind: str = LANGUAGE
    parts: tuple[Path, ...] = ()
    templates: tuple[str, ...] = ()
    mixture: tuple[tuple[str, float], ...] = ()
    shape: Shape = Shape()
    weights: Weights = Weights()
    tokenizer: str = ""
    rope: str = ""


def read(path: Path) -> ModelFile:
    """A model that can answer; EnvironmentProblem says in one line why the file cannot serve."""
    found = describe(path)
    if found.kind != LANGUAGE:
        article = "an" if found.kind[0] in "ai" else "a"
        raise EnvironmentProblem(f"model {path}: not a language model but {article} {found.kind}")
    return found


def describe(path: Path) -> ModelFile:
    """Any GGUF with all its parts; EnvironmentProblem where it is none, or not whole."""
    first, size = _header(path)
    headers, parts, sizes = [first], [path], [size]
    for part in _other_parts(path, first.metadata):
        header, size = _header(part)
        headers.append(header)
        parts.append(part)
        sizes.append(size)
    tensors = [tensor for header in headers for tensor in header.tensors]
    told = first.metadata.get("split.tensors.count")
    if len(parts) > 1 and isinstance(told, int) and told != len(tensors):
        raise EnvironmentProblem(
            f"model {path}: its {len(parts)} parts hold {len(tensors)} of {told} tensors; they are"
            " not of one model: copy them again"
        )
    return _described(tuple(parts), sum(sizes), first.metadata, tensors)


def digest(path: Path, tell: Tell = silent) -> str:
    """SHA-256 in hex of the model at `path`, remembered in the user's cache (digests.py).

    A split model counts with all the parts that its name promises. `tell` hears how far it is.
    """
    match = _PART.fullmatch(path.name)
    count = min(int(match["count"]), _MOST_PARTS) if match else 1
    parts = _named(path, match, count) if match else [path]
    return digest_of(parts, cache_folder(os.environ), tell)


def is_later_part(path: Path) -> bool:
    """Whether the name is that of a part of a split model, other than the first."""
    match = _PART.fullmatch(path.name)
    return match is not None and int(match["no"]) > 1


def _header(path: Path) -> tuple[Header, int]:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise EnvironmentProblem(
                f"model {path}: a folder, not a regular file: name a .gguf in it"
            )
        if not stat.S_ISREG(mode):
            raise EnvironmentProblem(f"model {path}: not a regular file")
        # A pipe put in its place meanwhile must not make the agent wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            return _checked(path, stream), os.fstat(stream.fileno()).st_size
    except FileNotFoundError:
        what = "a link to what is not there" if path.is_symlink() else "there is no such file"
        raise EnvironmentProblem(f"model {path}: {what}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        words = getattr(error, "strerror", None) or str(error)
        raise EnvironmentProblem(f"model {path}: cannot be read: {words}") from None


def _checked(path: Path, stream: BinaryIO) -> Header:
    words = stranger(stream.read(LONGEST))
    if words:
        raise EnvironmentProblem(f"model {path}: not a GGUF file: {words}")
    stream.seek(0)
    return read_header(path, stream)


def _other_parts(path: Path, metadata: Mapping[str, Value]) -> list[Path]:
    """The files of a split model after the first; llama.cpp finds them by their names, too."""
    count, number = _int(metadata, "split.count"), _int(metadata, "split.no")
    if count <= 1:
        return []
    if count > _MOST_PARTS:
        raise EnvironmentProblem(f"model {path}: damaged GGUF: {count} parts")
    match = _PART.fullmatch(path.name)
    if match is None or int(match["count"]) != count or int(match["no"]) != number + 1:
        raise EnvironmentProblem(
            f"model {path}: part {number + 1} of {count}, which llama.cpp finds only under the name"
            f" NAME-{number + 1:05}-of-{count:05}.gguf: rename it"
        )
    named = _named(path, match, count)
    missing = [part.name for part in named if not part.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise EnvironmentProblem(
            f"model {path}: one of {count} parts, of which {missing[0]}{more} is missing beside it"
        )
    if number != 0:
        raise EnvironmentProblem(
            f"model {path}: part {number + 1} of {count}: name the first one, {named[0].name}"
        )
    return named[1:]


def _named(path: Path, match: re.Match[str], count: int) -> list[Path]:
    """All parts by their names."""
    return [
        path.with_name(f"{match['stem']}-{no + 1:05}-of-{count:05}.gguf") for no in range(count)
    ]


def _described(
    parts: tuple[Path, ...], size: int, metadata: Mapping[str, Value], tensors: Sequence[Tensor]
) -> ModelFile:
    path = parts[0]
    architecture = _text(metadata, "general.architecture")
    if not architecture:
        raise EnvironmentProblem(f"model {path}: damaged GGUF: it names no architecture")
    kinds: dict[int, int] = {}
    for tensor in tensors:
        if tensor.kind in GIVEN_UP:
            raise EnvironmentProblem(
                f"model {path}: quantised as {GIVEN_UP[tensor.kind]}, which llama.cpp has given up:"
                " take another file of that model"
            )
        kinds[tensor.kind] = kinds.get(tensor.kind, 0) + tensor.elements
    parameters = sum(kinds.values())
    order = sorted(kinds, key=lambda kind: -kinds[kind])
    mixture = tuple((type_name(kind), kinds[kind] / max(1, parameters)) for kind in order)
    context = _int(metadata, f"{architecture}.context_length")
    return ModelFile(
        path=path,
        architecture=architecture,
        name=_text(metadata, "general.name") or path.stem,
        parameters=parameters,
        quantisation=_quantisation(metadata, order),
        context_length=context or None,
        size_bytes=size,
        chat_template=_text(metadata, _TEMPLATE) or None,
        kind=_kind(metadata, architecture, bool(tensors)),
        parts=parts,
        templates=tuple(_text(metadata, key) for key in metadata if key.startswith(_TEMPLATE)),
        mixture=mixture,
        shape=_shape(metadata, architecture, tensors),
        weights=_weights(tensors, size),
        tokenizer=" ".join(
            filter(None, (_text(metadata, f"tokenizer.ggml.{key}") for key in ("model", "pre")))
        ),
        rope=_rope(metadata, architecture),
    )


def _kind(metadata: Mapping[str, Value], architecture: str, weighs: bool) -> str:
    """What the file says it is; the first adapters had no general.type."""
    first = "adapter" if "adapter.type" in metadata else ""
    pools = _int(metadata, f"{architecture}.pooling_type") > 0
    return kind_of(_text(metadata, "general.type") or first, architecture, weighs, pools)


def _quantisation(metadata: Mapping[str, Value], order: Sequence[int]) -> str:
    """The mixture's name where the types agree with it (files are edited), else the main type."""
    main = type_name(order[0]) if order else "none"
    mixture = MIXTURES.get(_int(metadata, "general.file_type"), "")
    stem = main.split("_")[0].lstrip("I")
    return mixture if mixture and stem in mixture else main


def _shape(metadata: Mapping[str, Value], architecture: str, tensors: Sequence[Tensor]) -> Shape:
    def told(key: str) -> int:
        return _int(metadata, f"{architecture}.{key}")

    layers = min(told("block_count"), _MOST_LAYERS)
    heads = max(_each(metadata, f"{architecture}.attention.head_count", layers), default=0)
    head = told("embedding_length") // heads if heads else 0
    kv_heads = _each(metadata, f"{architecture}.attention.head_count_kv", layers)
    # Of latent attention (MLA) the values are a part of the keys.
    latent = bool(told("attention.key_length_mla"))
    kv_heads = gguf_layers.kv_heads(kv_heads or (heads,) * layers, tensors)
    shared = told("attention.shared_kv_layers")  # the last ones look at what others keep
    pattern = _each(metadata, f"{architecture}.attention.sliding_window_pattern", layers)
    in_window = told("attention.key_length_swa") + told("attention.value_length_swa")
    return Shape(
        layers=layers,
        embedding=told("embedding_length"),
        feed_forward=max(_each(metadata, f"{architecture}.feed_forward_length", layers), default=0),
        heads=heads,
        kv_heads=tuple(n if at < layers - shared else 0 for at, n in enumerate(kv_heads)),
        key_length=told("attention.key_length") or head,
        value_length=0 if latent else told("attention.value_length") or head,
        vocabulary=_vocabulary(metadata, architecture, tensors),
        experts=told("expert_count"),
        experts_used=told("expert_used_count"),
        sliding_window=told("attention.sliding_window"),
        windowed=tuple(at for at, inside in enumerate(pattern) if inside and in_window),
        windowed_length=in_window,
        state_bytes=4 * len(gguf_layers.recurrent(tensors)) * gguf_layers.state_numbers(told),
    )


def _vocabulary(metadata: Mapping[str, Value], architecture: str, tensors: Sequence[Tensor]) -> int:
    tokens = metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, Array):
        return tokens.count
    rows = (t.shape[1] for t in tensors if t.name == "token_embd.weight" and len(t.shape) > 1)
    return _int(metadata, f"{architecture}.vocab_size") or next(rows, 0)


def _weights(tensors: Sequence[Tensor], size: int) -> Weights:
    """Of `size` bytes of files; with a type that is not known here, all of them are weights."""
    layers: dict[str, int] = {}
    for tensor in tensors:
        key = gguf_layers.layer_of(tensor.name)
        layers[key] = layers.get(key, 0) + tensor.size_bytes
    total, outside = sum(layers.values()), layers.pop("", 0)
    largest = max(layers.values(), default=0)
    if any(tensor.kind not in TYPES for tensor in tensors) and 0 < total < size:
        largest, outside, total = largest * size // total, outside * size // total, size
    return Weights(total, largest, outside)


def _rope(metadata: Mapping[str, Value], architecture: str) -> str:
    base = metadata.get(f"{architecture}.rope.freq_base")
    scaling = _text(metadata, f"{architecture}.rope.scaling.type")
    factor = metadata.get(f"{architecture}.rope.scaling.factor")
    words = [f"base {base:g}"] if isinstance(base, int | float) else []
    if scaling and scaling != "none":
        words.append(f"{scaling} x {factor:g}" if isinstance(factor, int | float) else scaling)
    return ", ".join(words)


def _each(metadata: Mapping[str, Value], key: str, layers: int) -> tuple[int, ...]:
    """A number for each layer: the file has one for all of them, or an array."""
    value = metadata.get(key)
    if isinstance(value, Array):
        return tuple(max(0, int(n)) if abs(n) < 1 << 32 else 0 for n in value.numbers)[:layers]
    one = _int(metadata, key)
    return (one,) * layers if one else ()


def _int(metadata: Mapping[str, Value], key: str) -> int:
    """0 where it is absent, no integer or negative."""
    value = metadata.get(key)
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else 0


def _text(metadata: Mapping[str, Value], key: str) -> str:
    value = metadata.get(key)
    return value if isinstance(value, str) else ""
