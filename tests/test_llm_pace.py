"""Threads of a model while others use the processors: fewer, and all again when they are free."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from tiny_gguf import Shape, make_tiny_gguf, many_words

from hpcagent.llm.child.pace import FIRST_S, LONGEST_S, Pace, Used


class Machine:
    """Evaluations of `step_s` on which a process gets up to `free` processors."""

    def __init__(self, free: float, most: int, step_s: float = 0.2) -> None:
        self.free, self._step_s = free, step_s
        self._used = Used(0.0, 0.0, 0)
        self.pace = Pace(most, lambda: self._used)

    @property
    def now_s(self) -> float:
        return self._used.at_s

    def evaluate(self, faults: int = 0) -> int:
        self.pace.begin()
        got = min(self.free, self.pace.threads) * self._step_s
        self._used = Used(
            self._used.at_s + self._step_s,
            self._used.processor_s + (0.0 if faults else got),
            self._used.faults + faults,
        )
        self.pace.end()
        return self.pace.threads

    def run(self, seconds: float) -> Iterator[int]:
        until = self.now_s + seconds
        while self.now_s < until:
            yield self.evaluate()


@pytest.mark.parametrize(("most", "free", "left"), [(2, 0.9, 1), (2, 0.1, 1), (16, 9.0, 9)])
def test_threads_that_get_no_processor_are_given_up(most: int, free: float, left: int) -> None:
    assert Machine(free, most).evaluate() == left


def test_all_threads_are_kept_on_idle_processors() -> None:
    assert set(Machine(8.0, 8).run(200)) == {8}
    assert set(Machine(1.0, 1).run(5)) == {1}


def test_all_threads_come_back_when_the_others_have_gone() -> None:
    machine = Machine(1.0, 16)
    assert machine.evaluate() == 1
    machine.free = 16.0
    assert 16 in set(machine.run(10 * FIRST_S * 4))


def test_processors_that_stay_busy_are_tried_ever_more_rarely() -> None:
    """One thread gets a whole processor, two never two."""
    machine, tried = Machine(1.0, 2, step_s=0.5), []
    for threads in machine.run(40 * LONGEST_S):
        if threads == 2:
            tried.append(machine.now_s)
    waits = [after - before for before, after in pairwise(tried)]
    assert waits[0] < waits[1] < waits[2] and LONGEST_S * 0.9 < waits[-1] < LONGEST_S * 1.1


def test_weights_that_come_from_a_disk_are_no_lack_of_processors() -> None:
    machine = Machine(8.0, 8)
    assert machine.evaluate(faults=400) == 8


def test_many_short_evaluations_are_judged_together() -> None:
    machine = Machine(1.0, 4, step_s=0.01)
    assert [machine.evaluate() for _ in range(8)] == [4] * 8
    assert min(machine.evaluate() for _ in range(4)) == 1


SWITCHING = """
import json, sys
import llama_cpp
from hpcagent.llm.child.decode import Clock, Decoder
from hpcagent.llm.child.pace import Pace, Used

llama = llama_cpp.Llama(sys.argv[1], n_ctx=32, n_threads=2, n_threads_batch=2, verbose=False)
shares = [2.0, 0.5, 1.0, 1.0, 2.0, 0.5, 1.0, 1.0]  # processors that each block gets
told = []
for switching in (False, True):
    at, got = 0.0, 0.0
    def now():
        return Used(at, got, 0)
    pace = Pace(2, now) if switching else None
    decoder, threads = Decoder(llama, 512, 1, 32, 32, pace), []
    begun = pace and pace.begin
    for number, share in enumerate(shares):
        if switching:
            def begin(share=share):
                global at, got
                begun()
                at, got = at + 3.0, got + 3.0 * share
            pace.begin = begin
        block = range(300 + 32 * number, 332 + 32 * number)
        decoder.decode(0, 32 * number, list(block), Clock(60), logits=True)
        threads.append(pace.threads if pace else 2)
    told.append((decoder.digests(0), threads))
print(json.dumps(told))
"""


@pytest.mark.llama
def test_the_bits_are_the_same_when_threads_change_between_blocks(tmp_path: Path) -> None:
    shape = Shape(width=64, layers=2, heads=2, forward=128, quantised=True)
    path = make_tiny_gguf(tmp_path / "small.gguf", shape=shape, words=many_words(3000))
    command = [sys.executable, "-c", SWITCHING, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    (bits, _), (switched, threads) = json.loads(done.stdout)
    assert set(threads) == {1, 2}
    assert switched == bits
