"""`--model` and the configuration: which model serves the roles of a command."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import click

from hpcagent.cli.waiting import waiting
from hpcagent.config import Settings, model_routes
from hpcagent.embedded.card import checked
from hpcagent.embedded.opening import is_small, path_of
from hpcagent.llm.roles import OPTIMISE, RESULT
from hpcagent.llm.routing import DEFAULT, Models, Route, check
from hpcagent.llm.tables import ALL, SHIPPED, ModelChoice
from hpcagent.study.admission import admit
from hpcagent.study.proposing import WITH_MODEL

model_option = click.option(
    "--model",
    metavar="FILE|URL",
    help="A language model: a GGUF file, or a server's http://HOST:PORT/v1 or unix:/PATH; "
    "`embedded`: the small one that ships, the default of tune; '': none.",
)


def wanted(configured: Settings, model: str | None, roles: Iterable[str]) -> dict[str, Route]:
    """The routes of those `roles` that have a model, each known to be able to serve.

    UsageError or EnvironmentProblem where a file or an address cannot; no server is asked. A model
    that has only learnt to tune serves no other role.
    """
    found = model_routes(configured, model)
    placed = {role: found[role] for role in roles if found[role].choice.placed}
    for role, route in tuple(placed.items()):
        check(route, configured.model_hosts)
        if is_small(route.choice.file):
            checked(path_of(route.choice.file))
            if role != OPTIMISE:
                del placed[role]
        elif route.choice.file:
            admit(Path(route.choice.file), configured, route.choice.context or None, waiting())
    return placed


def tuning_route(settings: Settings, flag: str | None = None) -> Route:
    """What serves the proposals of `hpcagent tune`: the small model that ships where nothing says
    otherwise. A search that is configured by name, or a user's own, does without."""
    found = model_routes(settings, flag)[OPTIMISE]
    said = flag is not None or "model" in settings.sources
    if said or {ALL, OPTIMISE} & settings.models.keys():
        return found
    for key in ("function", "strategy"):
        named = getattr(settings, key)
        if key in settings.sources and named not in ("", SHIPPED):
            return replace(found, instead=f"{key} is set by {settings.sources[key]}")
    return Route(OPTIMISE, ModelChoice(file=SHIPPED), DEFAULT)


def wanted_to_tune(
    configured: Settings, model: str | None, strategy: str | None, function: str | None
) -> dict[str, Route]:
    """`wanted` of a tune run: the small model that ships makes proposals where no model, strategy
    or function is named.

    An option goes before what the configuration says of another key: a configured model makes no
    proposals for a `--strategy` that asks none.
    """
    found = wanted(configured, model, (OPTIMISE, RESULT))
    if model is None and OPTIMISE in found and not _asks(found[OPTIMISE], strategy, function):
        del found[OPTIMISE]
    if model is None and strategy == SHIPPED and OPTIMISE not in found:
        return {**found, OPTIMISE: Route(OPTIMISE, ModelChoice(file=SHIPPED), DEFAULT)}
    route = tuning_route(configured, model)
    if route.source != DEFAULT or function or strategy not in (None, SHIPPED):
        return found
    return {**found, OPTIMISE: route}


def _asks(route: Route, strategy: str | None, function: str | None) -> bool:
    """Whether the search that the options name asks this model."""
    small = is_small(route.choice.file)
    if strategy:
        return strategy == SHIPPED if small else strategy in WITH_MODEL
    return not (small and function)


def ask_servers(routes: dict[str, Route], hosts: tuple[str, ...]) -> None:
    """EnvironmentProblem where a server of these roles is not there, or has not the model."""
    models = Models(routes, hosts)
    for role, route in routes.items():
        if route.choice.endpoint:
            models.identity(role)
