"""The model that a `hpcagent models` command is about: a file, a server, or what serves a role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from hpcagent.cli.waiting import waiting
from hpcagent.config import Settings, model_routes
from hpcagent.embedded.opening import is_small
from hpcagent.errors import UsageError
from hpcagent.llm import gguf
from hpcagent.llm.address import is_address
from hpcagent.llm.roles import ROLES
from hpcagent.llm.routing import Models, Route, check
from hpcagent.llm.tables import ModelChoice, absolute, from_text
from hpcagent.protocols import LanguageModel
from hpcagent.study.admission import admit, opening
from hpcagent.templates import clean

ANSWER_S = 300.0

model_argument = click.argument("model", metavar="FILE|URL|ROLE")


@dataclass(frozen=True)
class Subject:
    """A model by the route that leads to it; it is opened at its first use."""

    route: Route
    models: Models

    @property
    def choice(self) -> ModelChoice:
        return self.route.choice

    @property
    def language_model(self) -> LanguageModel:
        found = self.models.for_role(self.route.role)
        assert found is not None
        return found

    @property
    def answer_s(self) -> float:
        """Seconds that an answer may take."""
        return self.models.answer_s(self.route.role, ANSWER_S)

    def record(self) -> dict[str, Any]:
        """What it is, with its digest; EnvironmentProblem where a server does not say."""
        identity, digest = self.models.identity(self.route.role), self.digest
        if self.choice.endpoint:
            return {**identity, "sha256": digest}
        size = gguf.describe(Path(self.choice.file)).size_bytes
        return {"name": Path(self.choice.file).name, "sha256": digest, "bytes": size}

    @property
    def digest(self) -> str:
        return self.models.digest(self.route.role)


def route_of(word: str, configured: Settings) -> Route:
    """The route to what `word` names; UsageError where no model serves the role.

    A file that is called like a role is named with its folder (./debug).
    """
    clean(word, "FILE|URL|ROLE")
    if word in ROLES:
        found = model_routes(configured)[word]
        if not found.choice.placed:
            raise UsageError(
                f"{word}: {found.why}; set [models.{word}] in the configuration, or name a FILE or "
                "a URL"
            )
        return found
    choice = from_text(word, "MODEL") if is_address(word) else ModelChoice(file=word)
    return Route("given", absolute(choice), "the command line")


@contextmanager
def subject(word: str, configured: Settings) -> Iterator[Subject]:
    """The model that `word` names, known to be able to serve; it is closed at the end.

    UsageError or EnvironmentProblem where it cannot. No server is asked yet.
    """
    route = route_of(word, configured)
    choice = route.choice
    if is_small(choice.file):
        raise UsageError(f"{word}: the small model that ships only tunes; `hpcagent models show "
                         "embedded` has its card")  # fmt: skip
    check(route, configured.model_hosts)
    tell = waiting()
    if choice.file:
        admit(Path(choice.file), configured, choice.context or None, tell)
    opened = opening(configured, tell)
    models = Models({route.role: route}, configured.model_hosts, opened, tell)
    try:
        yield Subject(route, models)
    finally:
        models.close()


def named(record: Mapping[str, Any]) -> str:
    """A name that can be part of a file's; some servers call a model by its path."""
    name = str(record["name"]).rstrip("/").rpartition("/")[2]
    kept = (c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)
    return "".join(kept).removesuffix(".gguf")[:80]
