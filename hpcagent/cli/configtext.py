"""The text of a configuration file and of `hpcagent config show`: pure functions.

TOML 1.0, https://toml.io/en/v1.0.0; text from outside stands in files and comments as a TOML
string, which never leaves its line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from hpcagent.cli.surroundings import Batch, Found, ModuleSystem
from hpcagent.config import Key, Settings, keys
from hpcagent.errors import UsageError
from hpcagent.llm.address import Forbidden, read_address, require_allowed
from hpcagent.llm.roles import OPTIMISE, ROLES, USED
from hpcagent.llm.routing import Route
from hpcagent.llm.tables import SHIPPED
from hpcagent.records import Queue

Value = str | bool | int | float | tuple[str, ...]
WIDTH = 80
_MOST_ACCOUNTS = 30
_MOST_QUEUES = 200
_SHORT = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
_HEADS: Mapping[str, str] = {
    "site": "Configuration of hpcagent for a site.",
    "user": "Configuration of hpcagent for one user.",
    "project": "Configuration of hpcagent for the runs that are started in this folder.",
}
# Keys whose being unset is no value: a line to begin with.
EXAMPLES = {"scheduler": "slurm", "strategy": "surrogate", "model": "/path/to/model.gguf"}


# --- TOML ----------------------------------------------------------------------------------------


def toml(value: Value) -> str:
    """The value on one line; UsageError for text that is not valid Unicode."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_string, value))}]"
    return _string(value) if isinstance(value, str) else repr(value)


def printable(value: Value) -> str:
    """The same for a comment or a screen, whatever the text."""
    if isinstance(value, tuple):
        return toml(tuple(map(_valid, value)))
    return toml(_valid(value) if isinstance(value, str) else value)


def one_line(text: str) -> str:
    """Text for a comment or a screen, without quotes."""
    return "".join(char if char.isprintable() else _character(char) for char in _valid(text))


