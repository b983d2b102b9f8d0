"""A language model is loaded and reads what never changes in a run while a job of the run is out.

The first question would wait for both else. Of that prompt the beginning stays as it is: what is
known of the machine, the rules, and the parameters up to one of which a value turns out not to
work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpcagent.llm.roles import OPTIMISE
from hpcagent.llm.routing import Models
from hpcagent.llm.sampled import Sampled
from hpcagent.records import Limits
from hpcagent.search.question import Question
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.state import TuneState

DECISION = "model_prepared"
TIMEOUT_S = 300.0


def allowed(state: TuneState) -> bool:
    """Whether a job is out that does not measure on this node; a build does not measure."""
    out = [unit for unit in state.open_units if unit.job_id]
    here = state.settings.scheduler == "local"
    return bool(out) and not (here and any(unit.kind != "build" for unit in out))


def prepared(
    models: Models, known: Knowledge, facts: Mapping[str, str], most_s: float
) -> dict[str, Any] | None:
    """What came of it, for the journal; None of a served model, whose server keeps what it likes.

    It takes `most_s` at most. `beside` are the purposes of the units that were out.
    """
    model = models.for_role(OPTIMISE)
    if not isinstance(model, Sampled):
        return None
    space = known.unpruned if known.state.done("feasibility") is None else known.space
    messages = Question(space, facts, (), (), (), ranked=True).messages()
    limit_s = min(most_s, models.answer_s(OPTIMISE, TIMEOUT_S))
    found = model.read_ahead(messages, Limits(1, limit_s))
    told = {"beside": [unit.purpose for unit in known.state.open_units if unit.job_id]}
    if found.failure is not None:
        return {"note": f"{found.failure.id}: {found.failure.evidence}", **told}
    return {"tokens": found.tokens_in, "seconds": found.seconds, **told}
