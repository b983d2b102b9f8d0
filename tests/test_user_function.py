"""A user's own function: what it is told, what it may do, and what becomes of its mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcagent.errors import UsageError
from hpcagent.records import Config, Failure, Limits, Message, Param, Proposal, Reply, Stop, Trial
from hpcagent.search import guided
from hpcagent.search.function_call import Bounds, Called, call
from hpcagent.search.function_file import EXAMPLE, digest, read_function
from hpcagent.search.function_talk import read_analysis, request
from hpcagent.search.options import FunctionCall, Options
from hpcagent.search.space import Space
from hpcagent.search.surrogate import Surrogate
from hpcagent.search.user_function import UserFunction, create
from hpcagent.study.function_words import function_warnings
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState

SPACE = Space(
    (
        Param("threads", "ordinal", ("1", "2", "4", "8"), "4", "how many"),
        Param("core", "categorical", ("auto", "ZEN", "HASWELL"), "auto"),
    ),
    ("core == 'auto' or threads >= 2",),
)
ROOT = Path(__file__).resolve().parent.parent
QUICK = Bounds(seconds=20.0, memory_bytes=1 << 30, answer_bytes=1 << 16, log_bytes=1 << 20)
ASKED = {"space": {"problem": ""}, "history": []}


def config(threads: str, core: str) -> Config:
    return Config.of({"threads": threads, "core": core})


def first() -> list[Trial]:
    return [Trial(SPACE.default, 0.0, 0.0, None, 0, "default")]


def written(folder: Path, body: str, head: str = "") -> Path:
    path = folder / "mine.py"
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    path.write_text(f"{head}\ndef propose(space, history):\n{lines}\n")
    return path


def called(folder: Path, body: str, head: str = "", bounds: Bounds = QUICK) -> Called:
    return call(written(folder, body, head), "propose", ASKED, bounds)


def proposed(
    path: Path, history: Sequence[Trial], k: int = 2, bounds: Bounds = QUICK
) -> tuple[tuple[Proposal, ...] | Stop, list[FunctionCall]]:
    told: list[FunctionCall] = []
    strategy = UserFunction(Options(function=str(path), told=told.append), bounds)
    return strategy.propose(SPACE, history, [], k, 1), told


# --- one call --------------------------------------------------------------------------------


def test_the_answer_comes_back_and_prints_are_kept_apart(tmp_path: Path) -> None:
    body = "import sys\nprint('{\"value\": 1}')\nprint('err', file=sys.stderr)\nreturn {'a': '1'}"
    found = called(tmp_path, body)
    assert (found.value, found.kind, found.problem) == ({"a": "1"}, "", "")
    assert '{"value": 1}' in found.log and "err" in found.log


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("raise ValueError('no idea')", "raised", "ValueError: no idea (mine.py, line 3)"),
        ("raise KeyError", "raised", "it raised KeyError (mine.py, line 3)"),
        ("raise RuntimeError('first\\nsecond\\n' + 'y' * 50000)", "raised",
         "it raised RuntimeError: first ... (mine.py, line 3)"),
        ("raise RuntimeError('y' * 50000)", "raised", "RuntimeError: yyy"),
        ("import json; json.loads('[')", "raised", "it raised json.decoder.JSONDecodeError: "),
        ("class Mine(Exception):\n    def __str__(self): raise OSError\nraise Mine", "raised",
         "it raised propose.<locals>.Mine (mine.py, line 5)"),
        ("exec('x = (')", "raised", "it raised SyntaxError: '(' was never closed (<string>, "),
        ("import sys\nsys.excepthook = print\nraise KeyError('x')", "raised", "it raised "),
        ("import os; os._exit(0)", "ended", "exited with code 0 and gave no answer"),
        ("import sys; sys.exit(7)", "ended", "exited with code 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended", "SIGSEGV"),
        ("x = bytearray(4 << 30)", "raised", "MemoryError"),
        ("while True: print('x' * 1000)", "output", "it wrote more than 1 MiB"),
        ("return 'x' * (1 << 20)", "output", "it wrote more than"),
        ("import os\nfor n in range(3, 99):\n    try: os.write(n, b'hello')\n"
         "    except OSError: pass\nos._exit(0)", "nonsense", "b'hello'"),
    ],
)  # fmt: skip
def test_what_goes_wrong_has_a_kind_and_one_line(
    tmp_path: Path, body: str, kind: str, words: str
) -> None:
    found = called(tmp_path, body)
    assert found.kind == kind and words in found.problem and "\n" not in found.problem
    assert found.value is None and len(found.problem) < 300


def test_an_answer_that_is_no_plain_data_is_no_exception(tmp_path: Path) -> None:
    """What JSON cannot hold is left out and shown; the function raised nothing."""
    body = (
        "round_about = {'good': '1'}\n"
        "round_about['self'] = round_about\n"
        "shared = ['2']\n"
        "return {'a': float('nan'), 'b': [1, float('inf'), 2.5], 'c': round_about, 'd': object(),\n"
        "    'e': {'f': {1}}, (1, 2): True, 4: None, 'g': [shared, shared], 'h': 10 ** 5000}"
    )
    found = called(tmp_path, body)
    assert (found.kind, found.problem) == ("", "")
    assert found.value == {
        "b": [1, 2.5], "c": {"good": "1"}, "e": {}, "(1, 2)": True, "4": None, "g": [["2"], ["2"]],
    }  # fmt: skip
    assert found.odd is not None
    assert found.odd.parts[:2] == (("a", "nan"), ("b.1", "inf"))
    assert found.odd.parts[2][0] == "c.self" and found.odd.parts[3] == ("d", "<object object>")


def test_what_a_forked_process_raises_is_not_the_answer(tmp_path: Path) -> None:
    body = "import os\npid = os.fork()\nif not pid: raise KeyError\nos.waitpid(pid, 0)\nreturn '7'"
    assert called(tmp_path, body).value == "7"


def test_too_much_is_told_with_the_bound_that_it_was_too_much_for(tmp_path: Path) -> None:
    bounds = Bounds(seconds=20.0, memory_bytes=1 << 30, answer_bytes=1 << 20, log_bytes=2 << 20)
    printed = called(tmp_path, "while True: print('x' * 1000)", bounds=bounds)
    assert printed.problem == "it wrote more than 2 MiB and was ended"
    answered = called(tmp_path, "return 'x' * (1 << 20)", bounds=bounds)
    assert answered.problem == "it wrote more than 1 MiB and was ended"


def test_an_endless_loop_is_ended(tmp_path: Path) -> None:
    found = called(tmp_path, "while True: pass", bounds=Bounds(seconds=0.5))
    assert found.kind == "timeout" and "no answer within 0.5 s" in found.problem


def test_a_file_that_cannot_be_loaded_is_a_problem_of_the_call(tmp_path: Path) -> None:
    found = called(tmp_path, "return {}", head="import nothing_of_that_name")
    assert "No module named 'nothing_of_that_name' (mine.py, line 1)" in found.problem
    assert "No such file" in call(tmp_path / "gone.py", "propose", ASKED, QUICK).problem


FORKED = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open({mark!r}, "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not os.path.exists({mark!r}) or not open({mark!r}).read():
    time.sleep(0.01)
{end}
"""


