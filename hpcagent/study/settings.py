"""What a tune run was asked to do; written once, when the run is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import PurePosixPath
from typing import Any

from hpcagent.errors import RunFailed
from hpcagent.llm.roles import OPTIMISE
from hpcagent.measure.objectives import THROUGHPUT, TIME
from hpcagent.records import Resources

# Strategies that are the default, or follow from --model and --function.
_IMPLIED = ("surrogate", "model", "guided", "user-function", "embedded")


@dataclass(frozen=True)
class TuneSettings:
    """All that decides what a run does. `workload` is None for the default mix.

    `rounds`, `core_hours` and `wall_s` bound the run (0: no bound of that kind), and what the site
    allows a run is `site_core_hours` (0: all);
    `asks` is what every job asks for beyond its size: partition, account and the like. `ahead`
    jobs of rounds may be out at once, of `pack` rounds each. `poll_s` and `settle_s` (None: the
    scheduler's own pace), `grace_s`, `lost_s` and `max_wait_s` are desk.Patience's. What would be
    reserved beyond `approve_core_hours` (0: nothing) needs the user's approval.
    `build` (None: what is installed is tuned) is apps.variants.BuildPlan as JSON, or that of
    apps.application_builds.
    `history` is the folder of earlier runs, to which this one is added, and `site_history` one that
    is only read (empty: none).
    `repeat_s` is the time one process of the workload should take, `confirm_pairs` the number of
    fresh pairs behind a claim in each of `confirm_jobs` jobs. `objectives` are names of
    measure/objectives.py, the first of which decides; `within` constraints as they are written;
    `charge` is objectives.Charge as JSON (None: core-hours). The search ends early when a
    configuration is `target` times as fast as the default (0: no target). `model` names the model
    that takes part in the proposals, as `--model` does; `models` holds llm.routing.Route as JSON,
    by role, and `model_hosts` the hosts whose servers may be asked. `function` is a user's own
    file, with its digest when the run was opened; `replay` a transcript that answers in the place
    of a model. `card` is a user's own, as data, read from `card_source` in `card_folder` when the
    run was opened (None: the card of this `app`); `prefix` is where an application is installed,
    `inputs_sha256` a digest of what it reads beside its card.
    """

    app: str
    seed: int
    scheduler: str
    strategy: str
    rounds: int
    challengers: int
    core_hours: float = 0.0
    site_core_hours: float = 0.0
    wall_s: float = 0.0
    model: str = ""
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    model_hosts: tuple[str, ...] = ()
    prefix: str = ""
    python: str = "python3"
    workload: tuple[Mapping[str, Any], ...] | None = None
    workload_source: str = "default"
    prologue: tuple[str, ...] = ()
    cores: int = 1
    repeat_s: float = 1.5
    max_pairs: int = 8
    confirm_pairs: int = 20
    minimum_effect: float = 0.01
    alpha: float = 0.005
    asks: Resources = field(default_factory=lambda: Resources(walltime_s=0))
    ahead: int = 1
    pack: int = 1
    poll_s: float | None = None
    settle_s: float | None = None
    grace_s: float = 90.0
    lost_s: float = 300.0
    max_wait_s: float = 0.0
    approve_core_hours: float = 0.0
    build: Mapping[str, Any] | None = None
    history: str = ""
    site_history: str = ""
    target: float = 0.0
    function: str = ""
    function_sha256: str = ""
    objectives: tuple[str, ...] = (TIME,)
    within: tuple[str, ...] = ()
    charge: Mapping[str, Any] | None = None
    confirm_jobs: int = 1
    card: Mapping[str, Any] | None = None
    card_source: str = ""
    card_folder: str = ""
    inputs_sha256: str = ""
    replay: str = ""

    @property
    def plain(self) -> bool:
        """Whether it is for the time that is printed, and nothing constrains it."""
        return self.objectives == (TIME,) == (self._printed,) and not self.within

    @property
    def speed_alone(self) -> bool:
        """Whether only what is printed first decides, however it is told: the figure that the
        in-job worker looks at."""
        told = {self._printed, THROUGHPUT} if self._printed == TIME else {self._printed}
        return len(self.objectives) == 1 and self.objectives[0] in told and not self.within

    @property
    def _printed(self) -> str:
        """The name of the card's first figure; the cards that ship print a time."""
        return TIME if self.card is None else str(self.card["figures_of_merit"][0]["name"])

    @property
    def of_application(self) -> bool:
        return self.card is not None and self.card.get("kind") == "application"

    @property
    def subject_sha256(self) -> str:
        """A digest of what an application reads beside its card, and is built from; empty where
        that is nothing."""
        if self.build is None or not self.of_application:
            return self.inputs_sha256
        both = f"{self.inputs_sha256} {self.build['source']['sha256']}"
        return hashlib.sha256(both.encode()).hexdigest()

    @property
    def routes(self) -> Mapping[str, Mapping[str, Any]]:
        """`models`; a run of an earlier version has a file in `model` only."""
        if self.models or not self.model:
            return self.models
        return {OPTIMISE: {"choice": {"file": self.model}, "source": "--model"}}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def command(self) -> tuple[str, ...]:
        """The words of the `hpcagent tune` that asks for the same; files as they were named."""
        what = ["--lib", self.card_source or self.app]
        if self.of_application:
            what = [
                "--app",
                str(PurePosixPath(self.card_folder, PurePosixPath(self.card_source).name)),
            ]
        words = ["tune", *what, "--seed", str(self.seed)]
        words += ["--challengers", str(self.challengers), "--budget", f"rounds={self.rounds}"]
        if self.core_hours:
            words += ["--budget", f"core-hours={self.core_hours:g}"]
        if self.wall_s:
            words += ["--budget", f"wall={self.wall_s:g}s"]
        named = {
            "--scheduler": self.scheduler if self.scheduler != "local" else "",
            "--confirm-jobs": str(self.confirm_jobs),
            "--strategy": "" if self.strategy in _IMPLIED else self.strategy,
            "--app-prefix" if self.of_application else "--openblas-prefix": self.prefix,
            "--workload": self.workload_source if self.workload is not None else "",
            "--model": self.model,
            "--replay": self.replay,
            "--function": self.function,
            "--target": f"{self.target:g}x" if self.target else "",
        }
        words += [word for name, value in named.items() if value for word in (name, value)]
        if self.strategy == "surrogate" and not self.replay:
            words += ["--model", ""]  # else the small model would take part
        words += self._goal_words() + self._build_words()
        words += [] if self.history else ["--no-history"]
        return ("hpcagent", *words, *self._job_words())

    def _goal_words(self) -> list[str]:
        wanted = self.objectives if self.objectives != (TIME,) else ()
        several = {"--objective": wanted, "--within": self.within}
        return [word for name, values in several.items() for v in values for word in (name, v)]

    def _build_words(self) -> list[str]:
        if self.build is None:
            return []
        source = self.build["source"]
        words = ["--source", str(source["path"]), "--sha256", str(source["sha256"])]
        several = {"--module": self.build["modules"], "--store": [self.build["store"]]}
        if not self.of_application:
            words.insert(0, "--build")
            fixed = [f"{name}={value}" for name, value in self.build["fixed"].items()]
            several = {"--set": fixed, "--compiler": self.build["families"], **several}
        return words + [w for name, values in several.items() for v in values for w in (name, v)]

    def _job_words(self) -> tuple[str, ...]:
        asks = self.asks
        named = {
            "--partition": asks.partition,
            "--account": asks.account,
            "--qos": asks.qos,
            "--reservation": asks.reservation,
            "--constraint": asks.constraint,
            "--gres": asks.gres,
            "--licenses": asks.licenses,
            "--hint": asks.hint,
            "--mem": _kilobytes(asks.memory_bytes),
            "--mem-per-cpu": _kilobytes(asks.memory_per_cpu_bytes),
        }
        words = [word for name, value in named.items() if value for word in (name, value)]
        words += [] if asks.exclusive else ["--shared"]
        words += [word for option in asks.extra for word in ("--scheduler-option", option)]
        words += ["--ahead", str(self.ahead)] if self.ahead > 1 else []
        words += ["--pack", str(self.pack)] if self.pack > 1 else []
        return tuple(words)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TuneSettings:
        known = {f.name for f in fields(cls)}
        if set(data) - known:
            raise RunFailed(f"the run's settings have unknown keys: {sorted(set(data) - known)}")
        values = dict(data)
        rows = values.get("workload")
        values["workload"] = None if rows is None else tuple(rows)
        for name in ("prologue", "objectives", "within", "model_hosts"):
            if name in values:
                values[name] = tuple(values[name])
        if "asks" in values:
            values["asks"] = Resources.from_json(values["asks"])
        return cls(**values)


def _kilobytes(count: int | None) -> str | None:
    return None if count is None else f"{count // 1024}K"
