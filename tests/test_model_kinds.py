"""Models of other kinds than llama's: all that the engine promises holds for them, or one line says
why they are not taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_gguf import make_tiny_gguf
from tiny_kinds import KINDS, RECURRENT, make_kind

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm import gguf
from hpcagent.llm.child.cache import Cache, marks, plan
from hpcagent.llm.child.decode import LEAST, Clock
from hpcagent.llm.child.prompt import TEMPLATE, prompt
from hpcagent.llm.gguf_layers import kv_heads
from hpcagent.llm.gguf_reader import Tensor
from hpcagent.llm.grammar import longest
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.memory import CPU_BLOCK as BLOCK
from hpcagent.llm.memory import MOST_STATES, kept_states, need
from hpcagent.records import Limits, Message, Ranking

RULES = "Tune the library on this machine, and say why. " * 6
SCHEMA = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "maxLength": 30},
        "choice": {"enum": ["1", "16", "160", "none"]},
    },
}
LIMITS = Limits(longest(SCHEMA), 60)
MENU = ("ab one", "ab two", "cd one", "cd two", "e")  # three places to choose at, two at one depth


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kinds")


@pytest.fixture
def model(request: pytest.FixtureRequest, folder: Path) -> Iterator[LlamaCpp]:
    """Of the kind that is the parameter."""
    path = folder / f"{request.param}.gguf"
    opened = LlamaCpp(path if path.exists() else make_kind(path, request.param), threads=1)
    yield opened
    opened.close()


def chat(system: str, *turns: str) -> tuple[Message, ...]:
    roles = ("user", "assistant")
    said = [Message(roles[place % 2], text) for place, text in enumerate(turns)]
    return (Message("system", system), *said)


QUESTIONS = (
    chat(RULES, "round one " * 9),
    chat(RULES, "round one " * 9, "take two", "and now"),
    chat("another beginning", "x"),
    chat(RULES, "round one " * 4, "something else"),
    chat(RULES, "round one " * 9),
)


def ranked(model: LlamaCpp) -> Ranking:
    found = model.rank(QUESTIONS[1], MENU, LIMITS, 20, 3)
    assert found.failure is None and len(found.log_probabilities) == len(MENU)
    return found


@pytest.mark.llama
@pytest.mark.parametrize("model", KINDS, indirect=True)
def test_each_kind_answers_ranks_and_keeps_what_it_read(model: LlamaCpp) -> None:
    """Warm as cold, whatever came before; a model that cannot forget goes on from what it keeps."""
    first = ranked(model)
    model.close()
    replies = [model.complete(question, SCHEMA, LIMITS, 5) for question in QUESTIONS]
    assert [reply.failure for reply in replies] == [None] * len(QUESTIONS)
    assert replies[0].text == replies[-1].text
    for place, before in ((1, 0), (3, 1), (4, 3)):
        assert replies[place].tokens_cached > replies[before].tokens_in // 2
    same = model.complete(QUESTIONS[-1], SCHEMA, LIMITS, 6)
    assert same.tokens_cached == (same.tokens_in - LEAST) // BLOCK * BLOCK
    again = ranked(model)
    assert again.tokens_cached > again.tokens_in // 2
    assert (again.log_probabilities, again.reason) == (first.log_probabilities, first.reason)


@pytest.mark.parametrize(
    ("layers", "told", "kept"),
    [
        # (names of each layer's tensors, heads as the file has them, heads with a cache)
        ([("attn_qkv", "ssm_a"), ("attn_q", "attn_k")], (2, 2), (0, 2)),  # qwen35
        ([("attn_k", "ssm_in"), ("attn_k", "ssm_in")], (2, 2), (2, 2)),  # falcon-h1
        ([("attn_k", "ssm_conv1d_q"), ("attn_kv_a_mqa",)], (0, 1), (0, 1)),  # kimi-linear
        ([("ssm_in",), ("ffn_up",)], (0, 0), (0, 0)),  # nemotron_h
        ([("attn_qkv",), ("attn_qkv",)], (2, 2), (2, 2)),  # gpt2
        ([("time_mix_key",), ("time_mix_key",)], (4, 4), (0, 0)),  # rwkv6
    ],
)
def test_only_layers_with_attention_have_a_cache(
    layers: list[tuple[str, ...]], told: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    names = [f"blk.{n}.{name}.weight" for n, layer in enumerate(layers) for name in layer]
    assert kv_heads(told, [Tensor(name, (1,), 0, 0) for name in names]) == kept


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ("t5", "it has an encoder of its own"),
        ("llada", "it writes by diffusion"),
        ("nomic-bert", "it reads text and writes none"),
        ("llama-embed", "it reads text and writes none"),
    ],
)
def test_kinds_that_cannot_serve_are_told_before_they_are_loaded(
    folder: Path, architecture: str, words: str
) -> None:
    path = make_kind(folder / f"{architecture}.gguf", "gemma3", architecture)
    with pytest.raises(
        EnvironmentProblem, match=rf"not a language model .*{architecture}: {words}"
    ):
        LlamaCpp(path)


def test_states_of_recurrent_layers_are_counted(folder: Path) -> None:
    """By the shapes: two layers of mamba, one convolution of lfm2, none of llama."""
    sizes = {
        kind: gguf.describe(make_kind(folder / f"{kind}-sizes.gguf", kind)).shape.state_bytes
        for kind in RECURRENT
    }
    assert sizes == {"mamba": 4 * 2 * (3 * 64 + 8 * 64), "lfm2": 4 * 2 * 32}
    mamba = gguf.describe(folder / "mamba-sizes.gguf")
    assert need(mamba, 256).cache == need(mamba, 4096).cache == sizes["mamba"] * (1 + MOST_STATES)
    twice = replace(mamba, shape=replace(mamba.shape, state_bytes=2 * mamba.shape.state_bytes))
    beside = need(twice, 256).compute - need(mamba, 256).compute
    assert beside == 4 * sizes["mamba"], "each of which was seen in the peak of a process"
    assert gguf.describe(make_tiny_gguf(folder / "llama.gguf")).shape.state_bytes == 0
    assert [kept_states(size << 20) for size in (1, 100, 300)] == [MOST_STATES, 2, 0]


class _Counting:
    """As much of a decoder as a cache needs, whose model cannot forget a part."""

    block, keeps_state = 16, True
    most, room, rows_alone = block, block, False

    def cut(self, sequence: int, length: int) -> bool:
        return length == 0

    def decode(self, *asked: object, logits: bool) -> None:
        assert not logits

    def state(self, sequence: int) -> bytes:
        return b"state"

    def bring_back(self, sequence: int, length: int, state: bytes) -> bool:
        return state == b"state"


def test_as_many_states_are_kept_as_there_may_be() -> None:
    cache = Cache(_Counting(), 1)  # type: ignore[arg-type]
    cache.read(range(300), Clock(60))
    assert sorted(cache._held[0].states) == [64, 112, 160, 208, 256, 288]
    assert cache.read([*range(170), *range(5, 200)], Clock(60))[1] == 160
    assert sorted(cache._held[0].states)[-MOST_STATES:] == sorted(cache._held[0].states)


def test_states_are_kept_where_prompts_may_differ() -> None:
    ends = plan(160, 16)
    assert marks(ends, 48, 3) == {48, 80, 144} and marks(ends, 48, 1) == {48}
    assert marks(ends, 0, 2) == {80, 144} and marks(ends, 48, 0) == frozenset()
    assert marks(plan(5, 16), 0, 6) == frozenset()


class _Templated:
    """As much of llama_cpp.Llama as a chat template needs."""

    def __init__(self, template: str) -> None:
        self.metadata = {TEMPLATE: template}

    def token_bos(self) -> int:
        return -1

    token_eos = token_bos


@pytest.mark.llama
def test_thoughts_that_a_template_begins_are_ended_where_none_are_wanted() -> None:
    asked = [{"role": "user", "content": "u"}]
    begun = _Templated("{{ messages[0].content }}<|assistant|><think>{{ '\n' }}")
    assert prompt(begun, asked, thinks=True)[0] == "u<|assistant|><think>\n"
    assert prompt(begun, asked)[0] == "u<|assistant|><think>\n\n</think>\n\n"
    assert prompt(_Templated("<think> {{ messages[0].content }}"), asked)[0] == "<think> u"