@pytest.mark.parametrize("end", ["return {'a': '1'}", "time.sleep(600)"])
def test_nothing_that_it_forks_outlives_the_call(tmp_path: Path, end: str) -> None:
    """A daemon in a session of its own, which holds all pipes open."""
    mark = tmp_path / "pid"
    body = FORKED.format(mark=str(mark), end=end).strip()
    found = called(tmp_path, body, bounds=Bounds(seconds=3.0))
    assert found.kind == ("" if end.startswith("return") else "timeout")
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_it_runs_without_standard_input_or_our_modules_in_front(tmp_path: Path) -> None:
    """Files of ours such as search/random.py must not stand in for the standard library's."""
    (tmp_path / "helper.py").write_text("ANSWER = '8'\n")
    body = "import helper, random, sys\nrandom.random()\nreturn [helper.ANSWER, sys.stdin.read()]"
    assert called(tmp_path, body).value == ["8", ""]


def test_what_was_started_ends_with_the_agent(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    body = f"import os, time\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    path = written(tmp_path, body)
    code = (
        "from pathlib import Path; from hpcagent.search.function_call import Bounds, call;"
        f"call(Path({str(path)!r}), 'propose', {ASKED!r}, Bounds(seconds=600.0))"
    )
    agent = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: mark.exists() and mark.read_text() != "")
    agent.kill()
    agent.wait()
    wait_until(lambda: not Path(f"/proc/{mark.read_text()}").exists())


