from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.apps.workload import (
    MAX_DIMENSION,
    ROUTINES,
    default_workload,
    load_workload,
    workload_from,
)
from hpcagent.errors import UsageError


def write(folder: Path, text: str) -> Path:
    path = folder / "mix.yaml"
    path.write_text(text)
    return path


def test_a_user_workload_is_read_and_normalised(tmp_path: Path) -> None:
    text = """\
schema: 1
cases:
  - {routine: dgemm, m: 10, n: 20, k: 30, transb: T, weight: 3}
  - {routine: dpotrf, n: 64}
"""
    first, second = load_workload(write(tmp_path, text)).cases
    assert (first.key, first.weight) == ("dgemm_10x20x30_NT", 0.75)
    assert (second.key, second.weight) == ("dpotrf_64", 0.25)
    assert first.flops == 2 * 10 * 20 * 30


@pytest.mark.parametrize(
    ("written", "meant"),
    [("1e3", 1000.0), ("1.5e2", 150.0), ("1e-2", 0.01), ("2.E1", 20.0), (".5e1", 5.0), ("7", 7.0)],
)
def test_a_weight_may_be_written_as_people_write_numbers(
    tmp_path: Path, written: str, meant: float
) -> None:
    """YAML 1.1 takes one without a point, or without a sign of the exponent, for text."""
    rows = f"cases:\n - {{routine: dpotrf, n: 4, weight: {written}}}\n - {{routine: dpotrf, n: 5}}"
    first, second = load_workload(write(tmp_path, rows)).cases
    assert first.weight / second.weight == pytest.approx(meant)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cases:\n - {routine: dfoo, n: 3}", ":2: routine: unknown 'dfoo'"),
        ("cases:\n - {routine: dgemm,\n    m: -4, n: 1, k: 1}", ":3: m: -4 is outside 1"),
        ("cases:\n - {routine: dgemm, m: 4, n: 99999999999, k: 1}", ":2: n: 99999999999"),
        ("cases:\n - {routine: dgemm, m: 4, n: 4.5, k: 1}", ":2: n: a whole number"),
        ("cases:\n - {routine: dgemm, m: yes, n: 4, k: 1}", ":2: m: a whole number"),
        ("cases:\n - {routine: dgemm, m: 4, n: 4}", ":2: dgemm needs 'k'"),
        ("cases:\n - {routine: dpotrf, m: 4, n: 4}", ":2: m: dpotrf takes n, weight"),
        ("cases:\n - {routine: dgemm, m: 4, n: 4, k: 4, transa: X}", ":2: transa:"),
        ("cases:\n - {routine: dpotrf, n: 4, weight: -1}", ":2: weight:"),
        ("cases:\n - {routine: dpotrf, n: 4, weight: .nan}", ":2: weight:"),
        ("cases:\n - {routine: dpotrf, n: 4, weight: 1e7}", ":2: weight:"),
        ("cases:\n - {routine: dpotrf, n: 4, weight: 1e999}", ":2: weight:"),
        ("cases:\n - {routine: dpotrf, n: 4, weight: 1e}", ":2: weight:"),
        ("cases:\n - {routine: dpotrf, n: 4}\n - {routine: dpotrf, n: 4}", ":3: the same case"),
        ("cases: []", ":1: 'cases' must be a list"),
        ("cases:\n - 7", ":2: a case is a mapping"),
        ("casez: []", ":1: unknown key 'casez'"),
        ("schema: 2\ncases: []", ":1: schema must be 1"),
        ("- 1", "expected a mapping"),
        ("cases: [", "not valid YAML"),
        ("cases: &a []\nx: *a", ":2: aliases"),
        ("cases: []\ncases: []", ":2: 'cases' is given twice"),
        ("cases: !!python/object:os.system {}", "mix.yaml"),
        ("", "the file is empty"),
    ],
)
def test_a_bad_workload_names_file_line_and_field(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_workload(write(tmp_path, text))
    message = str(caught.value)
    assert words in message
    assert "mix.yaml" in message
    assert "\n" not in message


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_workload(tmp_path / "missing.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        load_workload(tmp_path)
    path = write(tmp_path, "")
    path.write_bytes(b"cases: \xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_workload(path)


@given(st.text(max_size=200))
def test_any_text_is_a_workload_or_one_line_that_says_why_not(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.yaml"
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            load_workload(path)
        except UsageError as error:
            assert "\n" not in str(error).replace(str(path), "")


@given(st.integers(1, 1024), st.one_of(st.none(), st.integers(2**28, 2**42)))
def test_the_default_mix_fits_the_machine(cores: int, memory: int | None) -> None:
    workload = default_workload(cores, memory)
    assert math.isclose(sum(workload.weights.values()), 1.0)
    assert len(workload.weights) == len(workload.cases), "keys must be unique"
    assert all(case.routine in ROUTINES for case in workload.cases)
    assert all(max(c.m, c.n, c.k) <= MAX_DIMENSION for c in workload.cases)
    if memory is not None and memory >= 2**31:
        assert workload.memory_bytes < memory / 2


def test_more_cores_get_larger_shapes() -> None:
    assert default_workload(2, None).memory_bytes < default_workload(64, None).memory_bytes


def test_cases_the_library_lacks_are_left_out_and_weights_sum_to_one() -> None:
    whole = default_workload(2, None)
    part = whole.only(("dgemm", "sgemm"))
    assert {case.routine for case in part.cases} == {"dgemm", "sgemm"}
    assert math.isclose(sum(part.weights.values()), 1.0)
    assert whole.only(("none",)).cases == ()


def test_a_workload_survives_the_journal() -> None:
    import json
    from dataclasses import asdict

    whole = default_workload(4, None)
    rows = json.loads(json.dumps([asdict(case) for case in whole.cases]))
    assert workload_from(rows, "default") == whole


def test_the_drivers_file_has_one_line_a_case() -> None:
    workload = default_workload(2, None)
    lines = [line.split() for line in workload.text(1, {}).splitlines()[1:]]
    assert [line[0] for line in lines] == [case.key for case in workload.cases]
    assert all(len(line) == 9 for line in lines)
