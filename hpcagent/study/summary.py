"""What a run found, in one record: every report is drawn from this and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from hpcagent.measure.statistics import Variability
from hpcagent.records import Config, Failure, Library, Machine


@dataclass(frozen=True)
class CaseSummary:
    """One routine and shape of the workload in the confirmation (or in the last round before it).

    `speedup`, `low`, `high`: time of the default over time of the winner, median and interval of
    the paired ratios, which covers with probability `coverage` (for each case alone).
    `default_cv`, `best_cv`: standard deviation over mean of the process times.
    `ratios` holds the speed-up of every pair, `gflops` that of the winner (None: no count known).
    """

    key: str
    weight: float
    default_s: float
    best_s: float
    speedup: float
    low: float
    high: float
    coverage: float
    default_cv: float
    best_cv: float
    ratios: tuple[float, ...]
    gflops: float | None


@dataclass(frozen=True)
class JobClaim:
    """What one of the jobs of a confirmation shows by itself (where there are several, in an
    interval that covers with 95 %), and the node that it ran on."""

    unit: str
    node: str
    speedup: float
    low: float
    high: float
    improved: bool


@dataclass(frozen=True)
class ClaimSummary:
    """The confirmation: `pairs` fresh pairs in an allocation of its own; with several `jobs` so
    many in each, and the interval is the hull of that of all pairs, which covers with `coverage`,
    and of theirs. Fewer jobs than `jobs_asked` announce nothing.

    `speedup` with `low`..`high` is the weighted geometric mean over the workload; the interval
    covers with probability `coverage`. `improved` holds only when `low` exceeds
    1 + `minimum_effect`. `default_cv`, `best_cv` are of the weighted objective. In a run for
    something else than time it is the gain in the first objective.
    """

    unit: str
    pairs: int
    speedup: float
    low: float
    high: float
    coverage: float
    alpha: float
    minimum_effect: float
    improved: bool
    default_cv: float
    best_cv: float
    jobs: tuple[JobClaim, ...] = ()
    jobs_asked: int = 1

    @property
    def partial(self) -> bool:
        """Whether the jobs that ran show it, and others had to show it as well."""
        ran = len(self.jobs)
        return 0 < ran < self.jobs_asked and all(job.improved for job in self.jobs)


@dataclass(frozen=True)
class GoalClaim:
    """One objective in the confirmation: the figures of default and best in `unit`.

    `gain` with `low`..`high` is above one where the best is better, whichever `direction` that is;
    the interval covers with `coverage`, which all claims of a run share. `exact` is False where it
    covers about so (cv).
    """

    name: str
    unit: str
    direction: str
    default: float
    best: float
    gain: float
    low: float
    high: float
    coverage: float
    improved: bool
    exact: bool


@dataclass(frozen=True)
class BoundSummary:
    """One constraint in the confirmation, in the unit of `metric` (cv: a share of one; s, B, J).

    `best` stays below `high` (`least`: above it) with probability 1 - alpha; `state` is "met",
    "broken" or "not shown". `pairs_needed` would show it if the figures stayed as they are (None:
    no number, or none more).
    """

    text: str
    metric: str
    bound: float
    default: float
    best: float
    high: float
    state: str
    default_state: str
    pairs_needed: int | None
    least: bool = False


@dataclass(frozen=True)
class PointSummary:
    """A trial's gain in every objective, each with two standard errors below and above.

    `front`: no other beats it in everything. `broken` and `unsure` name constraints.
    """

    evaluation: int
    config: Config
    gains: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    front: bool
    recommended: bool
    broken: tuple[str, ...]
    unsure: tuple[str, ...]


@dataclass(frozen=True)
class GoalsSummary:
    """What a run was for beside time alone: (name, unit, direction) of its objectives.

    `points` holds every trial that was measured in all of them. `reason` says why the recommended
    one is. `kept`: every constraint is met; `rescued`: it is announced not because it is better,
    but because it keeps to what the default breaks. `price` says what an hour costs.
    """

    objectives: tuple[tuple[str, str, str], ...]
    within: tuple[str, ...]
    claims: tuple[GoalClaim, ...]
    bounds: tuple[BoundSummary, ...]
    points: tuple[PointSummary, ...]
    reason: str
    kept: bool
    rescued: bool
    improved: bool
    price: str = ""


@dataclass(frozen=True)
class TrialSummary:
    """One configuration over all rounds; `evaluation` counts from 1 (the default).

    `speedup` is the gain in the first objective: of time, unless the run is for something else.
    `broken` are the constraints that it breaks.
    """

    evaluation: int
    round: int
    config: Config
    proposed_by: str
    reason: str
    speedup: float | None
    spread: float | None  # standard error of ln(speedup)
    pairs: int
    status: str  # "ok", "dropped" or the failure's id
    failure: Failure | None
    unit: str
    broken: tuple[str, ...] = ()
    verdict: str = "open"  # "faster", "slower": than the default, in the search's own runs


@dataclass(frozen=True)
class InfeasibleValue:
    """A value that was taken out of the space: it failed, cannot be built, or ran another."""

    param: str
    value: str
    failure: Failure | None
    alias_of: str | None


@dataclass(frozen=True)
class ModelSummary:
    """What the language model did: `used` is False where none was configured.

    `seconds` are those that the agent waited for answers, `waited_s` those of them in which nothing
    was out to be measured, which made the run longer. `cached_share` of the prompts' tokens were in
    the model's cache. Of the calls some ranked a menu (`ranked`), and some had a prompt too long
    for the model, which was `shortened`. `notes` tell what of it was not as it was asked for, such
    as a shorter context. `small` is a model that only tunes, and `chosen_by` what named it.
    """

    used: bool
    name: str
    calls: int
    valid: int
    invalid: int
    picks_measured: int
    best_is_models: bool
    seconds: float
    note: str
    earned: str = ""  # how its picks did, and what share of the evaluations that left it
    ranked: int = 0
    shortened: int = 0
    cached_share: float = 0.0
    waited_s: float = 0.0
    notes: tuple[str, ...] = ()
    small: bool = False
    chosen_by: str = ""


@dataclass(frozen=True)
class Disturbance:
    """What was odd in a unit's runs (see measure/noise.py): nothing was left out for it.

    `size` is a ratio of times, `pair` 0 for the whole unit, `config` empty unless one process is
    meant, `reason` empty where nothing that was recorded explains it.
    """

    unit: str
    what: str
    pair: int
    config: str
    size: float
    reason: str


@dataclass(frozen=True)
class Variation:
    """How much the times of the `name` ("default", "candidate") vary, relative to their median."""

    name: str
    seen: Variability


@dataclass(frozen=True)
class Spent:
    """`units` were prepared; a refused one has no job, several of a pack share one."""

    units: int
    rounds: int
    core_hours: float
    wall_s: float
    jobs: int


@dataclass(frozen=True)
class ApplicationSummary:
    """What was tuned where that is no library: the card, and what runs with the best configuration.

    `command` are all words, `default` those of the default configuration; `files` (name, text) are
    written for it, `inputs` lie beside the card in `folder`, `unset` are variables that it must not
    inherit. `command` and `default` are empty where it has not been run yet. `cases` are the names
    of what is weighed (empty: one figure alone counts). `modules` are those that it runs with.
    """

    title: str
    card: str
    folder: str
    prefix: str
    command: tuple[str, ...]
    default: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    inputs: tuple[str, ...]
    unset: tuple[str, ...]
    cases: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    module_init: str = ""


@dataclass(frozen=True)
class BuildTried:
    """A build that the search asked for: what differs from the default's.

    `state` is built, found (it was there), failed or open; `seconds` its steps took; `prefix` is
    where it is (empty: it is not). `speedup` is that of its fastest configuration (None: none was
    measured), `alike` the number, from 1, of an earlier build that is the same program (0: none).
    """

    changed: tuple[tuple[str, str], ...]
    state: str
    seconds: float
    prefix: str
    failure: Failure | None
    speedup: float | None
    unit: str
    alike: int = 0


@dataclass(frozen=True)
class RunSummary:
    """A tune run, finished or not (`phase` says where it is, `outcome` is "" while it goes on).

    `command` asks for the same run again.
    `outcome` is "improved", "nothing better", "failed" or "cancelled"; `best` is the confirmed
    best configuration (the default where nothing is better), `best_environment` what sets it,
    `best_prefix` the words put before the command and `best_binding` the CPUs it is bound to.
    `history` tells which earlier runs the search began with, and whether this one was kept.
    `words` is a paragraph by the model `words_by`, its figures the run's own.
    Where builds were searched, `best_build` are the parameters of the best one's, whose library is
    then `library`; of an application, which has none, what it is built by. `repeated` were proposed
    and not measured, each with the one that runs the same program. `found_as` is the path of a run
    that its id does not lead to.
    """

    run_id: str
    kind: str
    app: str
    version: str
    seed: int
    command: tuple[str, ...]
    created_utc: str
    closed_utc: str
    phase: str
    outcome: str
    outcome_text: str
    stop_reason: str
    machine: Machine | None
    library: Library | None
    space: tuple[tuple[str, tuple[str, ...], str], ...]  # name, values, default
    points: int
    best: Config | None
    best_environment: tuple[tuple[str, str], ...]
    best_prefix: tuple[str, ...]
    best_binding: tuple[int, ...]
    claim: ClaimSummary | None
    cases: tuple[CaseSummary, ...]
    trials: tuple[TrialSummary, ...]
    infeasible: tuple[InfeasibleValue, ...]
    failures: tuple[tuple[str, Failure], ...]  # unit or configuration, what went wrong
    model: ModelSummary
    spent: Spent
    warnings: tuple[str, ...]
    best_build: tuple[tuple[str, str], ...] = ()
    history: str = ""
    goals: GoalsSummary | None = None  # None: the run is for time alone
    disturbances: tuple[Disturbance, ...] = ()
    variation: tuple[Variation, ...] = ()
    words: str = ""
    words_by: str = ""
    found_as: str = ""
    application: ApplicationSummary | None = None  # None: a library
    repeated: tuple[tuple[Config, Config], ...] = ()
    builds: tuple[BuildTried, ...] = ()

    @property
    def weighs(self) -> bool:
        """Whether the figures of several cases are weighed: those of a library always are."""
        return self.application is None or bool(self.application.cases)
