"""The reports: what they claim, what they show of a run, and that nothing can break them."""

from __future__ import annotations

import math
import os
import re
import resource
import sys
import unicodedata
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hpcagent.errors import EnvironmentProblem
from hpcagent.measure.statistics import variability
from hpcagent.records import Cache, Compiler, Config, Cpu, Failure, Library, Machine
from hpcagent.report import figures, html, markdown, text, wording
from hpcagent.report.write import write_report
from hpcagent.study.summary import (
    CaseSummary,
    ClaimSummary,
    Disturbance,
    InfeasibleValue,
    ModelSummary,
    RunSummary,
    Spent,
    TrialSummary,
    Variation,
)

GOLDEN = Path(__file__).parent / "golden" / "report"
HOSTILE = (
    "</td><script>alert(1)</script> | `x` [a](http://e.example) \x1b[31m\n# no\u2028\u202e$k$ _i_"
)

# --- runs made by hand ----------------------------------------------------------------------------

MACHINE = Machine(
    host="node017",
    architecture="x86_64",
    cpu_model="Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz",
    microarchitecture="cascadelake",
    features=("avx2", "avx512f"),
    cpus=tuple(Cpu(i, i, i // 20, i // 20) for i in range(40)),
    cpus_allowed=tuple(range(40)),
    cpu_quota_cores=None,
    threads_per_core=1,
    sockets=2,
    max_mhz=3900.0,
    caches=(Cache(1, "data", 32768, 40), Cache(2, "unified", 1 << 20, 40)),
    memory_bytes=192 << 30,
    memory_limit_bytes=None,
    huge_pages="madvise",
    kernel="5.14.0",
    glibc="2.34",
    compilers=(Compiler("c", "gcc", "/usr/bin/gcc", "11.4.1"),),
    schedulers=("slurm",),
    tools={"numactl": "/usr/bin/numactl"},
    missing={"max_mhz": "cpufreq is not mounted"},
)
LIBRARY = Library(
    path="/opt/openblas/0.3.21/lib/libopenblas.so",
    source="prefix",
    version="0.3.21",
    config="OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH SkylakeX MAX_THREADS=128",
    dynamic_arch=True,
    threading="pthreads",
    max_threads=128,
    default_threads=40,
    interface="lp64",
    symbol_prefix="",
    symbol_suffix="",
    core="SkylakeX",
    routines=("dgemm_",),
)
CORES = ("Haswell", "SkylakeX", "Zen", "Cooperlake")
SPACE = (
    ("coretype", CORES, "SkylakeX"),
    ("numa", ("none", "interleave=all"), "none"),
    ("threads", ("10", "20", "40"), "40"),
)
DEFAULT = Config.of({name: default for name, _, default in SPACE})
NO_MODEL = ModelSummary(False, "", 0, 0, 0, 0, False, 0.0, "")
KEYS = (
    "dgemm_4096x64x4096_TN",
    "dgemm_2048",
    "sgemm_2048",
    "dsyrk_1024x2048",
    "dtrsm_1024",
    "dgetrf_3000",
    "dpotrf_3000",
)


def case(key: str, number: int, weight: float, gain: float) -> CaseSummary:
    ratios = tuple(gain * (1 + 0.004 * math.sin(7.0 * number + pair)) for pair in range(20))
    default_s = 0.004 * (1 + number % 9)
    return CaseSummary(
        key,
        weight,
        default_s,
        default_s / gain,
        gain,
        gain * 0.9985,
        gain * 1.0015,
        0.995,
        0.012 + 0.002 * (number % 5),
        0.006 + 0.003 * (number % 4),
        ratios,
        512.25 if number % 2 == 0 else None,
    )


def cases(keys: tuple[str, ...]) -> tuple[CaseSummary, ...]:
    return tuple(
        case(key, number, 1 / len(keys), 1.05 + 0.04 * (number % 7))
        for number, key in enumerate(keys)
    )


def trial(number: int, speedup: float | None, **changed: str) -> TrialSummary:
    failure = Failure("run", "illegal_instruction", "signal 4 (SIGILL) after 0.02 s\n")
    return TrialSummary(
        evaluation=number,
        round=1 + (number - 1) // 4,
        config=Config.of({**DEFAULT.values, **changed}),
        proposed_by="default" if number == 1 else ("model" if number % 3 == 0 else "surrogate"),
        reason="the site default" if number == 1 else "largest expected improvement",
        speedup=speedup,
        spread=None if speedup is None else 0.004 + 0.001 * (number % 3),
        pairs=0 if speedup is None else 6,
        status="ok" if speedup is not None else failure.id,
        failure=failure if speedup is None else None,
        unit=f"haround{1 + (number - 1) // 4}aaaaaa",
        verdict="faster" if speedup and speedup > 1.1 else "open",
    )


TRIALS = (
    trial(1, 1.0),
    trial(2, 0.91, threads="10"),
    trial(3, 1.062, threads="20"),
    trial(4, 1.112, numa="interleave=all"),
    trial(5, None, coretype="Cooperlake"),
    trial(6, 1.168, numa="interleave=all", threads="20"),
    trial(7, 0.842, coretype="Haswell"),
    trial(8, 1.171, numa="interleave=all", threads="20", coretype="Zen"),
    trial(9, None, coretype="Cooperlake", threads="20"),
)
CLAIM = ClaimSummary(
    "haconfirmaaaaa", 20, 1.1732, 1.1614, 1.1819, 0.99512, 0.005, 0.01, True, 0.0131, 0.0084
)


def improved() -> RunSummary:
    return RunSummary(
        run_id="20250301-101500-openblas",
        kind="tune",
        app="openblas",
        version="0.1.0",
        seed=7,
        command=("hpcagent", "tune", "--lib", "openblas", "--seed", "7"),
        created_utc="2025-03-01T10:15:00Z",
        closed_utc="2025-03-01T10:58:12Z",
        phase="done",
        outcome="improved",
        outcome_text="",
        stop_reason="expected improvement below 0.5 % for 3 rounds",
        machine=MACHINE,
        library=LIBRARY,
        space=SPACE,
        points=24,
        best=TRIALS[5].config,
        best_environment=(("OPENBLAS_NUM_THREADS", "20"),),
        best_prefix=("numactl", "--interleave=all"),
        best_binding=(),
        claim=CLAIM,
        cases=cases(KEYS),
        trials=TRIALS,
        infeasible=(
            InfeasibleValue("coretype", "Prescott", None, "SkylakeX"),
            InfeasibleValue(
                "coretype", "Sapphirerapids", Failure("run", "illegal_instruction", "SIGILL"), None
            ),
        ),
        failures=(
            (TRIALS[4].unit, Failure("run", "illegal_instruction", "SIGILL")),
            ("haround2aaaaaa", Failure("scheduler", "timeout", "slurm: TIMEOUT after 00:20:00")),
        ),
        model=ModelSummary(True, "tiny.gguf", 6, 5, 1, 3, True, 41.2, ""),
        spent=Spent(5, 3, 28.4, 2592.0, 5),
        warnings=("the load of the node rose to 12 in round 2",),
        variation=(
            Variation("default", variability([0.98, 1.0, 1.01, 1.02, 1.03, 1.2], 0.95, 1)),
            Variation("candidate", variability([1.0 + 0.001 * i for i in range(20)], 0.95, 1)),
        ),
        disturbances=(
            Disturbance(
                "haconfirmaaaaa", "drift", 0, "", 1.043, "the CPU was at 91 °C, else 80 °C"
            ),
            Disturbance("haround2aaaaaa", "odd process", 3, TRIALS[5].config.id, 1.52, ""),
        ),
    )


def nothing_better() -> RunSummary:
    claim = replace(CLAIM, speedup=1.0042, low=0.9961, high=1.0108, improved=False)
    flat = tuple(case(key, number, 1 / 7, 1.004) for number, key in enumerate(KEYS))
    return replace(
        improved(),
        outcome="nothing better",
        claim=claim,
        best=DEFAULT,
        cases=flat,
        model=NO_MODEL,
        warnings=(),
        disturbances=(),
        variation=(),
    )


def failed_early() -> RunSummary:
    blank = replace(improved(), machine=None, library=None, space=(), points=0, best=None)
    blank = replace(blank, best_environment=(), best_prefix=(), claim=None, cases=(), trials=())
    failure = Failure("environment", "no_compiler", "cc: command not found")
    return replace(
        blank,
        outcome="failed",
        phase="probe",
        stop_reason="",
        infeasible=(),
        failures=(("haprobeaaaaaaa", failure),),
        model=NO_MODEL,
        spent=Spent(1, 0, 0.01, 12.0, 1),
        warnings=(),
        disturbances=(),
        variation=(),
    )


def cancelled() -> RunSummary:
    return replace(
        improved(),
        outcome="cancelled",
        phase="search",
        claim=None,
        cases=cases(KEYS[:2]),
        trials=TRIALS[:5],
        best_environment=(),
        best_prefix=(),
        stop_reason="cancelled by the user",
    )


def running() -> RunSummary:
    return replace(cancelled(), outcome="", closed_utc="", stop_reason="")


def thirty_cases() -> RunSummary:
    shapes = ("4096x64x4096_TN", "64x64x64_NN", "8192x8192x32_NT", "512_L", "16384x16")
    keys = tuple(f"{'sd'[n % 2]}gemm_{shapes[n % 5]}_{n}" for n in range(30))
    return replace(improved(), cases=cases(keys))


def hostile() -> RunSummary:
    bad = HOSTILE
    failure = Failure(bad, bad, bad)
    odd = replace(TRIALS[4], proposed_by=bad, reason=bad, status=bad, failure=failure, unit=bad)
    return replace(
        improved(),
        run_id=bad,
        app=bad,
        version=bad,
        phase=bad,
        outcome_text=bad,
        stop_reason=bad,
        machine=replace(MACHINE, host=bad, cpu_model=bad, missing={bad: bad}),
        library=replace(LIBRARY, path=bad, config=bad),
        space=((bad, (bad, "b"), bad), *SPACE),
        best_environment=((bad, bad),),
        best_prefix=(bad,),
        claim=replace(CLAIM, unit=bad),
        cases=(replace(cases(KEYS)[0], key=bad),),
        trials=(*TRIALS, odd),
        infeasible=(InfeasibleValue(bad, bad, failure, None), InfeasibleValue(bad, bad, None, bad)),
        failures=((bad, failure),),
        model=ModelSummary(True, bad, 1, 0, 1, 0, False, 1.0, bad),
        warnings=(bad,),
    )


RUNS = {
    "improved": improved,
    "nothing_better": nothing_better,
    "failed_early": failed_early,
    "cancelled": cancelled,
    "running": running,
    "thirty_cases": thirty_cases,
    "hostile": hostile,
}

# --- helpers --------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The structure of a page: tags that are left open, attributes, the text outside of styles."""

    VOID = ("meta", "link", "br", "img", "use", "path")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.seen = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.seen += data


def markdown_page(source: str) -> Page:
    """What a Markdown reader makes of it: raw HTML on, so that a leak would show as a tag."""
    return Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(source))


PLAIN_TAGS = {"h1", "h2", "p", "code", "pre", "table", "thead", "tbody", "tr", "th", "td", "img"}


def assert_harmless(source: str) -> None:
    found = markdown_page(source)
    assert set(found.tags) <= PLAIN_TAGS
    assert not found.open
    for char in source:
        assert char == "\n" or char.isprintable()


def assert_tables_whole(source: str) -> None:
    """Every row of a table has as many cells as its heading, as GitHub's rules split them."""
    width = 0
    for row in source.splitlines():
        if not row.startswith("|"):
            width = 0
            continue
        cells = re.sub(r"\\.", "", row).count("|")
        width = width or cells
        assert cells == width, row


def screen_columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


FIGURES = {
    name: f"figures/{name}.svg"
    for name in ("convergence", "pairs", "variability", "effects", "failures")
}


def only_trials() -> RunSummary:
    return replace(improved(), cases=(), claim=None, infeasible=(), space=(), failures=())


@cache
def drawn_of(name: str) -> dict[str, str]:
    return figures.figures(RUNS[name]())


# --- the headline ---------------------------------------------------------------------------------


def test_headline_of_a_confirmed_improvement_gives_interval_and_pairs() -> None:
    said = text.headline(improved())
    assert said == (
        "1.173x faster than the default (99.51 % interval 1.161 to 1.182, 20 fresh pairs)."
    )


def test_headline_rounds_outwards_never_inwards() -> None:
    claim = replace(CLAIM, low=1.16199, high=1.18101, coverage=0.994999)
    said = text.headline(replace(improved(), claim=claim))
    assert "interval 1.161 to 1.182" in said
    assert "99.49 %" in said


def test_headline_of_no_improvement_names_the_effect_that_was_not_shown() -> None:
    said = text.headline(nothing_better())
    assert said.startswith("Nothing is better than the default here: ")
    assert "1.004x" in said
    assert "0.996 to 1.011" in said
    assert "does not prove an improvement of 1 %" in said


def test_an_improvement_that_was_not_confirmed_is_not_claimed() -> None:
    for run in (
        replace(improved(), claim=None),
        replace(improved(), claim=replace(CLAIM, improved=False)),
    ):
        assert "faster" not in text.headline(run)
        assert "not confirmed" in text.headline(run)
        assert "Use it" not in text.terminal(run, 80)
        assert 'class="box good"' not in html.page(run, {})


def test_headline_of_a_failed_run_says_why() -> None:
    assert "environment.no_compiler: cc: command not found" in text.headline(failed_early())
    told = replace(failed_early(), outcome_text="no compute node answered")
    assert text.headline(told) == "The run failed: no compute node answered"


@pytest.mark.parametrize("make", [cancelled, running])
def test_headline_of_an_unfinished_run_claims_nothing(make) -> None:
    said = text.headline(make())
    assert "phase: search" in said
    assert "Best of 4 candidates so far 1.112x, not confirmed" in said


def test_nothing_better_without_a_confirmation_says_how_far_the_search_came() -> None:
    run = replace(nothing_better(), claim=None, cases=())
    assert "the best of 8 candidates reached 1.171x in the search" in text.headline(run)
    failed = replace(run, trials=(TRIALS[0], TRIALS[4]))
    told = "no other configuration gave a valid measurement: 1 of 1 candidate failed ("
    assert told + TRIALS[4].failure.id + " 1), see the report." in text.headline(failed)


@pytest.mark.parametrize(
    ("why", "told"),
    [
        ("the user's function said STOP: \x1b[31menough",
         " (the user's function said STOP: \\x1b[31menough)."),
        ("the restrictions leave only one configuration",
         " (the restrictions leave only one configuration)."),
        ("", "."),
    ],
)  # fmt: skip
def test_a_search_that_tried_nothing_says_so_and_why(why: str, told: str) -> None:
    run = replace(nothing_better(), claim=None, cases=(), trials=TRIALS[:1], stop_reason=why)
    words = "Nothing is better than the default here: no other configuration was tried"
    assert text.headline(replace(run, outcome_text="")) == words + told
    early = replace(run, stop_reason="", outcome_text="restrictions leave only the default")
    assert text.headline(early) == words + " (restrictions leave only the default)."


def test_a_clear_candidate_without_a_claim_is_not_called_unclear() -> None:
    why = "the candidate failed in the confirmation (run.timeout): timeout after 60 s"
    run = replace(nothing_better(), claim=None, cases=(), outcome_text=why)
    said = text.headline(run)
    assert "1.171x in the search, but it was not confirmed: the candidate failed" in said
    noisy = replace(run, trials=tuple(replace(t, spread=0.5) for t in TRIALS))
    assert "not clearly faster than the default, so there was nothing" in text.headline(noisy)


def test_too_wide_an_interval_is_no_reason_to_give_up() -> None:
    wide = replace(CLAIM, speedup=2.27, low=0.912, high=3.782, improved=False)
    assert "confirm_pairs" in text.terminal(replace(nothing_better(), claim=wide), 80)
    assert "confirm_pairs" not in text.terminal(nothing_better(), 80)


def test_a_failed_run_says_how_to_mend_it() -> None:
    told = replace(failed_early(), failures=(), outcome_text="x" * 300 + " unset LD_PRELOAD")
    assert text.headline(told).endswith("unset LD_PRELOAD")
    assert "work/*/" not in text.terminal(told, 80)
    assert "work/haprobeaaaaaaa/" in text.terminal(failed_early(), 80)


# --- the terminal ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("width", [20, 40, 63, 80, 200])
def test_terminal_stays_within_the_columns(name: str, width: int) -> None:
    shown = text.terminal(RUNS[name](), width)
    widest = max(screen_columns(line) for line in shown.splitlines())
    assert widest <= max(40, min(width, 80))
    assert all(char == "\n" or char.isprintable() for char in shown)


def test_terminal_shows_each_routine_with_its_interval_and_variability() -> None:
    rows = text.terminal(improved(), 80).splitlines()
    row = next(line for line in rows if line.startswith("dgemm_4096x64x4096_TN"))
    for part in ("14 %", "4.00 ms", "3.81 ms", "1.050x", "1.048-1.052", "1.2->0.60"):
        assert part in row
    assert sum(line.startswith(KEYS) for line in rows) == len(KEYS)


def test_a_narrow_terminal_keeps_routine_and_speed_up() -> None:
    shown = text.terminal(improved(), 40)
    assert "1.050x" in shown
    assert "dgemm_4096x64x4096_TN" in shown
    assert "weight" not in shown


def test_terminal_says_what_the_model_did_and_what_was_spent() -> None:
    shown = " ".join(text.terminal(improved(), 80).split())
    assert "tiny.gguf: 6 calls (5 valid, 1 invalid), 3 picks measured" in shown
    assert "3 rounds, 5 jobs, 28.4 core-hours, 43 min 12 s" in shown
    assert "none was used; the search ran without it" in text.terminal(nothing_better(), 80)


@pytest.mark.parametrize(
    ("waited_s", "words"),
    [
        (41.2, "from the cache, in all of which (1.6 % of the run) nothing was measured;"),
        (9.0, "from the cache, in 9.00 s of which (0.35 % of the run) nothing was measured;"),
        (0.0, "from the cache; the best"),
    ],
)
def test_what_a_model_cost_is_told(waited_s: float, words: str) -> None:
    model = ModelSummary(
        True, "tiny.gguf", 9, 5, 1, 3, True, 41.2, "", "", ranked=6, shortened=2,
        cached_share=0.63, waited_s=waited_s,
    )  # fmt: skip
    shown = text.model_words(replace(improved(), model=model))
    assert "9 calls (5 valid, 1 invalid, 6 choices from a menu)" in shown
    assert f"41.2 s with 63 % of the prompts' tokens {words}" in shown
    assert "2 times a prompt was too long for it and was shortened" in shown


def test_a_small_model_that_changed_nothing_is_said_to_have_changed_nothing() -> None:
    asked = replace(improved().model, name="embedded", small=True, calls=4, invalid=0, note="")
    said = {
        count: text.model_words(replace(improved(), model=replace(asked, picks_measured=count)))
        for count in (0, 1, 2)
    }
    assert said[0].endswith("it changed no choice")
    assert "it changed 1 choice, and the best configuration is" in said[1]
    assert said[1].endswith(" that")
    assert said[2].endswith(" one of them")


def test_it_says_what_the_model_earned() -> None:
    earned = "its picks paid in 1 and lagged in 2 rounds, which leaves it 10 % of the evaluations"
    summary = replace(improved(), model=replace(improved().model, earned=earned))
    shown = "the best configuration is its pick; its picks paid in 1 and lagged in 2 rounds"
    assert shown in " ".join(text.terminal(summary, 80).split())
    assert f"{earned}." in markdown.markdown(summary, {})


def test_terminal_names_the_next_step() -> None:
    assert "hpcagent resume 20250301" in " ".join(text.terminal(running(), 80).split())
    assert "work/haprobeaaaaaaa/" in text.terminal(failed_early(), 80)
    shown = text.terminal(improved(), 80, folder="/scratch/me/runs/one")
    assert "/scratch/me/runs/one" in shown
    assert "result/best.env" in shown


# --- Markdown -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in RUNS if name != "running"])
def test_markdown_is_as_recorded(name: str) -> None:
    made = markdown.markdown(RUNS[name](), FIGURES)
    if os.environ.get("HPCAGENT_UPDATE_GOLDEN"):
        (GOLDEN / f"{name}.md").write_text(made, encoding="utf-8")
    assert made == (GOLDEN / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RUNS)
def test_markdown_has_every_section_and_whole_tables(name: str) -> None:
    made = markdown.markdown(RUNS[name](), {})
    assert re.findall("^## (.*)$", made, re.MULTILINE) == [
        "Result",
        "How sure is it",
        "Per routine",
        "Variability",
        "What was tried",
        "What failed and why",
        "The model",
        "The machine and library",
        "Space",
        "Budget",
        "How to reproduce",
        "Files",
    ]
    assert_tables_whole(made)
    assert_harmless(made)


def test_the_report_names_the_run_as_commands_find_it() -> None:
    run = improved()
    assert f"hpcagent report {run.run_id}" in markdown.markdown(run, {})
    told = markdown.markdown(replace(run, found_as="/scratch/my run"), {})
    assert "hpcagent report '/scratch/my run'" in told
    assert f"report {run.run_id}" not in told


def test_numbers_name_the_unit_and_the_journal_they_come_from() -> None:
    made = markdown.markdown(improved(), {})
    assert made.count("`work/haconfirmaaaaa/result.jsonl`, recorded in `journal.jsonl`") == 3
    trials = [row for row in made.splitlines() if "`haround" in row]
    assert len(trials) >= len(TRIALS)


def test_what_failed_tells_values_aliases_trials_and_jobs_apart() -> None:
    made = markdown.markdown(improved(), {})
    assert "| `coretype` | `Prescott` | runs the same as SkylakeX |" in made
    assert "| `coretype` | `Sapphirerapids` | `run.illegal_instruction: SIGILL` |" in made
    assert "| 5 | `haround2aaaaaa` | `run.illegal_instruction: signal 4 (SIGILL)" in made
    assert "`scheduler.timeout: slurm: TIMEOUT after 00:20:00`" in made
    assert "SIGILL` |\n\n" not in made.split("Other failures")[1]  # told once, with its trial


def test_hostile_text_is_shown_not_interpreted() -> None:
    seen = markdown_page(markdown.markdown(hostile(), {})).seen
    assert wording.visible(HOSTILE) in seen
    assert r"\x1b[31m\n# no\u2028\u202e" in seen


# --- HTML -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_page_is_whole_and_needs_nothing_from_outside(name: str) -> None:
    made = html.page(RUNS[name](), drawn_of(name))
    page = Page(made)
    assert not page.open
    assert not {"script", "link", "img", "iframe", "a", "object"} & set(page.tags)
    for attribute, value in page.attributes:
        if attribute in ("href", "xlink:href", "src"):
            assert value.startswith("#")
        assert not attribute.startswith("on")
    styles = "".join(re.findall("<style>.*?</style>", made, re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles
    assert page.tags.count("svg") == len(drawn_of(name))


def test_ids_of_inlined_figures_do_not_collide() -> None:
    page = Page(html.page(improved(), drawn_of("improved")))
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 50
    targets = {value[1:] for name, value in page.attributes if name == "href"}
    assert targets <= set(ids)
    clips = {v for n, v in page.attributes if n == "clip-path"}
    assert clips
    assert {clip[5:-1] for clip in clips} <= set(ids)


def test_inlined_figures_follow_the_colour_scheme_of_the_page() -> None:
    made = html.page(improved(), drawn_of("improved"))
    inlined = "".join(re.findall("<svg.*?</svg>", made, re.DOTALL))
    fixed = set(re.findall("#[0-9a-f]{6}", inlined))
    assert not fixed
    used = set(re.findall(r"var\((--fig-\w+)\)", inlined))
    light, dark = made.split("prefers-color-scheme: dark")
    for variable in used:
        assert f"{variable}:" in light
        assert f"{variable}:" in dark


def test_page_shows_hostile_text_as_text() -> None:
    made = html.page(hostile(), drawn_of("hostile"))
    assert wording.visible(HOSTILE) in Page(made).seen
    assert "<script" not in made


def test_page_puts_speed_up_and_interval_on_top() -> None:
    seen = " ".join(Page(html.page(improved(), {})).seen.split())
    top = seen[: seen.index("Result")]
    assert "1.173x" in top
    assert "interval 1.161 to 1.182" in top


def test_markdown_and_page_say_the_same() -> None:
    run = improved()
    written = "".join(markdown_page(markdown.markdown(run, {})).seen.split())
    shown = "".join(Page(html.page(run, {})).seen.split())
    start = written.index("Result1.173x")
    assert written[start:] in shown


# --- figures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_figures_are_xml_without_a_date(name: str) -> None:
    for svg in drawn_of(name).values():
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
        assert "<dc:date>" not in svg


def test_figures_without_data_are_left_out() -> None:
    assert set(figures.figures(failed_early())) == {"failures"}
    assert figures.figures(replace(failed_early(), failures=())) == {}
    assert set(drawn_of("improved")) == set(FIGURES)


def test_figures_are_the_same_bytes_whatever_the_users_matplotlib_settings() -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "svg.fonttype": "none"}):
        assert figures.figures(improved()) == drawn_of("improved")


def test_the_models_picks_are_marked_as_such() -> None:
    assert "<!-- model's pick -->" in drawn_of("improved")["convergence"]
    named = tuple(replace(t, proposed_by="tiny.gguf") for t in TRIALS)
    assert all(wording.by_model(t, improved()) for t in named)
    assert not any(wording.by_model(t, nothing_better()) for t in named)
    nobody = tuple(replace(t, proposed_by="surrogate") for t in TRIALS)
    run = replace(only_trials(), trials=nobody)
    assert "model's pick" not in figures.figures(run)["convergence"]


def test_the_figure_of_failures_names_the_values() -> None:
    drawn = drawn_of("improved")["failures"]
    assert "run.illegal_instruction (3): coretype=Sapphirerapids, #5, #9" in drawn
    assert "alias: runs as another value (1): coretype=Prescott" in drawn
    assert "scheduler.timeout (1): haround2aaaaaa" in drawn


@pytest.mark.parametrize("name", ["pairs", "variability"])
def test_rows_of_thirty_routines_do_not_overlap(name: str) -> None:
    run = thirty_cases()
    drawn = drawn_of("thirty_cases")[name]
    for case_ in run.cases:
        assert f"<!-- {case_.key} -->" in drawn
    tops = []
    for key in (case_.key for case_ in run.cases):
        after = drawn.split(f"<!-- {key} -->")[1]
        found = re.search(r"translate\(([\d.-]+) ([\d.-]+)\)", after)
        assert found is not None
        assert float(found[1]) > 0.0  # not cut off at the left edge
        tops.append(float(found[2]))
    assert min(b - a for a, b in pairwise(tops)) > 8.0  # points; the font has 8


# --- any summary ----------------------------------------------------------------------------------

ANY_TEXT = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="<>|`\\*_[]()#&$~!-+=.:/@ \n\r\t\x00\x1b\u2028\u202e\ud800漢1aw", max_size=60),
    st.sampled_from((HOSTILE, "", " ", "\\|", "`", "``a", "1. x", "- x", "http://x.test", "-->")),
)
ANY_NUMBER = st.floats(allow_nan=True, allow_infinity=True)
A_RATIO = st.one_of(st.floats(0.2, 5.0), ANY_NUMBER)
FAILURES = st.builds(Failure, ANY_TEXT, ANY_TEXT, ANY_TEXT)
ANY_PAIRS = st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=3)
A_PARAM = st.tuples(ANY_TEXT, st.lists(ANY_TEXT, max_size=4).map(tuple), ANY_TEXT)
CONFIGS = ANY_PAIRS.map(Config.of)
CLAIMS = st.builds(
    ClaimSummary,
    unit=ANY_TEXT,
    pairs=st.integers(0, 10**6),
    speedup=A_RATIO,
    low=A_RATIO,
    high=A_RATIO,
    coverage=ANY_NUMBER,
    alpha=ANY_NUMBER,
    minimum_effect=ANY_NUMBER,
    improved=st.booleans(),
    default_cv=ANY_NUMBER,
    best_cv=ANY_NUMBER,
)
CASES = st.builds(
    CaseSummary,
    key=ANY_TEXT,
    weight=ANY_NUMBER,
    default_s=ANY_NUMBER,
    best_s=ANY_NUMBER,
    speedup=A_RATIO,
    low=A_RATIO,
    high=A_RATIO,
    coverage=ANY_NUMBER,
    default_cv=ANY_NUMBER,
    best_cv=ANY_NUMBER,
    ratios=st.lists(A_RATIO, max_size=4).map(tuple),
    gflops=st.none() | ANY_NUMBER,
)
ANY_TRIAL = st.builds(
    TrialSummary,
    evaluation=st.integers(1, 40),
    round=st.integers(0, 40),
    config=CONFIGS | st.sampled_from([t.config for t in TRIALS]),
    proposed_by=ANY_TEXT | st.just("model"),
    reason=ANY_TEXT,
    speedup=st.none() | A_RATIO,
    spread=st.none() | ANY_NUMBER,
    pairs=st.integers(0, 100),
    status=ANY_TEXT,
    failure=st.none() | FAILURES,
    unit=ANY_TEXT,
)
SUMMARIES = st.builds(
    RunSummary,
    run_id=ANY_TEXT,
    kind=ANY_TEXT,
    app=ANY_TEXT,
    version=ANY_TEXT,
    seed=st.integers(),
    command=st.lists(ANY_TEXT, max_size=5).map(tuple),
    created_utc=ANY_TEXT,
    closed_utc=ANY_TEXT,
    phase=ANY_TEXT,
    outcome=st.sampled_from(("", "improved", "nothing better", "failed", "cancelled")),
    outcome_text=ANY_TEXT,
    stop_reason=ANY_TEXT,
    machine=st.none() | st.builds(replace, st.just(MACHINE), host=ANY_TEXT, missing=ANY_PAIRS),
    library=st.none() | st.builds(replace, st.just(LIBRARY), path=ANY_TEXT, config=ANY_TEXT),
    space=st.just(SPACE) | st.lists(A_PARAM, max_size=3).map(tuple),
    points=st.integers(0, 10**6),
    best=st.none() | CONFIGS,
    best_environment=st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=3).map(tuple),
    best_prefix=st.lists(ANY_TEXT, max_size=3).map(tuple),
    best_binding=st.lists(st.integers(0, 512), max_size=5).map(tuple),
    claim=st.none() | CLAIMS,
    cases=st.lists(CASES, max_size=4).map(tuple),
    trials=st.lists(ANY_TRIAL, max_size=5).map(tuple),
    infeasible=st.lists(
        st.builds(InfeasibleValue, ANY_TEXT, ANY_TEXT, st.none() | FAILURES, st.none() | ANY_TEXT),
        max_size=3,
    ).map(tuple),
    failures=st.lists(st.tuples(ANY_TEXT, FAILURES), max_size=3).map(tuple),
    model=st.builds(
        ModelSummary,
        used=st.booleans(),
        name=ANY_TEXT,
        calls=st.integers(0, 99),
        valid=st.integers(0, 99),
        invalid=st.integers(0, 99),
        picks_measured=st.integers(0, 99),
        best_is_models=st.booleans(),
        seconds=ANY_NUMBER,
        note=ANY_TEXT,
    ),
    spent=st.builds(Spent, st.integers(0, 99), st.integers(0, 99), ANY_NUMBER, ANY_NUMBER),
    warnings=st.lists(ANY_TEXT, max_size=2).map(tuple),
)
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(run=SUMMARIES, width=st.integers(0, 300))
def test_any_run_can_be_told_as_text(run: RunSummary, width: int) -> None:
    assert_harmless(markdown.markdown(run, {}))
    assert_tables_whole(markdown.markdown(run, {}))
    shown = text.terminal(run, width)
    assert max(screen_columns(line) for line in shown.splitlines()) <= max(40, min(80, width))
    assert all(char == "\n" or char.isprintable() for char in shown)
    page = Page(html.page(run, {}))
    assert not page.open
    assert "script" not in page.tags


