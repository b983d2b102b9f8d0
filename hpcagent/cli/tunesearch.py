"""How `hpcagent tune` searches: the strategy that was asked for or follows from what was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpcagent import plugins
from hpcagent.config import FLAG, Settings
from hpcagent.embedded.opening import is_small
from hpcagent.errors import UsageError
from hpcagent.llm import replay as transcripts
from hpcagent.llm.roles import OPTIMISE
from hpcagent.llm.tables import SHIPPED
from hpcagent.search.function_file import ENTRIES, read_function
from hpcagent.search.stopping import read_target
from hpcagent.study.proposing import WITH_MODEL
from hpcagent.study.settings import TuneSettings
from hpcagent.templates import clean


def searching(
    configured: Settings, settings: TuneSettings, strategy: str | None, function: str | None,
    target: str | None,
) -> dict[str, Any]:  # fmt: skip
    """The strategy and what belongs to it: a model, a function, a target."""
    route = settings.routes.get(OPTIMISE, {})
    small = is_small(route.get("choice", {}).get("file", ""))
    if function is None:
        # An option goes before what the configuration says of another key.
        without = strategy not in (None, *ENTRIES) or (small and route["source"] == FLAG)
        function = "" if without else configured.function
    target = configured.target if target is None else target
    language = bool(settings.model or settings.replay) and not small
    name = _strategy(strategy or "", configured.strategy, small, language, bool(function))
    found: dict[str, Any] = {"strategy": name, "target": read_target(target) if target else 0.0}
    if function:
        file = read_function(function, ENTRIES[name])
        found |= {"function": str(file.path), "function_sha256": file.sha256}
    return found


def _strategy(asked: str, configured: str, small: bool, language: bool, function: bool) -> str:
    """The strategy that was asked for, or follows from what was given; UsageError if not."""
    implied = {
        (True, True): "guided", (True, False): "model", (False, True): "user-function",
    }.get((language, function), "embedded" if small else "")  # fmt: skip
    name = asked or implied or configured
    choices = plugins.names("hpcagent.search", "create")
    if name not in choices:
        raise UsageError(f"--strategy: {name!r} is unknown: choose one of {', '.join(choices)}")
    odd = "leave one of them out"
    if language and name not in WITH_MODEL:
        raise UsageError(f"--strategy {name} asks no language model, and one is named: {odd}")
    if name in WITH_MODEL and not language:
        raise UsageError(f"--strategy {name} needs --model FILE or URL (or --replay LOG)")
    if small and name != SHIPPED:
        raise UsageError(f"--model {SHIPPED} is for --strategy {SHIPPED}, not for {name}: {odd}")
    if name == SHIPPED and not small:
        raise UsageError(f"--strategy {name} needs --model {SHIPPED}, or a file of that kind")
    if function and name not in ENTRIES:
        raise UsageError(f"--strategy {name} calls no --function, and one is named: {odd}")
    if name in ENTRIES and not function:
        raise UsageError(f"--strategy {name} needs --function FILE.py")
    return name


def transcript_path(text: str | None, model: str | None) -> str:
    """The path of a transcript that can be read; a configured model gives way to it."""
    if not text:
        return ""
    if model:
        raise UsageError("--replay and --model exclude each other")
    path = Path(clean(text, "--replay")).absolute()
    transcripts.replay(path)
    return str(path)