def wait_until(holds: Any) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- what it is told, and what it answers ----------------------------------------------------


def test_what_it_is_told_is_plain_and_complete() -> None:
    history = [
        *first(),
        Trial(config("8", "auto"), -0.1, 0.02, None, 1, "surrogate"),
        Trial(config("1", "auto"), None, None, Failure("run", "signal", "SIGILL"), 1, "surrogate"),
        Trial(config("2", "auto"), float("nan"), -1.0, None, 2, "surrogate"),
    ]
    asked = request(SPACE, history, [config("2", "ZEN")], {"processor": "x"}, 5, "try again")
    assert json.loads(json.dumps(asked, allow_nan=False)) == asked
    assert asked["space"]["default"] == {"threads": "4", "core": "auto"}
    assert asked["space"]["params"][0]["values"] == ["1", "2", "4", "8"]
    assert asked["space"]["restrictions"] == list(SPACE.restrictions)
    assert asked["space"]["problem"] == "try again" and asked["space"]["seed"] == 5
    states = [entry["status"] for entry in asked["history"]]
    assert states == ["measured", "measured", "failed", "not measured", "pending"]
    assert asked["history"][1]["ratio"] == pytest.approx(0.9048, abs=1e-4)
    assert asked["history"][1]["error"] == pytest.approx(0.0181, abs=1e-4)
    assert asked["history"][2]["failure"] == "run.signal"


def test_it_chooses_and_may_stop_with_words(tmp_path: Path) -> None:
    body = (
        "tried = [entry['config'] for entry in history]\n"
        "wanted = {'threads': 8, 'core': 'ZEN'}\n"
        "if {'threads': '8', 'core': 'ZEN'} not in tried: return wanted\n"
        "return 'STOP: good enough\\x1b[31m'"
    )
    path = written(tmp_path, body)
    found, told = proposed(path, first())
    assert isinstance(found, tuple)
    assert [(p.config, p.proposed_by) for p in found] == [(config("8", "ZEN"), "user-function")]
    assert [record.problem for record in told] == ["", ""]
    past = [*first(), Trial(config("8", "ZEN"), -0.1, 0.01, None, 1, "user-function")]
    end, _ = proposed(path, past)
    assert end == Stop("the user's function said STOP: good enough [31m")


def test_the_default_comes_first(tmp_path: Path) -> None:
    found, told = proposed(written(tmp_path, "return {'threads': '8', 'core': 'auto'}"), [], k=2)
    assert isinstance(found, tuple)
    assert [p.config for p in found] == [SPACE.default, config("8", "auto")] and len(told) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 7", "it returned 7; return {name: value, ...} or 'STOP'"),
        ("return None", "it returned None"),
        ("return float('nan')", "it returned nan; return {name: value, ...} or 'STOP'"),
        ("return [-float('inf')]", "it returned [-inf]; return {name: value, ...} or 'STOP'"),
        ("yield 1", "it returned <generator object propose>; return {name: value"),
        ("return b'STOP'", "it returned b'STOP'; return {name: value"),
        ("return {1}", "it returned {1}; return {name: value"),
        ("class Bad:\n    def __repr__(self): raise OSError\nreturn Bad()",
         "it returned <Bad instance>; return {name: value"),
        ("return {'threads': float('nan'), 'core': 'auto'}", "threads: nan is no value; give"),
        ("found = {'threads': '8'}\nfound['core'] = found\nreturn found", "core: {'core': {"),
        ("return {'threads': '8'}", "parameter 'core' is missing"),
        ("return {'threads': '3', 'core': 'auto'}", "is not one of"),
        ("return {'threads': '1', 'core': 'ZEN'}", "breaks the restriction"),
        ("return {'threads': ['8'], 'core': 'ZEN'}", "is no value; give texts"),
        ("return {'threads': '4', 'core': 'auto'}", "was tried before"),
        ("raise KeyError('x')", "KeyError: 'x'"),
    ],
)  # fmt: skip
def test_three_bad_answers_and_the_surrogate_fills_the_round(
    tmp_path: Path, body: str, words: str
) -> None:
    found, told = proposed(written(tmp_path, body), first())
    assert isinstance(found, tuple) and len(found) == 2
    assert {p.proposed_by for p in found} == {"surrogate"}
    assert "in place of the user's function" in found[0].reason and words in found[0].reason
    assert [record.number for record in told] == [1, 2, 3]
    assert all(words in record.problem for record in told)


