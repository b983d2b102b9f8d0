"""Strategy `guided`: as `model`, with an analysis by a function of the user's own in the prompt.

The function gets space and history and returns figures or words, which are made harmless and
bounded in length before the model reads them. Where it fails, the model chooses without; what is no
plain data is left out, and the rest is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpcagent.errors import UsageError
from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Trial
from hpcagent.search.function_call import call
from hpcagent.search.function_file import ENTRIES
from hpcagent.search.function_talk import left_out, read_analysis, request
from hpcagent.search.model import ModelStrategy
from hpcagent.search.options import FunctionCall, Options

NAME = "guided"


def create(options: Options) -> ModelStrategy:
    """UsageError where the options lack the model or the file."""
    if options.model is None or not options.function:
        raise UsageError("strategy 'guided' needs --model FILE.gguf and --function FILE.py")

    def analysis(
        space: SearchSpace, history: Sequence[Trial], pending: Sequence[Config], seed: int
    ) -> str:
        asked = request(space, history, pending, options.facts, seed)
        called = call(Path(options.function), ENTRIES[NAME], asked)
        problem = called.problem or (left_out(called.odd) if called.odd else "")
        read = "" if called.problem or called.value is None else read_analysis(called.value)
        if options.told is not None:
            options.told(FunctionCall(1, called.seconds, problem, called.log, bool(read)))
        return read

    return ModelStrategy(options.model, options, analysis)
