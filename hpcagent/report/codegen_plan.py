"""What a code generation will do, before it has begun: for a dry run."""

from __future__ import annotations

from hpcagent.codegen.attempt import STAGES
from hpcagent.codegen.cases import DRAWN, check_rows
from hpcagent.codegen.signature import c_prototype
from hpcagent.report.columns import labelled
from hpcagent.report.wording import plural
from hpcagent.study.codegen_story import Wish

_COLUMNS = 80


def plan_text(wish: Wish) -> str:
    """The task, who writes, what is checked and what is measured, in lines of 80 columns."""
    task, budget = wish.task, wish.task.budget
    given = ", ".join(str(row["label"]) for row in wish.given)
    writers = [f"you ({given})"] if given else []
    writers += [f"a model, up to {plural(budget.attempts, 'attempt')}"] if wish.model else []
    drawn = DRAWN if task.cases.vary else 0
    ranks = f", on {', '.join(map(str, task.ranks))} ranks" if task.ranks else ""
    measured = "; ".join(
        f"{name} ({' '.join(f'{k}={v}' for k, v in sizes.items())})"
        for name, sizes in sorted(task.cases.measure.items())
    )
    fresh = f", then {budget.confirm_pairs} fresh pairs confirm the best"
    rows = (
        ("Task", f"{task.name} in {task.language}, {task.parallel}"),
        ("Interface", c_prototype(task, task.language)),
        ("Reference", task.reference),
        ("Written by", " and ".join(writers)),
        ("Parameters", "; ".join(
            f"{name}: {' '.join(value or '(none)' for value in values)}"
            for name, values in task.choices().items()
        )),
        ("Each attempt", f"{', '.join(STAGES)}: {plural(len(check_rows(task)), 'case')}{ranks}, "
         f"{drawn} of them drawn, at most {budget.seconds} s and {budget.memory_gib:g} GiB"),
        ("Measured", f"{measured}; up to {plural(budget.max_pairs, 'pair')}"
         f"{fresh if budget.confirm_pairs else ', and nothing is claimed'}"),
        ("First", "a probe, whose files follow; what comes after depends on it"),
    )  # fmt: skip
    return "\n".join(line for name, text in rows for line in labelled(name, text, _COLUMNS))