def test_a_space_of_one_point_ends_before_the_function_is_asked(tmp_path: Path) -> None:
    told: list[FunctionCall] = []
    path = written(tmp_path, "return 7")
    strategy = UserFunction(Options(function=str(path), told=told.append), QUICK)
    only = Space(SPACE.params, ("threads == 4 and core == 'auto'",))
    found = strategy.propose(only, first(), [], 2, 1)
    assert isinstance(found, Stop) and "leave only one configuration" in found.reason
    alone = Surrogate().propose(only, first(), [], 2, 1)
    assert alone == found and not told


def test_the_words_about_a_bad_answer_reach_the_function(tmp_path: Path) -> None:
    body = (
        "if 'restriction' in space['problem']: return {'threads': '2', 'core': 'ZEN'}\n"
        "return {'threads': '1', 'core': 'ZEN'}"
    )
    found, told = proposed(written(tmp_path, body), first(), k=1)
    assert isinstance(found, tuple) and found[0].config == config("2", "ZEN")
    assert len(told) == 2


def test_a_loop_is_not_tried_again_in_a_round(tmp_path: Path) -> None:
    path = written(tmp_path, "while True: pass")
    found, told = proposed(path, first(), bounds=Bounds(seconds=0.4))
    assert isinstance(found, tuple) and len(found) == 2 and len(told) == 1


def test_after_two_rounds_in_vain_it_is_not_asked_any_more(tmp_path: Path) -> None:
    path = written(tmp_path, "return {'threads': '8', 'core': 'ZEN'}")
    past = [
        *first(),
        Trial(config("8", "auto"), 0.0, 0.01, None, 1, "user-function"),
        Trial(config("1", "auto"), 0.0, 0.01, None, 2, "surrogate"),
        Trial(config("2", "auto"), 0.0, 0.01, None, 3, "surrogate"),
    ]
    found, told = proposed(path, past)
    assert isinstance(found, tuple) and not told
    assert "no answer of use in 2 rounds" in found[0].reason
    again, told = proposed(path, past[:3], k=1)
    assert isinstance(again, tuple) and told and again[0].proposed_by == "user-function"
    advised = [*past[:3], Trial(config("2", "auto"), 0.0, 0.01, None, 3, "user")]
    assert proposed(path, advised, k=1)[1]


# --- the file --------------------------------------------------------------------------------


