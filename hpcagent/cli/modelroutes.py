"""`--model` and the configuration: which model serves the roles of a command."""

from __future__ import annotations

from collections.abc import Iterable

import click

from hpcagent.config import Settings, model_routes
from hpcagent.llm.routing import Models, Route, check

model_option = click.option(
    "--model",
    metavar="FILE|URL",
    help="A language model: a GGUF file, or a server's http://HOST:PORT/v1 or unix:/PATH.",
)


def wanted(configured: Settings, model: str | None, roles: Iterable[str]) -> dict[str, Route]:
    """The routes of those `roles` that have a model, each known to be able to serve.

    UsageError or EnvironmentProblem where a file or an address cannot; no server is asked.
    """
    found = model_routes(configured, model)
    placed = {role: found[role] for role in roles if found[role].choice.placed}
    for route in placed.values():
        check(route, configured.model_hosts)
    return placed


def ask_servers(routes: dict[str, Route], hosts: tuple[str, ...]) -> None:
    """EnvironmentProblem where a server of these roles is not there, or has not the model."""
    models = Models(routes, hosts)
    for role, route in routes.items():
        if route.choice.endpoint:
            models.identity(role)
