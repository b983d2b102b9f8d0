"""The small model that ships: its tokens, its file, what it predicts, and its part in a search."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_gguf import Shape, make_tiny_gguf

from hpcagent.embedded import bins, card
from hpcagent.embedded import vocabulary as v
from hpcagent.embedded.history import positions, questions
from hpcagent.embedded.layout import NONE, Layout, acting, refusal
from hpcagent.embedded.model import Embedded, remembered
from hpcagent.embedded.opening import NAME, WORD, is_small, opened
from hpcagent.errors import EnvironmentProblem
from hpcagent.llm import gguf
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Failure, Limits, Outlook, Param, Proposal, Trial
from hpcagent.search.embedded import create
from hpcagent.search.expert import FADED, Expert, Share
from hpcagent.search.options import Options
from hpcagent.search.space import Space
from hpcagent.search.surrogate import Surrogate
from hpcagent.study.small_model import SmallModel

LOGITS = Path(__file__).parent / "fixtures" / "embedded" / "logits.json"
LIMITS = Limits(0, 60.0)
OUTPUTS = (v.PREDICTED_AT, v.OUTPUTS)
FAILED = Failure("run", "signal", "SIGILL")
THREADS = Param("threads", "ordinal", ("1", "2", "4", "8"), "8")
CORE = Param("core", "categorical", ("Haswell", "Zen", "SkylakeX"), "Zen")
BLOCK = Param("block", "ordinal", tuple(str(16 * n) for n in range(1, 9)), "64")
SPACE = Space((THREADS, CORE, BLOCK))


# --- tokens --------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["C"]), max_size=6)
numbers = st.floats(allow_nan=True, allow_infinity=True).map(str) | st.integers().map(str)


@st.composite
def params(draw: st.DrawFn) -> Param:
    name = draw(st.sampled_from(("threads", "ranks", "core", "tile_i", "x", "omp_num_threads")))
    values = draw(st.lists(draw(st.sampled_from((texts, numbers))), min_size=1, max_size=40))
    values = list(dict.fromkeys(values))
    return Param(name, draw(st.sampled_from(("ordinal", "categorical"))), tuple(values), values[0])


@settings(max_examples=200, deadline=None)
@given(
    space=st.lists(params(), min_size=1, max_size=15), cores=st.none() | st.integers(1, 512),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_any_space_is_refused_with_a_reason_or_comes_back_whole(
    space: list[Param], cores: int | None, seed: int
) -> None:
    space = [Param(f"{p.name}_{n}", p.kind, p.values, p.default) for n, p in enumerate(space)]
    rng = np.random.default_rng(seed)
    if refusal(space):
        with pytest.raises(ValueError, match=r"\d+ values|parameters with a choice|two values"):
            Layout.of(space, cores)
        return
    slots = rng.permutation(v.SLOTS)[: len(acting(space))].tolist()
    layout = Layout.of(space, cores, slots)
    codes = np.stack([rng.integers(len(p.values), size=5) for p in layout.params], axis=1)
    tokens = layout.tokens(codes)
    assert tokens.max() < v.SIZE and tokens[tokens != NONE].min() >= v.slot_at(0)
    for row, code in zip(tokens.tolist(), codes.tolist(), strict=True):
        values = {p.name: p.values[n] for p, n in zip(layout.params, code, strict=True)}
        assert layout.values_of(row) == values
        chosen = [token for token in row if token != NONE]
        assert len(set(chosen)) == len(chosen)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ([Param(f"p{n}", "ordinal", ("1", "2"), "1") for n in range(13)], "13 parameters"),
        ([Param("n", "ordinal", tuple(map(str, range(33))), "0")], "33 values"),
        ([Param("c", "categorical", tuple(map(str, range(25))), "0")], "25 values"),
        ([Param("n", "ordinal", ("1",), "1")], "no parameter has two values"),
    ],
)
def test_a_space_beyond_its_limits_is_refused_with_the_number(
    space: list[Param], words: str
) -> None:
    assert words in refusal(space)


def test_the_vocabulary_has_a_text_for_every_token() -> None:
    assert len(v.texts()) == v.SIZE == len(set(v.texts()))
    last = v.SLOTS - 1
    assert v.texts()[v.meaning(last, v.MEANINGS - 1)] == f"<p{last}.means{v.MEANINGS - 1}>"
    assert v.texts()[v.category(3, 5)] == "<p3.value5>"
    assert v.texts()[v.PREDICTED_AT + v.PREDICTED] == "<fails>"


def test_bins_are_ordered_and_finest_near_the_fastest() -> None:
    centres = bins.centres()
    assert (bins.predicted(centres) == np.arange(v.PREDICTED)).all()
    steps = np.diff(centres)
    assert steps.min() < 0.005 and abs(centres[steps.argmin()]) < 0.01
    assert bins.seen(np.array([0.0, 1e-4, 9.0, 1e9])).tolist() == [0, 0, v.SEEN - 1, v.SEEN - 1]


def test_a_history_is_told_from_the_fastest_on() -> None:
    layout = Layout.of(SPACE.params, 8)
    codes = layout.codes(SPACE.points()[:3])
    moved = [
        positions(layout, codes, np.array([0.0, -0.2, np.inf]) + shift, 0) for shift in (0.0, 5.0)
    ]
    assert (moved[0] == moved[1]).all()
    assert moved[0][:, -2].tolist()[1:] == [v.SEEN_AT, v.FAILED]
    assert moved[0][:, -1].tolist() == [v.DEFAULT, NONE, NONE]


def test_what_does_not_fit_the_context_is_forgotten_but_not_the_best() -> None:
    space = Space((Param("n", "ordinal", tuple(map(str, range(60))), "0"),))
    history = [Trial(c, 0.1 * n, 0.0, None, n, "") for n, c in enumerate(space.points())]
    history[5] = Trial(history[5].config, -3.0, 0.0, None, 5, "")
    kept = remembered(history, space.default)
    assert len(kept) == v.CONTEXT
    assert {history[0], history[5], history[59]} <= set(kept)


# --- the file ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Iterator[LlamaCpp]:
    model = LlamaCpp(card.SHIPPED)
    yield model
    model.close()


def test_the_file_that_ships_is_that_of_its_card() -> None:
    found = card.checked(card.SHIPPED)
    assert gguf.read(card.SHIPPED).name == NAME and is_small(str(card.SHIPPED))
    assert card.SHIPPED.stat().st_size < 8_000_000
    assert found.sha256 in card.card_text() and max(map(len, card.card_text().split("\n"))) <= 80


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": v.FORMAT + 1}, "train it again"),
        ({"sha256": "0" * 64}, "install it again"),
        ({"loss": "no number"}, "damaged"),
        ({"effects": [{"where": "x"}]}, "damaged"),
    ],
)
def test_a_file_that_is_not_what_its_card_says_is_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    path = tmp_path / "mine.gguf"
    shutil.copy(card.SHIPPED, path)
    row = json.loads(card.SHIPPED.with_suffix(".json").read_text()) | change
    path.with_suffix(".json").write_text(json.dumps(row))
    with pytest.raises(EnvironmentProblem, match=words):
        opened(str(path))


def test_a_file_without_a_card_or_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(card.SHIPPED.read_bytes()[:-1000])
    with pytest.raises(EnvironmentProblem, match=r"card mine.json cannot be read"):
        opened(str(path))
    shutil.copy(card.SHIPPED.with_suffix(".json"), path.with_suffix(".json"))
    with pytest.raises(EnvironmentProblem, match="install it again"):
        opened(str(path))


@pytest.mark.llama
def test_llama_cpp_gives_the_logits_that_pytorch_gave(shipped: LlamaCpp) -> None:
    """Masks, positions and the sum of embeddings are those of the training."""
    stored = json.loads(LOGITS.read_text())
    assert stored["sha256"] == card.read(card.SHIPPED).sha256, "written by: export --logits"
    for case in stored["cases"]:
        history, points = (np.array(case[k], dtype=np.int32) for k in ("history", "points"))
        found = shipped.score(history, points, OUTPUTS, LIMITS)
        assert not isinstance(found, Failure)
        wanted = np.frombuffer(base64.b64decode(case["logits"]), "<f4").reshape(len(points), -1)
        assert np.abs(found.logits - wanted).max() < 0.05


def scored(model: LlamaCpp, history: np.ndarray, points: np.ndarray) -> np.ndarray:
    found = model.score(history, points, OUTPUTS, LIMITS)
    assert not isinstance(found, Failure)
    return found.logits


@pytest.mark.llama
def test_points_do_not_see_each_other_and_a_history_has_no_order(shipped: LlamaCpp) -> None:
    layout = Layout.of(SPACE.params, 8)
    codes = layout.codes(SPACE.points())
    seen = positions(layout, codes[:6], np.linspace(0.0, 1.0, 6), 0)
    asked = questions(layout, np.tile(codes, (3, 1)))  # more than go through at once
    all_at_once = scored(shipped, seen, asked)
    assert np.abs(all_at_once[:4] - scored(shipped, seen, asked[:4])).max() < 0.02
    assert np.abs(all_at_once[len(codes) :][: len(codes)] - all_at_once[: len(codes)]).max() < 0.02
    assert np.abs(all_at_once - scored(shipped, seen[::-1], asked)).max() < 0.02
    assert np.abs(all_at_once - scored(shipped, seen[:2], asked)).max() > 0.1


@pytest.mark.llama
def test_what_cannot_be_scored_is_a_failure_and_the_model_goes_on(shipped: LlamaCpp) -> None:
    fine = np.full((2, 3), v.QUERY, dtype=np.int32)
    for history, points, kind in (
        (np.full((65, 3), v.FAILED, dtype=np.int32), fine, "context_overflow"),
        (fine, np.full((1, 1), v.SIZE, dtype=np.int32), "unspeakable"),
    ):
        found = shipped.score(history, points, OUTPUTS, LIMITS)
        assert isinstance(found, Failure) and found.kind == kind
    assert scored(shipped, fine, fine).shape == (2, v.OUTPUTS)


@pytest.mark.llama
def test_a_file_that_is_put_in_its_place_does_not_change_its_scores(tmp_path: Path) -> None:
    """As its weights, the embeddings are those of the file that was loaded."""
    path = tmp_path / "copy.gguf"
    shutil.copy(card.SHIPPED, path)
    asked = np.full((2, 3), v.QUERY, dtype=np.int32)
    model = LlamaCpp(path)
    before = scored(model, asked, asked)
    make_tiny_gguf(tmp_path / "other.gguf").replace(path)
    assert np.array_equal(scored(model, asked, asked), before)
    path.unlink()
    assert np.array_equal(scored(model, asked, asked), before)
    model.close()


@pytest.mark.llama
@pytest.mark.parametrize(("quantised", "words"), [(True, "of type 8: only plain"), (False, "")])
def test_a_model_of_another_kind_is_told_or_scores(
    tmp_path: Path, quantised: bool, words: str
) -> None:
    path = make_tiny_gguf(tmp_path / "llama.gguf", shape=Shape(quantised=quantised))
    model = LlamaCpp(path)
    asked = np.full((2, 3), 7, dtype=np.int32)
    found = model.score(asked, asked, (3, 5), LIMITS)
    model.close()
    if not words:
        assert not isinstance(found, Failure) and found.logits.shape == (2, 5)
        return
    assert isinstance(found, Failure) and found.kind == "load" and words in found.evidence


HISTORIES = {
    "nothing": [],
    "only failures": [Trial(c, None, None, FAILED, 0, "") for c in SPACE.points()[:5]],
    "constant": [Trial(c, 0.0, 0.0, None, 0, "") for c in SPACE.points()[:8]],
    "none that may win": [Trial(c, 0.1, 0.0, None, 0, "", False) for c in SPACE.points()[:3]],
    "longer than the context": [Trial(c, 0.1, 0.0, None, 0, "") for c in SPACE.points()[:60]],
    "odd": [Trial(c, float("nan"), None, None, 0, "") for c in SPACE.points()[:3]],
}


@pytest.mark.llama
@pytest.mark.parametrize("name", HISTORIES)
def test_whatever_was_seen_what_it_expects_is_finite(shipped: LlamaCpp, name: str) -> None:
    points = SPACE.points()[60:]
    found = Embedded(shipped, 8).expect(SPACE, HISTORIES[name], points, 1)
    assert found.failure is None and len(found.gains) == len(points)
    assert np.isfinite([*found.gains, *found.means]).all() and min(found.gains) >= 0
    assert found.gains == Embedded(shipped, 8).expect(SPACE, HISTORIES[name], points, 1).gains


# --- in the search -------------------------------------------------------------------------------


class Liking:
    """A scripted model that likes one configuration above all."""

    def __init__(self, liked: Config, failure: Failure | None = None, refused: str = "") -> None:
        self._liked, self._failure, self._refused = liked, failure, refused

    def refusal(self, space: SearchSpace) -> str:
        return self._refused

    def expect(
        self, space: SearchSpace, history: Sequence[Trial], points: Sequence[Config], seed: int
    ) -> Outlook:
        if self._failure:
            return Outlook((), failure=self._failure)
        liked = [point == self._liked for point in points]
        gains = tuple(1.0 if it else 1e-3 for it in liked)
        spreads = tuple(0.05 for _ in liked)
        return Outlook(gains, tuple(-0.5 * it for it in liked), tuple(0.9 for _ in liked), spreads)


BEGUN = [Trial(SPACE.default, 0.0, 0.01, None, 0, "default")]


def proposed(options: Options, history: Sequence[Trial] = BEGUN) -> tuple[Proposal, ...]:
    found = create(options).propose(SPACE, history, (), 3, 1)
    assert isinstance(found, tuple)
    return found


def measured(count: int) -> list[Trial]:
    """A smooth surface; the default and points spread over the space."""
    found = []
    for n, config in enumerate([SPACE.default, *SPACE.points()[:: 96 // count][: count - 1]]):
        values = config.values
        block, threads = (p.values.index(values[p.name]) for p in (BLOCK, THREADS))
        ratio = 0.05 * abs(block - 4) + 0.1 * abs(threads - 2) + 0.1 * (values["core"] == "Zen")
        found.append(Trial(config, ratio, 0.001, None, n, ""))
    return found


class Judged(Liking):
    """Tells of every point, with little doubt, `off` more than what a smooth surface has there."""

    def __init__(self, liked: Config, off: float) -> None:
        super().__init__(liked)
        self._off = off

    def expect(
        self, space: SearchSpace, history: Sequence[Trial], points: Sequence[Config], seed: int
    ) -> Outlook:
        known = {trial.config: trial.log_ratio or 0.0 for trial in measured(8)}
        fastest = min(trial.log_ratio or 0.0 for trial in history)
        liked = super().expect(space, history, points, seed)
        means = tuple(known.get(p, 0.0) - fastest + self._off for p in points)
        return Outlook(liked.gains, means, liked.chances, tuple(0.01 for _ in points))


class Asked(Liking):
    """Keeps what it was asked about."""

    points: Sequence[Config] = ()

    def expect(
        self, space: SearchSpace, history: Sequence[Trial], points: Sequence[Config], seed: int
    ) -> Outlook:
        self.points = points
        return super().expect(space, history, points, seed)


def chosen(model: Liking) -> Proposal:
    """With a model that has all the say there is."""
    heard = Expert(model, SPACE, 1, Share(weight=1.0, faded=100))
    strategy = Surrogate(expert=lambda space, seed: heard)
    found = strategy.propose(SPACE, measured(8), (), 1, 1)
    assert isinstance(found, tuple)
    return found[0]


def test_it_tips_the_choice_as_long_as_it_predicts_what_was_measured() -> None:
    own = Surrogate().candidates(SPACE, measured(8), (), 1, 1)[0].config
    asked = Asked(own)
    chosen(asked)
    others = [point for point in asked.points if point != own]
    right = {point: chosen(Judged(point, 0.0)) for point in others}
    tipped = {point: p for point, p in right.items() if p.config == point}
    assert tipped
    assert all(p.proposed_by == "embedded" and "tipped" in p.reason for p in tipped.values())
    assert {p.config for p in right.values()} <= {own, *tipped}
    for wrong in (chosen(Judged(point, 0.5)) for point in others):
        assert (wrong.config, wrong.proposed_by) == (own, "surrogate")
        assert "tipped" not in wrong.reason


def test_it_changes_neither_the_design_nor_what_comes_after_its_time() -> None:
    model = Judged(SPACE.points()[-1], 0.0)
    for history, k in ((BEGUN, 5), (measured(FADED), 3)):
        found = create(Options(points=model)).propose(SPACE, history, (), k, 1)
        assert found == Surrogate().propose(SPACE, history, (), k, 1)


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(points=Liking(SPACE.default, refused="13 parameters")),
        Options(points=Liking(SPACE.default, failure=Failure("model", "died", "killed"))),
    ],
    ids=["none", "refuses", "fails"],
)
def test_without_the_model_the_search_is_the_surrogates(options: Options) -> None:
    long = [*BEGUN, *(Trial(c, 0.1, 0.01, None, 1, "") for c in SPACE.points()[:10])]
    for history in (BEGUN, long):
        alone = Surrogate().propose(SPACE, history, (), 3, 1)
        assert proposed(options, history) == alone


def test_its_share_fades() -> None:
    share = Share(weight=1.0, faded=20)
    assert share.at(5) > share.at(15) > share.at(20) == share.at(200) == 0.0


# --- in a run ------------------------------------------------------------------------------------


def test_what_is_in_its_way_is_told_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = Space((Param("x", "ordinal", tuple(map(str, range(40))), "0"),))
    known = mock.Mock(space=wide, machine=mock.Mock(usable_cores=2))
    small = SmallModel(WORD, lambda call: None)
    assert small.points(known) is None and "x has 40 values" in small.note
    monkeypatch.setattr("hpcagent.embedded.opening.find_spec", lambda name: None)
    small = SmallModel(WORD, lambda call: None)
    small.begin()
    assert small.points(known) is None
    assert small.note == "the search went on without it: llama_cpp is not installed"


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ((".gguf",), "its card embedded.json cannot be read"),
        ((".json",), "cannot be read: No such file"),
        ((".json", ".gguf"), "is not the .* of its card; install it again"),
    ],
)
def test_of_a_damaged_installation_the_run_goes_on_and_the_cure_is_told(
    tmp_path: Path, left: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / card.SHIPPED.name
    for suffix in left:
        shutil.copy(card.SHIPPED.with_suffix(suffix), shipped.with_suffix(suffix))
    if len(left) == 2:
        shipped.write_bytes(card.SHIPPED.read_bytes()[:-1])
    monkeypatch.setattr(card, "SHIPPED", shipped)
    small = SmallModel(WORD, lambda call: None)
    small.begin()
    known = mock.Mock(space=SPACE, machine=mock.Mock(usable_cores=2))
    assert small.points(known) is None
    assert re.fullmatch(f"the search went on without it: .*{words}.*", small.note)


@pytest.mark.llama
def test_a_process_that_was_begun_is_the_one_that_answers() -> None:
    model = LlamaCpp(card.SHIPPED)
    model.begin()
    first = model.pid
    assert first is not None and model.load() is None and model.pid == first
    model.close()
    assert model.pid is None and model.load() is None and model.pid != first
    model.close()


@pytest.mark.parametrize("command", [("/nonexistent/python",), ("/bin/false",)])
def test_a_process_that_cannot_begin_is_a_failure_of_the_first_question(
    command: tuple[str, ...],
) -> None:
    model = LlamaCpp(card.SHIPPED, command=command)
    model.begin()
    found = model.load()
    assert found is not None and found.kind == "died"
