"""Which model serves which role, and the models that are open because somebody asked them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hpcagent.errors import UsageError
from hpcagent.llm import endpoint, gguf
from hpcagent.llm.address import Forbidden, read_address, require_allowed
from hpcagent.llm.endpoint import Endpoint
from hpcagent.llm.gguf_kinds import PROJECTOR
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.log import Call, Recording, recording
from hpcagent.llm.progress import Progress, Tell, silent
from hpcagent.llm.roles import CODEGEN, DEBUG, OPTIMISE, RESULT, ROLES
from hpcagent.llm.sampled import Sampled
from hpcagent.llm.tables import (
    ALL,
    SHIPPED,
    ModelChoice,
    absolute,
    check_served,
    from_json,
    laid_over,
)
from hpcagent.protocols import LanguageModel
from hpcagent.templates import clean

NONE = ModelChoice()
DEFAULT = "default"  # the source of what nobody named
OpenFile = Callable[[ModelChoice], LlamaCpp]


def open_file(choice: ModelChoice) -> LlamaCpp:
    """A model of a file, as it is loaded where nothing else is said."""
    return LlamaCpp(Path(choice.file), choice.context or None)


@dataclass(frozen=True)
class Route:
    """The model of one role (`choice.placed` is False where it has none) and what says so."""

    role: str
    choice: ModelChoice
    source: str
    instead: str = ""  # what keeps out the model that would serve by default

    @property
    def why(self) -> str:
        """In words: which model, and which file, variable or option says so; or why there is none.

        >>> Route("debug", ModelChoice(file="a.gguf"), "HPCAGENT_MODEL").why
        'a.gguf (HPCAGENT_MODEL)'
        """
        if self.choice.placed:
            return f"{self.choice.label} ({self.source})"
        if self.instead:
            return f"none ({self.instead})"
        without = f"{_WITHOUT.get(self.role, 'hpcagent')} does without"
        if self.source:
            return f"none ({self.source} names neither file nor endpoint): {without}"
        return f"none: {without}"

    def to_json(self) -> dict[str, Any]:
        return {"choice": self.choice.to_json(), "source": self.source}


_WITHOUT: Mapping[str, str] = MappingProxyType(
    {
        OPTIMISE: "the search",
        DEBUG: "explain",
        RESULT: "the report",
        CODEGEN: "codegen with --candidates",
    }
)


def routes(tables: Mapping[str, ModelChoice], sources: Mapping[str, str]) -> dict[str, Route]:
    """A route for every role, from tables by role (and `all`); `sources` name where each is from.

    A role's own table wins; one that names no model is laid over the table `all`.
    """
    common, common_source = tables.get(ALL, NONE), sources.get(ALL, "")
    found = {}
    for role in ROLES:
        choice, source = tables.get(role), sources.get(role, "")
        if choice is None:
            choice, source = common, common_source
        elif not choice.placed:
            if common.placed:
                source = f"{common_source}, with {_beside(common_source, source)}"
            choice = laid_over(choice, common)
        check_served(choice, source)
        found[role] = Route(role, absolute(choice), source if choice.placed or source else "")
    return found


def _beside(common: str, source: str) -> str:
    """A table in the same file is told without the file's name again."""
    file, mark, table = source.partition(" [")
    return f"[{table}" if mark and common.partition(" [")[0] == file else source


def check(route: Route, hosts: Sequence[str]) -> None:
    """Whether the route's model could serve, without loading or asking it.

    UsageError or EnvironmentProblem name what is wrong: file, address or list of hosts.
    """
    choice = route.choice
    for path in (choice.file, choice.mmproj, choice.api_key_file, choice.ca_file):
        clean(path, route.source)
    if choice.mmproj:
        _check_projector(Path(choice.mmproj), route)
    if choice.endpoint:
        address = read_address(choice.endpoint)
        try:
            require_allowed(address, hosts)
        except Forbidden as forbidden:
            raise UsageError(f"model endpoint {forbidden}") from None
    elif choice.file and choice.file != SHIPPED:
        gguf.read(Path(choice.file))


def _check_projector(path: Path, route: Route) -> None:
    """A file that was taken for another one is told now, not when figures are read one day."""
    found = gguf.describe(path)
    if found.kind != PROJECTOR:
        raise UsageError(f"{route.source}: mmproj {path}: not a {PROJECTOR}: {found.kind}")
    if not route.choice.file:
        raise UsageError(f"{route.source}: mmproj belongs to a model, and no file is named")