def test_a_trial_beyond_every_axis_is_drawn() -> None:
    run = only_trials()
    first, *rest = run.trials
    for speedup in (1e9, 1.7e308, sys.float_info.max):
        far = replace(run, trials=(replace(first, speedup=speedup, spread=0.3), *rest))
        ElementTree.fromstring(figures.figures(far)["convergence"])


@settings(max_examples=6, deadline=None, suppress_health_check=SLOW)
@given(run=SUMMARIES)
def test_any_run_can_be_drawn(run: RunSummary) -> None:
    drawn = figures.figures(run)
    for svg in drawn.values():
        ElementTree.fromstring(svg)
    assert not Page(html.page(run, drawn)).open


# --- writing --------------------------------------------------------------------------------------


def test_report_is_written_whole(tmp_path: Path) -> None:
    paths = write_report(only_trials(), tmp_path / "result")
    names = {str(path.relative_to(tmp_path / "result")) for path in paths}
    assert {"report.md", "report.html", "figures/convergence.svg"} <= names
    on_disk = {p for p in (tmp_path / "result").rglob("*") if p.is_file()}
    assert on_disk == set(paths)  # no temporary file is left
    made = (tmp_path / "result" / "report.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\((figures/[^)]*)\)", made):
        assert (tmp_path / "result" / link).is_file()
    first = {path: path.read_bytes() for path in paths}
    write_report(only_trials(), tmp_path / "result")
    assert {path: path.read_bytes() for path in paths} == first


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "result").write_text("a file")
    with pytest.raises(EnvironmentProblem) as caught:
        write_report(improved(), tmp_path / "result")
    assert str(tmp_path / "result") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_room_keeps_the_old_report_and_leaves_no_rubbish(tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in write_report(only_trials(), tmp_path)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(EnvironmentProblem, match=r"^cannot write [^\n]*File too large[^\n]*$"):
            write_report(replace(only_trials(), seed=8), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
