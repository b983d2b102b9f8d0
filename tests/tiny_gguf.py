"""Makes llama-architecture GGUFs with random weights: the real llama.cpp path in a test.

The vocabulary is SentencePiece-like with all 256 byte tokens, so that any text can be spelt. The
default is tiny; `MEASURED` is large enough for speed to mean something.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize

CONTEXT = 16384
EOS = 2
BYTE_TOKENS = 3  # the number of the token <0x00>
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_LETTERS = "etaoinshrdlcumwfgypbvkjxqz"  # by their frequency in English


@dataclass(frozen=True)
class Shape:
    """Sizes of a model; `quantised` stores the matrices as Q8_0, else as F32."""

    width: int = 32
    heads: int = 2
    layers: int = 1
    forward: int = 64
    quantised: bool = False


TINY = Shape()
MEASURED = Shape(width=512, heads=8, layers=8, forward=1536, quantised=True)  # 59 M with 32k tokens


def make_tiny_gguf(
    path: Path,
    seed: int = 0,
    context: int = CONTEXT,
    template: str | None = TEMPLATE,
    words: Sequence[str] = (),
    shape: Shape = TINY,
    always: Sequence[int] = (),
    space_prefix: bool = False,
    tensors_a_part: int = 0,
) -> Path:
    """Write the model (about 200 kB as it is) to `path`.

    `words` become tokens beside the characters; whatever it is told, the model answers with the
    tokens `always`, all of them equally probable, where any are given. `space_prefix`: as many real
    vocabularies, it puts a space before every text. With `tensors_a_part` it is split: `path` is
    without the ends of its parts' names.
    """
    writer = GGUFWriter(path, "llama", split_max_tensors=tensors_a_part)
    writer.add_name("tiny-random")
    writer.add_context_length(context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    count = add_vocabulary(writer, words, space_prefix)
    writer.add_vocab_size(count)
    if template is not None:
        writer.add_chat_template(template)
    _add_weights(writer, count, seed, shape, always)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def many_words(count: int = 31_646) -> tuple[str, ...]:
    """Words for a vocabulary of the usual size (32,000 with the characters and bytes).

    Every word can be reached by merging two others, so that a text has about three characters a
    token, as with real vocabularies.
    """
    pairs = ["".join(pair) for pair in itertools.product(_LETTERS, repeat=2)]
    starts = ["\u2581" + letter for letter in _LETTERS]
    pieces = ['":', '":"', '",', '","', '{"', '"}', '."', ", ", ": ", "0.", "10", "16", "32", "64"]
    threes = [pair + letter for pair, letter in itertools.product(pairs, _LETTERS)]
    led = ["\u2581" + pair for pair in pairs]
    longer = ["\u2581" + three for three in threes]
    words = [*pieces, *starts, *pairs, *led, *threes, *longer]
    return tuple(word.replace(" ", "\u2581") for word in words[:count])


def token_of(word: str, words: Sequence[str] = ()) -> int:
    """The number of a character's or word's token."""
    return _vocabulary(words)[0].index(word.encode())


def add_vocabulary(
    writer: GGUFWriter, words: Sequence[str] = (), space_prefix: bool = False
) -> int:
    """That of SentencePiece; how many tokens it has."""
    tokens, scores, types = _vocabulary(words)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(EOS)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(space_prefix)
    return len(tokens)


def _vocabulary(words: Sequence[str]) -> tuple[list[bytes], list[float], list[int]]:
    tokens = [b"<unk>", b"<s>", b"</s>"]
    types = [int(TokenType.UNKNOWN), int(TokenType.CONTROL), int(TokenType.CONTROL)]
    tokens += [f"<0x{byte:02X}>".encode() for byte in range(256)]
    types += [int(TokenType.BYTE)] * 256
    printable = [chr(code) for code in range(33, 127)]
    plain = ["\u2581", *printable, *words]
    tokens += [text.encode() for text in plain]
    types += [int(TokenType.NORMAL)] * len(plain)
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(plain))]
    return tokens, scores, types


def _add_weights(
    writer: GGUFWriter, vocabulary: int, seed: int, shape: Shape, always: Sequence[int]
) -> None:
    rng = np.random.default_rng(seed)
    # Of such a size that what a layer adds stays near what it is given, at any width.
    spread = 0.2 * (TINY.width / shape.width) ** 0.5

    def matrix(rows: int, columns: int) -> np.ndarray:
        return rng.normal(0.0, spread, (rows, columns)).astype(np.float32)

    def add(name: str, values: np.ndarray) -> None:
        kind = GGMLQuantizationType.Q8_0 if shape.quantised else GGMLQuantizationType.F32
        stored = quantize(values, kind) if shape.quantised else values
        writer.add_tensor(name, stored, raw_dtype=kind if shape.quantised else None)

    embedding, output = matrix(vocabulary, shape.width), matrix(vocabulary, shape.width)
    if always:
        # The first component is large after every token, so its weight decides.
        embedding[:, 0], output[:, 0] = 50.0, 0.0
        output[list(always)] = 0.0
        output[list(always), 0] = 50.0
    width, forward = shape.width, shape.forward
    add("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", np.ones(width, dtype=np.float32))
    add("output.weight", output)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}.{norm}.weight", np.ones(width, dtype=np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"{block}.{name}.weight", matrix(width, width))
        for name in ("ffn_gate", "ffn_up"):
            add(f"{block}.{name}.weight", matrix(forward, width))
        add(f"{block}.ffn_down.weight", matrix(width, forward))