@dataclass
class _Open:
    """What roles with the same place share, and what is known of it, for the record."""

    model: LlamaCpp | Endpoint
    identity: dict[str, Any] = field(default_factory=dict)
    digest: str = ""


class Models:
    """The models of some roles, each opened when it is first asked for.

    Roles on the same file and context, or on the same endpoint, share one; `hosts` are those that
    endpoints may be on. `opened` makes the model of a file: whoever knows of limits on memory,
    threads and the models that may be loaded gives one that keeps to them. `tell` hears how far a
    file's model is with what it was asked.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        hosts: Sequence[str],
        opened: OpenFile = open_file,
        tell: Tell = silent,
    ) -> None:
        self._routes = dict(routes)
        self._hosts = tuple(hosts)
        self._open_file = opened
        self.tell = tell
        self._open: dict[ModelChoice, _Open] = {}

    @classmethod
    def from_json(
        cls,
        rows: Mapping[str, Mapping[str, Any]],
        hosts: Sequence[str],
        opened: OpenFile = open_file,
        tell: Tell = silent,
    ) -> Models:
        """Those of a run, as its settings have them: role -> Route.to_json()."""
        found = {
            role: Route(role, from_json(row["choice"]), str(row.get("source", "")))
            for role, row in rows.items()
        }
        return cls(found, hosts, opened, tell)

    def has(self, role: str) -> bool:
        """Whether a model is configured for the role; whether it can serve is not known yet."""
        return role in self._routes and self._routes[role].choice.placed

    def why(self, role: str) -> str:
        """Which model serves the role and what says so, or why there is none."""
        return self._routes.get(role, Route(role, NONE, "")).why

    def label(self, role: str) -> str:
        """The role's model as `--model` takes it; empty where there is none."""
        return self._routes[role].choice.label if self.has(role) else ""

    def for_role(self, role: str) -> LanguageModel | None:
        """The role's model; None where none is configured.

        Raises EnvironmentProblem or UsageError where it cannot serve. Weights are loaded, and a
        server is asked, at the first call.
        """
        if not self.has(role):
            return None
        opened, choice = self._opened(role), self._routes[role].choice
        if isinstance(opened.model, LlamaCpp):
            return Sampled(opened.model, choice.sampling)
        return opened.model

    def recorded(self, role: str, sink: Callable[[Call], None]) -> Recording | None:
        """The role's model with each call passed on to `sink`, under the role's name."""
        model = self.for_role(role)
        if model is None:
            return None
        return recording(model, self.digest(role), sink, role)

    def digest(self, role: str) -> str:
        """SHA-256 in hex of the file, or of what is known of a served model."""
        self.identity(role)
        return self._opened(role).digest

    def identity(self, role: str) -> dict[str, Any]:
        """What is known of the role's model: of a file its path, of a served one as Endpoint's."""
        opened, choice = self._opened(role), self._routes[role].choice
        if not opened.identity:
            if isinstance(opened.model, Endpoint):
                opened.identity = opened.model.identity()
                opened.digest = endpoint.digest(opened.identity)
            else:
                opened.digest = opened.model.digest(self._told)
                opened.identity = {"file": choice.file}
        return opened.identity

    def answer_s(self, role: str, otherwise: float) -> float:
        """Seconds that an answer of the role's model may take."""
        said = self._routes[role].choice.answer_seconds if role in self._routes else 0.0
        return said or otherwise

    def device(self, role: str) -> str:
        """Where the role's model computes, in words; empty before its first answer."""
        return self._opened(role).model.device if self.has(role) else ""

    def computes_here(self, role: str) -> bool:
        """Whether answering takes this machine's cores: not where a server is elsewhere."""
        if not self.has(role):
            return False
        endpoint = self._routes[role].choice.endpoint
        return not endpoint or read_address(endpoint).is_here

    def unload(self) -> None:
        """Free the memory of models that are loaded; a later call loads them again."""
        for opened in self._open.values():
            opened.model.close()

    def close(self) -> None:
        """End all that is open; what is asked for later is opened again."""
        self.unload()
        self._open.clear()

    def _told(self, progress: Progress | None) -> None:
        self.tell(progress)

    def _opened(self, role: str) -> _Open:
        choice = self._routes[role].choice
        # How answers are drawn is told at each call of a file's model.
        key = choice if choice.endpoint else ModelChoice(file=choice.file, context=choice.context)
        if key not in self._open:
            if choice.endpoint:
                self._open[key] = _Open(Endpoint(choice, self._hosts))
            else:
                model = self._open_file(choice)
                model.tell = self._told
                self._open[key] = _Open(model)
        return self._open[key]
