"""Recorded surfaces as files: what is read, what is one number, what is refused in one line."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

from surface_files import load
from surface_head import BadSurface

from hpcagent.records import Config

HEADER = "a,b,status,samples"
ROWS = ("1,x,ok,0.5;0.6", "1,y,ok,0.7", "16,x,ok,0.2", "16,y,timeout,")
TEXT = "\n".join((HEADER, *ROWS)) + "\n"
A, B = [
    {"name": "a", "kind": "ordinal", "values": [1, 16]},
    {"name": "b", "kind": "categorical", "values": ["x", "y"]},
]
HEAD = {
    "name": "s", "objective": {"unit": "s", "direction": "min"}, "params": [A, B],
    "default": {"a": 1, "b": "x"}, "points": 4,
}  # fmt: skip
POINT = Config.of({"a": "16", "b": "x"})


def written(folder: Path, head: object = HEAD, text: str = TEXT, name: str = "s") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(head), encoding="utf-8")
    (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def refusal(*folders: Path) -> str:
    with pytest.raises(BadSurface) as caught:
        load(*folders)
    words = str(caught.value)
    assert "\n" not in words and "Error(" not in words
    return words


def with_a(**changes: Any) -> dict[str, Any]:
    return {**HEAD, "params": [{**A, **changes}, B]}


def instead(number: int, row: str) -> str:
    return TEXT.replace(ROWS[number], row)


HEADS = {
    "another direction": ({**HEAD, "objective": {"direction": "up"}}, "'up'; expected min"),
    "no direction": ({**HEAD, "objective": {"direction": None}}, "direction is null; expected min"),
    "no objective": ({**HEAD, "objective": "s"}, "no objective; expected {unit, direction}"),
    "a list": ([], "no surface: expected an object with name"),
    "something else": ({"a": 1}, "no surface: expected an object with name"),
    "params is empty": ({**HEAD, "params": []}, "params is no list of parameters"),
    "no name": ({**HEAD, "name": None}, "name is null; expected a word"),
    "a parameter without name": ({**HEAD, "params": [A, {}]}, "parameter 2 has no name"),
    "a parameter twice": ({**HEAD, "params": [A, A]}, "the parameter 'a' is there twice"),
    "a parameter called status": (with_a(name="status"), "a parameter is called status"),
    "another kind": (with_a(kind="integer"), "the kind of 'a' is 'integer'; expected ordinal or"),
    "values as a text": (with_a(values="1248"), "'a' has no list of values"),
    "no value": (with_a(values=[]), "'a' has no list of values"),
    "a value twice": (with_a(values=[1, 16, "1"]), "the value '1' of 'a' is there twice"),
    "half a character": (with_a(values=["\ud800"]), "not UTF-8"),
    "default as a list": ({**HEAD, "default": [1, "x"]}, 'default is [1, "x"]; expected {param'),
    "default incomplete": ({**HEAD, "default": {"a": 1}}, "default lacks 'b'; expected"),
    "default with more": ({**HEAD, "default": {"a": 1, "b": "x", "c": 2}}, "default has 'c';"),
    "default not listed": ({**HEAD, "default": {"a": 3, "b": "x"}}, "'3' is none of the values"),
    "default that fails": ({**HEAD, "default": {"a": 16, "b": "y"}}, "a=16 b=y has no row that"),
}


@pytest.mark.parametrize(("head", "words"), HEADS.values(), ids=HEADS.keys())
def test_a_head_that_could_be_read_in_two_ways_is_refused(
    head: object, words: str, tmp_path: Path
) -> None:
    told = refusal(written(tmp_path, head))
    assert told.startswith(f"{tmp_path}/s.json: ") and words in told


TEXTS = {
    "semicolons": (TEXT.replace(",", ";"), 1, "no column 'a', 'b', 'status', 'samples'; expected"),
    "no status": (TEXT.replace("status", "state"), 1, "no column 'status'; expected"),
    "a column twice": (TEXT.replace("samples\n", "samples,a\n"), 1, "column 'a' is there twice"),
    "a short row": (instead(2, "16,x,ok"), 4, "3 fields, where the header has 4"),
    "a long row": (instead(2, "16,x,ok,0.2,z"), 4, "5 fields, where the header has 4"),
    "a short row after a blank one": (instead(2, "\n16,x,ok"), 5, "3 fields"),
    "an empty cell": (instead(2, ",x,ok,0.2"), 4, "'' is none of the values of 'a': 1, 16"),
    "a value not listed": (instead(2, "3,x,ok,0.2"), 4, "'3' is none of the values of 'a': 1, 16"),
    "no word of a status": (instead(2, "16,x,,"), 4, "no status; expected ok or the kind"),
    "ok without samples": (instead(2, "16,x,ok,"), 4, "'' among the samples; expected positive"),
    "a word": (instead(2, "16,x,ok,abc"), 4, "'abc' among the samples"),
    "infinite": (instead(2, "16,x,ok,1e400"), 4, "'1e400' among the samples"),
    "negative": (instead(2, "16,x,ok,-1"), 4, "'-1' among the samples"),
    "digits apart": (instead(2, "16,x,ok,1_000"), 4, "'1_000' among the samples"),
    "a huge cell": (instead(2, "16,x,ok," + "1;" * 70000 + "1"), 4, "a cell has 131072 characters"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "words"), TEXTS.values(), ids=TEXTS.keys())
def test_a_row_that_could_be_read_in_two_ways_is_refused_with_its_line(
    text: str, line: int, words: str, tmp_path: Path
) -> None:
    told = refusal(written(tmp_path, {**HEAD, "points": None}, text))
    assert told.startswith(f"{tmp_path}/s.csv.gz:{line}: ") and words in told


def test_no_row_is_no_surface(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, text=HEADER + "\n")).endswith("s.csv.gz: no rows")
    assert "empty; expected a header line" in refusal(written(tmp_path, text=""))


# Of a text long enough to be damaged in the middle.
LONG = TEXT.replace("0.5;0.6", ";".join(f"{n / 997:.6f}" for n in range(1, 900)))
DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "in the middle": (lambda raw: raw[:400] + bytes(200) + raw[600:], "a whole file of gzip"),
    "cut": (lambda raw: raw[:400], "a whole file of gzip"),
    "no gzip": (gzip.decompress, "a whole file of gzip"),
    "Latin-1": (lambda raw: gzip.compress(b"\xfc" + gzip.decompress(raw)), "not UTF-8"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_named(
    damage: Callable[[bytes], bytes], words: str, tmp_path: Path
) -> None:
    path = written(tmp_path, text=LONG) / "s.csv.gz"
    assert load(tmp_path)[0].repeats == 899
    path.write_bytes(damage(path.read_bytes()))
    told = refusal(tmp_path)
    assert told.startswith(f"{path}: ") and words in told


def test_what_is_missing_or_no_json_is_named(tmp_path: Path) -> None:
    (written(tmp_path) / "s.csv.gz").unlink()
    assert refusal(tmp_path).startswith(f"{tmp_path}/s.csv.gz: not there")
    (tmp_path / "s.json").write_text('{"name": "s",\n', encoding="utf-8")
    assert refusal(tmp_path).startswith(f"{tmp_path}/s.json:2: no JSON: ")
    (tmp_path / "s.json").write_text(f"[{'9' * 5000}]", encoding="utf-8")
    assert "a whole number has thousands of digits" in refusal(tmp_path)
    (tmp_path / "s.json").write_text("[" * 100_000, encoding="utf-8")
    assert "nested too deeply" in refusal(tmp_path)
    assert "no NAME.json of a surface there" in refusal(tmp_path / "nowhere")


def test_two_surfaces_of_one_name_are_refused_with_both_files(tmp_path: Path) -> None:
    one, two = written(tmp_path / "one"), written(tmp_path / "two", name="t")
    for second, folders in ((two / "t.json", (one, two)), (one / "s.json", (one, one))):
        told = refusal(*folders)
        assert str(second) in told and str(one / "s.json") in told


SAME = {
    "numbers as floats": (HEAD, TEXT.replace("16,", "16.0,")),
    "an exponent": (HEAD, TEXT.replace("16,", "1.6e1,")),
    "floats in the list": (with_a(values=[1.0, 16.0]), TEXT),
    "the default as a float": ({**HEAD, "default": {"a": 1.0, "b": "x"}}, TEXT),
    "the default as a text": ({**HEAD, "default": {"a": "1", "b": "x"}}, TEXT),
    "OK": (HEAD, TEXT.replace("ok", " OK ")),
    "kinds in capitals": (with_a(kind="Ordinal"), TEXT),
    "a direction in capitals": ({**HEAD, "objective": {"unit": "s", "direction": "MIN"}}, TEXT),
    "blanks around samples": (HEAD, TEXT.replace(";", " ; ")),
    "CR LF": (HEAD, TEXT.replace("\n", "\r\n")),
    "CR only": (HEAD, TEXT.replace("\n", "\r")),
    "a blank line": (HEAD, TEXT.replace("\n1,y", "\n\n1,y")),
    "another column": (HEAD, "\n".join(f"z,{row}" for row in TEXT.splitlines())),
    "rows twice": ({**HEAD, "points": 6}, TEXT + ROWS[0] + "\n" + ROWS[3] + "\n"),
    "points as words": ({**HEAD, "points": "many"}, TEXT),
}


@pytest.mark.parametrize(("head", "text"), SAME.values(), ids=SAME.keys())
def test_what_says_the_same_is_the_same_surface(
    head: dict[str, Any], text: str, tmp_path: Path
) -> None:
    (plain,), (other,) = load(written(tmp_path / "1")), load(written(tmp_path / "2", head, text))
    assert list(other.samples.values()) == list(plain.samples.values())
    assert other.default in other.truth
    if other.params == plain.params:
        assert (other.samples, other.digest) == (plain.samples, plain.digest)


ODD = {
    "points": ({**HEAD, "points": 5}, TEXT, ".csv.gz has 4 rows; is it whole?", (0.2,)),
    "more results": (
        {**HEAD, "points": 5}, TEXT + "16.0,x,ok,0.3\n",
        ".csv.gz:6: other results of the configuration of line 4", (0.2, 0.3),
    ),
    "a failure as well": (
        {**HEAD, "points": 5}, TEXT + "16,x,timeout,\n",
        ".csv.gz:6: other results of the configuration of line 4", (0.2,),
    ),
    "samples of a failure": (
        HEAD, instead(2, "16,x,wrong_result,0.2"),
        ".csv.gz:4: samples beside the status 'wrong_result', which is not ok", (),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("head", "text", "words", "taken"), ODD.values(), ids=ODD.keys())
def test_what_is_odd_is_taken_as_it_is_meant_and_said(
    head: dict[str, Any], text: str, words: str, taken: tuple[float, ...], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert load(written(tmp_path, head, text))[0].samples[POINT] == taken
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: ") and words in line


def test_a_byte_order_mark_is_no_letter(tmp_path: Path) -> None:
    for path in (written(tmp_path) / "s.json", tmp_path / "s.csv.gz"):
        packed = path.suffix == ".gz"
        raw = path.read_bytes()
        plain = b"\xef\xbb\xbf" + (gzip.decompress(raw) if packed else raw)
        path.write_bytes(gzip.compress(plain) if packed else plain)
    assert load(tmp_path)[0].samples[POINT] == (0.2,)


def test_a_list_that_tells_texts_of_one_number_apart_takes_these_texts_only(tmp_path: Path) -> None:
    head = {**with_a(values=["1", "1.0", "16"]), "points": None}
    text = TEXT + "1.0,x,ok,0.4\n"
    samples = load(written(tmp_path, head, text))[0].samples
    assert [samples[Config.of({"a": a, "b": "x"})] for a in ("1", "1.0")] == [(0.5, 0.6), (0.4,)]
    assert "'1.00' is none of the values" in refusal(written(tmp_path, head, text + "1.00,y,ok,1"))
    assert "'16.0' is none of the values" in refusal(written(tmp_path, head, text + "16.0,y,ok,1"))


def test_choices_that_are_words_are_no_numbers(tmp_path: Path) -> None:
    head = with_a(values=["1", "16", "auto"], kind="categorical")
    assert "'16.0' is none of the values" in refusal(
        written(tmp_path, head, instead(2, "16.0,x,ok,0.2"))
    )


def test_null_among_the_values_is_none(tmp_path: Path) -> None:
    head = with_a(values=[1, None], kind="categorical")
    assert load(written(tmp_path, head, TEXT.replace("16,", "None,")))[0].best == 0.2
    assert "'' is none of the values of 'a': 1, None (null is written None)" in refusal(
        written(tmp_path, head, TEXT.replace("16,", ","))
    )


def test_more_is_better_where_the_head_says_so(tmp_path: Path) -> None:
    head = {**HEAD, "objective": {"unit": "GFLOP/s", "direction": "max"}}
    assert load(written(tmp_path, head))[0].quality(POINT) == pytest.approx(0.2 / 0.7)
    # Its inverse is infinite.
    assert "'5e-324' among" in refusal(written(tmp_path, head, instead(2, "16,x,ok,5e-324")))


@pytest.mark.parametrize("text", [instead(2, "16,x,ok,0.3"), instead(1, "1,y,timeout,")])
def test_other_results_have_another_digest(text: str, tmp_path: Path) -> None:
    (one,), (other,) = load(written(tmp_path / "1")), load(written(tmp_path / "2", text=text))
    assert one.digest != other.digest