def _valid(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _string(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"not valid text, so that TOML cannot hold it: {text!r}") from None
    return f'"{"".join(map(_character, text))}"'


def _character(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    return f"\\u{ord(char):04X}" if ord(char) < 0x10000 else f"\\U{ord(char):08X}"


# --- a new file ----------------------------------------------------------------------------------


def proposal(found: Found, kind: str) -> dict[str, Value]:
    """The keys that a new file of the site, the user or a project sets.

    The account is nothing for a site: it differs by user, and the batch system knows each one's.
    """
    batch = found.batch
    values: dict[str, Value] = {}
    if batch.name:
        values["scheduler"] = batch.name
    if batch.proposed is not None:
        values["partition"] = batch.proposed.name
    if batch.accounts and kind != "site":
        values["account"] = batch.accounts[0]
    return values


def configuration(found: Found, kind: str, version: str) -> str:
    """A new file: every key with its meaning, what was found as comments, `proposal` set.

    `kind` is site, user or project; the site's own keys are left out of the other two.
    """
    values, notes = proposal(found, kind), _notes(found, kind)
    lines = [*_head(found, kind, version)]
    for section, group in groupby(keys(), key=lambda key: key.section):
        told = [key for key in group if kind == "site" or not key.site_only]
        if told:
            lines += ["", f"# {f'--- {section} '.ljust(WIDTH - 2, '-')}"]
        for key in told:
            lines += ["", *_comment(key.meaning), *notes.get(key.name, ())]
            lines.append(_assignment(key, values))
    if kind != "site":
        lines += ["", *_sites_own(), *notes["prologue"]]
    lines += ["", *_model_tables()]
    return "\n".join(lines) + "\n"


def _assignment(key: Key, values: Mapping[str, Value]) -> str:
    if key.name in values:
        return f"{key.name} = {toml(values[key.name])}"
    return f"# {key.name} = {toml(EXAMPLES.get(key.name, key.default))}"


def _model_tables() -> list[str]:
    """Last in a file: what stood below a table would be in it."""
    example = (
        "#   [models.debug]",
        '#   endpoint = "http://127.0.0.1:8080/v1"',
        "#   temperature = 0.2",
    )
    words = (
        "A role may have a model of its own, by a table of a file or an endpoint with name, "
        "context, temperature, top_p, top_k, seed, mmproj, api_key_file, api_key_env, ca_file or "
        "answer_seconds; "
        f"[models.all] is for all roles: {', '.join(ROLES)}. For instance:"
    )
    return [*_comment(words), *example]


def _sites_own() -> list[str]:
    *names, last = (key.name for key in keys() if key.site_only)
    return _comment(
        f"Only the configuration of the site can set {', '.join(names)} and {last}. You can write "
        "one of your own with `hpcagent config init --output FILE` and name it in "
        "$HPCAGENT_SITE_CONFIG."
    )


def _head(found: Found, kind: str, version: str) -> Iterator[str]:
    written = f"Written by `hpcagent config init`, version {version}, on {one_line(found.host)}."
    yield from _comment(f"{_HEADS[kind]} {written}")
    yield "#"
    yield from _comment(
        "This is TOML. A line that is commented out shows the default, or an example where the "
        "comment says what holds while it is unset. Later ones win: "
        "/etc/hpcagent.toml (or $HPCAGENT_SITE_CONFIG), ~/.config/hpcagent/config.toml, "
        "./hpcagent.toml, HPCAGENT_* variables, options."
    )
    yield from _comment("What holds: `hpcagent config show`. Test it: `hpcagent config check`.")


def _notes(found: Found, kind: str) -> dict[str, list[str]]:
    """Comments by key: what was found, and what could not be asked."""
    return {
        "scheduler": [*_scheduler(found)],
        "partition": [*_partitions(found.batch)],
        "account": [*_accounts(found.batch, kind)],
        "python": [*_python(found)],
        "prologue": [*_prologue(found.modules)],
    }


def _scheduler(found: Found) -> Iterator[str]:
    batch = found.batch
    yield from _note(f"this machine: {one_line(found.host)}, {found.cores} cores")
    if batch.name:
        yield from _note(f"found: {batch.name}, with {len(batch.queues)} partitions or queues")
    for name, why in batch.silent:
        words = one_line(why.removeprefix(f"{name}: "))
        yield from _note(f"not asked: {name} is installed, but gave no answer: {words}")
        if not batch.name:
            yield from _note(f'where it is the one to use: scheduler = "{name}"')
    if not batch.name and not batch.silent:
        yield from _note("found: no batch system; jobs run on this machine")


def _partitions(batch: Batch) -> Iterator[str]:
    if not batch.queues:
        if batch.silent:
            yield from _note("not asked: the batch system gave no answer, see scheduler")
        return
    names = [printable(queue.name) for queue in batch.queues[:_MOST_QUEUES]]
    width = max(9, *map(len, names))
    yield from _note("cores and memory are those of the smallest node")
    yield f"#   {'name':<{width}} {'nodes':>6} {'cores':>5} {'memory':>9} {'limit':>11}"
    for name, queue in zip(names, batch.queues, strict=False):
        row, state = f"#   {name:<{width}} {_sizes(queue)}", _state(queue)
        if len(row) + len(state) <= WIDTH:
            yield row + state
        else:
            yield row
            yield from _wrapped(state.strip(), "#       ", "#       ")
    if len(batch.queues) > len(names):
        yield from _note(f"and {len(batch.queues) - len(names)} more")
    if batch.proposed is None:
        yield from _note("none that takes jobs is the default: choose one")


def _sizes(queue: Queue) -> str:
    memory = f"{queue.memory_bytes / 2**30:.1f} GiB" if queue.memory_bytes else "?"
    limit = duration(queue.max_walltime_s)
    return f"{queue.nodes:>6} {queue.cpus_per_node:>5} {memory:>9} {limit:>11}"


def _state(queue: Queue) -> str:
    if not queue.available:
        return f"  {one_line(queue.why_not)}"
    return "  default" if queue.default else ""


def duration(seconds: int | None) -> str:
    """`D-HH:MM:SS`, or `none`."""
    if seconds is None:
        return "none"
    days, rest = divmod(seconds, 86400)
    return f"{days}-{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"


def _accounts(batch: Batch, kind: str) -> Iterator[str]:
    if batch.accounts_missing:
        yield from _note(f"not told by {batch.name}: {one_line(batch.accounts_missing)}")
    if not batch.accounts:
        return
    first, *others = map(printable, batch.accounts[:_MOST_ACCOUNTS])
    more = len(batch.accounts) - _MOST_ACCOUNTS
    rest = f", and {more} more" if more > 0 else ""
    yield from _note(f"you may charge: {', '.join([f'{first} (your default)', *others])}{rest}")
    if kind == "site":
        yield from _note("empty: each user's default account is charged")


def _python(found: Found) -> Iterator[str]:
    path, version = found.python
    yield from _note("compute nodes need a python3 for the measurements, and nothing else of it")
    if not path:
        yield from _note("here is none on the PATH: load a module in the site's prologue")
        return
    yield from _note(f"here: version {one_line(version)}; for instance:")
    yield f"#   python = {printable(path)}"


def _prologue(modules: ModuleSystem) -> Iterator[str]:
    if not modules.kind:
        yield from _note("found: no module system (neither Lmod nor Environment Modules)")
        return
    version = f" {one_line(modules.version)}" if modules.version else ""
    yield from _note(f"found: {modules.kind}{version}; what would load modules in a job:")
    yield "#   prologue = ["
    for line in modules.prologue():
        yield f"#     {printable(line)},"
    yield "#   ]"


def _comment(text: str) -> list[str]:
    return _wrapped(text, "# ", "# ")


def _note(text: str) -> list[str]:
    return _wrapped(text, "#   ", "#     ")


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=rest,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


# --- show ----------------------------------------------------------------------------------------


def origin(settings: Settings, name: str) -> tuple[str, str]:
    """Whether a value is a default, of a file or of a variable; and of which."""
    source = settings.sources.get(name, "")
    if not source:
        return "default", ""
    return "variable" if source == f"HPCAGENT_{name.upper()}" else "file", source


def shown(settings: Settings) -> Iterator[str]:
    """A line for each key: name, value and where it came from; a long source has its own line."""
    longest = max(len(key.name) for key in keys())
    for section, group in groupby(keys(), key=lambda key: key.section):
        yield f"# {section}"
        for key in group:
            left = f"{key.name:<{longest}} = {printable(getattr(settings, key.name))}"
            kind, source = origin(settings, key.name)
            line = f"{left:<44}  # {one_line(source) or kind}"
            if len(line) <= WIDTH:
                yield line
            else:
                yield left
                yield f"{'':<{longest}}   # {one_line(source) or kind}"


def shown_roles(routes: Mapping[str, Route], hosts: Sequence[str]) -> Iterator[str]:
    """Which model serves which roles, what says so, and why it may not; `hosts` is the site's
    list. Roles of which the same is to be told share a line."""
    yield "# Language models: roles, model, and what says so"
    together: dict[tuple[str, str], list[str]] = {}
    for role, route in routes.items():
        used = "" if role in USED else "; nothing uses {these} yet"
        together.setdefault((_served_by(route, hosts), used), []).append(role)
    for (words, used), roles in together.items():
        these = "the role" if len(roles) == 1 else "these roles"
        yield from textwrap.wrap(
            one_line(f"{', '.join(roles)}: {words}{used.format(these=these)}"), WIDTH,
            initial_indent="# ", subsequent_indent="#     ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip


def _served_by(route: Route, hosts: Sequence[str]) -> str:
    """The model, how it is asked, and what says so; then what is in its way."""
    choice = route.choice
    if choice.file == SHIPPED and route.role != OPTIMISE:
        return f"none ({choice.file} only tunes)"
    settings = {k: v for k, v in choice.to_json().items() if k not in ("file", "endpoint", "name")}
    words = ", ".join(f"{key} {value}" for key, value in settings.items())
    told = route.why if not words or not choice.placed else f"{route.why} with {words}"
    if choice.endpoint:
        try:
            require_allowed(read_address(choice.endpoint), hosts)
        except Forbidden as forbidden:
            told += f"; REFUSED: {str(forbidden).removeprefix(f'{choice.endpoint}: ')}"
    return told