def test_the_example_is_a_whole_search(tmp_path: Path) -> None:
    file = read_function(str(EXAMPLE), "propose")
    assert file.sha256 == digest(EXAMPLE) and read_function(str(EXAMPLE), "analyse") == file
    strategy = create(Options(function=str(EXAMPLE)))
    history: list[Trial] = []
    for turn in range(6):
        found = strategy.propose(SPACE, history, [], 3, turn)
        if isinstance(found, Stop):
            break
        for proposal in found:
            assert proposal.proposed_by == "user-function"
            ratio = 0.1 * abs(int(proposal.config.values["threads"]) - 8)
            history.append(Trial(proposal.config, ratio, 0.01, None, turn, "user-function"))
    assert isinstance(found, Stop)
    assert min(history, key=lambda t: t.log_ratio or 0.0).config.values["threads"] == "8"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--function", "gone.py"), "gone.py: cannot be read: No such file"),
        (("--function", "bad.py"), "bad.py:1: propose must take (space, history)"),
        (("--function", "good.py", "--strategy", "random"), "calls no --function"),
        (("--strategy", "user-function"), "needs --function FILE.py"),
        (("--strategy", "guided", "--function", "good.py"), "needs --model FILE"),
        (("--target", "0.9"), "--target '0.9'"),
    ],
)
def test_the_command_refuses_in_one_line(
    tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    (tmp_path / "bad.py").write_text("def propose(space): pass")
    (tmp_path / "good.py").write_text("def propose(space, history): pass")
    done = hpcagent(tmp_path, "tune", "--lib", "openblas", *words)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert expected in done.stderr


def test_the_command_repeats_itself_and_prints_an_example(tmp_path: Path) -> None:
    shown = hpcagent(tmp_path, "tune", "--function-example")
    assert shown.returncode == 0 and shown.stdout == EXAMPLE.read_text()
    (tmp_path / "mine.py").write_text(shown.stdout)
    words = ("tune", "--lib", "openblas", "--function", "mine.py", "--target", "1.25", "--dry-run")
    assert hpcagent(tmp_path, *words).returncode == 0
    settings = TuneSettings(
        "openblas", 1, "local", "user-function", 3, 4, function="/x/mine.py", target=1.25,
        history="/x/history", confirm_jobs=2,
    )  # fmt: skip
    again = settings.command()
    assert "--strategy" not in again
    assert " ".join(again[-4:]) == "--function /x/mine.py --target 1.25x"
    assert TuneSettings.from_json(settings.to_json()) == settings


def test_the_configuration_is_checked(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def propose(space): pass")
    (tmp_path / "hpcagent.toml").write_text('function = "mine.py"\ntarget = "2y"\n')
    done = hpcagent(tmp_path, "config", "check")
    assert done.returncode == 2
    told = " ".join(done.stdout.split())
    assert "propose must take (space, history)" in told and "--target '2y'" in told


def hpcagent(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HPCAGENT_RUNS": str(folder / "runs")}
    return subprocess.run(
        [sys.executable, "-m", "hpcagent", *words],
        cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def other(space, history): pass", "must define propose"),
        ("def propose(space): pass", r"mine.py:1: propose must take \(space, history\)"),
        ("def propose(a, b, c): pass", r"must take \(space, history\)"),
        ("def propose(a, b, *, c): pass", r"must take \(space, history\)"),
        ("\nasync def propose(space, history): pass", "mine.py:2: propose must be a plain"),
        ("x = 1\ndef propose(:", "mine.py:2: "),
        ("x = '\0'", "null bytes"),
        ("if True:\n    def propose(space, history): pass", "at its top level"),
    ],
)
def test_a_file_that_cannot_serve_is_refused_before_the_run(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        read_function(str(path), "propose")
    assert "\n" not in str(caught.value)


def test_a_missing_or_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_function(str(tmp_path / "gone.py"), "propose")
    with pytest.raises(UsageError, match=r"--function: .*cannot be read"):
        read_function(str(tmp_path), "propose")
    (tmp_path / "huge.py").write_text("#" * (1 << 20) + "\n")
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        read_function(str(tmp_path / "huge.py"), "propose")


def test_a_pipe_is_refused_before_it_is_waited_for(tmp_path: Path) -> None:
    """Nobody writes to it; a link to a file is as good as the file."""
    os.mkfifo(tmp_path / "pipe.py")
    for more in ([], ["--dry-run"]):
        done = hpcagent(tmp_path, "tune", "--lib", "openblas", "--function", "pipe.py", *more)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
        assert "pipe.py: not a regular file" in done.stderr and not done.stdout
    (tmp_path / "link.py").symlink_to(EXAMPLE)
    assert read_function(str(tmp_path / "link.py"), "propose").sha256 == digest(EXAMPLE)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.py", "pipe.py"]


# --- guided ----------------------------------------------------------------------------------


class Listening:
    """Asks for what the surrogate would not take by itself."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        alone = Surrogate().propose(SPACE, first(), [], 4, 1)
        assert not isinstance(alone, Stop)
        taken = [SPACE.default, *(proposal.config for proposal in alone)]
        self.wish = next(point for point in SPACE.points() if point not in taken)

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], limits: Limits, seed: int
    ) -> Reply:
        self.heard.append(messages[-1].text)
        return Reply(json.dumps({"reason": "ok", "config": self.wish.values}))


def heard(folder: Path, body: str) -> tuple[str, list[FunctionCall]]:
    path = folder / "mine.py"
    path.write_text(f"def analyse(space, history):\n    {body}\n")
    model, told = Listening(), list[FunctionCall]()
    options = Options(model=model, function=str(path), told=told.append)
    found = guided.create(options).propose(SPACE, first(), [], 4, 1)
    assert isinstance(found, tuple) and found[-1].proposed_by == "model"
    return model.heard[0], told


def test_the_analysis_is_in_the_prompt(tmp_path: Path) -> None:
    text, told = heard(tmp_path, "return {'cache misses': {'L2': 0.123456789}, 'hint': 'a\\nb'}")
    assert (
        "Analysis by a function of the user:\ncache misses.L2: 0.123457\nhint: a\nhint: b" in text
    )
    assert told[0].problem == ""


def test_without_an_analysis_the_model_chooses_all_the_same(tmp_path: Path) -> None:
    text, told = heard(tmp_path, "raise RuntimeError('broken')")
    assert "Analysis" not in text and "RuntimeError: broken" in told[0].problem


def test_the_rest_of_an_analysis_is_kept_and_told(tmp_path: Path) -> None:
    text, told = heard(tmp_path, "return {'bad': {'worse': float('nan')}, 'good': 7, 'odd': {1}}")
    assert "Analysis by a function of the user:\ngood: 7\n" in text and "nan" not in text
    assert told[0].partly
    assert told[0].problem == (
        "left out, for no finite number, text, list or dict: bad.worse (nan), odd ({1})"
    )
    text, told = heard(tmp_path, "return {'bad': float('inf')}")
    assert "Analysis" not in text and "bad (inf)" in told[0].problem and not told[0].partly
    text, told = heard(tmp_path, "yield 1")
    assert "it returned <generator object analyse>; return a dict, a list" in told[0].problem
    assert "Analysis" not in text and not told[0].partly
    text, told = heard(tmp_path, "pass")
    assert "Analysis" not in text and told[0].problem == ""


def test_a_result_tells_what_a_round_lacked_and_where_more_is() -> None:
    """The log is named where a report that cuts long warnings (300 characters) still has it."""
    settings = TuneSettings("openblas", 1, "local", "guided", 3, 4)
    failed: dict[str, dict[str, Any]] = {
        f"function-{n}": {"reason": "it raised " + "x" * 400} for n in range(2, 40)
    }
    partly = {"function-40": {"reason": "left out: a (nan)", "partly": True}}
    state = TuneState(settings, "", "", decisions={**failed, **partly})
    missing, without = function_warnings(state)
    assert missing.startswith(
        "the analysis by the user's function was missing from the prompt in round 2, 3, 4, 5, 6, 7,"
        " 8, 9 and 30 more; see function.log (last: it raised xxx"
    )
    assert "without some of its parts in round 40; see function.log (last: left out: a" in without
    alone = TuneState(replace(settings, strategy="user-function"), "", "", decisions=failed)
    (filled,) = function_warnings(alone)
    assert "surrogate chose) in round 2, 3" in filled and "prompt" not in filled
    assert filled.index("see function.log") < 270


def test_an_analysis_is_bounded_and_harmless() -> None:
    text = read_analysis({f"k{n}": "\x1b[31m\u202e" + "x" * 900 for n in range(500)})
    lines = text.splitlines()
    assert len(lines) == 41 and lines[-1] == "(460 more lines are left out)"
    assert text.replace("\n", "").isprintable() and text.isascii()
    assert max(map(len, lines)) <= 160
    assert read_analysis({}) == read_analysis("") == ""
    deep: Any = "end"
    for _ in range(50):
        deep = {"a": deep}
    assert len(read_analysis(deep)) <= 160


def test_the_options_that_are_missing_are_named() -> None:
    with pytest.raises(UsageError, match="--function"):
        create(Options())
    with pytest.raises(UsageError, match="--model"):
        guided.create(Options(function="x.py"))
