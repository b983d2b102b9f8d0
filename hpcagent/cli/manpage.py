"""The manual page, in roff, from the click commands.

Macros: man(7). A backslash is written as \\e, a dash that must stay one as \\-, and a text line
that begins with a control character of roff gets \\& in front.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

import click

_SECTION = re.compile(r"(\S[^:\n]*):\s*\Z")
FILES = (
    ("/etc/hpcagent.toml", "configuration of the site ($HPCAGENT_SITE_CONFIG names another file)"),
    ("~/.config/hpcagent/config.toml", "configuration of the user"),
    ("./hpcagent.toml", "configuration of the project"),
    ("./runs/RUN/result/", "what a run ended with: settings, modulefiles, report"),
)


def roff(text: str) -> str:
    """Text as roff shows it, whatever is in it; line breaks stay."""
    quoted = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + ln if ln[:1] in (".", "'") else ln for ln in quoted.split("\n"))


def manpage(group: click.Group, name: str, version: str) -> str:
    """The page of a group and all its commands."""
    context = group.make_context(name, [], resilient_parsing=True)
    parts = [
        f'.TH {name.upper()} 1 "" "{name} {roff(version)}" "User Commands"',
        ".nh\n.ad l",
        f".SH NAME\n{name} \\- {roff(_first_sentence(group))}",
        f".SH SYNOPSIS\n.B {name}\n[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        *_paragraphs(_rest(group)),
        ".SH OPTIONS",
        *_parameters(group, context),
        ".SH COMMANDS",
    ]
    for command_name in group.list_commands(context):
        command = group.get_command(context, command_name)
        if command is not None and not command.hidden:
            parts += _command(command, command_name, context)
    parts.append(".SH FILES")
    parts += [f".TP\n\\fI{roff(path)}\\fR\n{roff(words)}" for path, words in FILES]
    if group.epilog:
        parts += [".SH EXIT STATUS", *_paragraphs(_exit_codes(group.epilog))]
    return "\n".join(parts) + "\n"


def _command(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    """A subsection; the commands of a group in it follow under their whole names."""
    context = click.Context(command, info_name=name, parent=parent)
    whole = context.command_path.split(" ", 1)[1]
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f".SS {roff(whole)} {roff(pieces)}"
    yield from _paragraphs(command.help or "")
    yield from _parameters(command, context)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            inner = command.get_command(context, below)
            if inner is not None and not inner.hidden:
                yield from _command(inner, below, context)


def _parameters(command: click.Command, context: click.Context) -> Iterator[str]:
    """What has a help text; --help itself is told once, for the group."""
    for param in command.get_params(context):
        record = param.get_help_record(context)
        told = context.parent is not None and "--help" in param.opts
        if record is not None and record[1] and not told:
            yield f".TP\n\\fB{roff(record[0])}\\fR\n{roff(' '.join(record[1].split()))}"


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs; those that click must not fill (a line of \\b in front) keep their lines."""
    for block in textwrap.dedent(text).strip().split("\n\n"):
        lines = block.split("\n")
        if lines[0].strip() != "\b":
            yield f".PP\n{roff(' '.join(block.split()))}"
            continue
        lines = textwrap.dedent("\n".join(lines[1:])).split("\n")
        if _SECTION.match(lines[0]):
            yield f".PP\n{roff(lines[0])}"
            lines = textwrap.dedent("\n".join(lines[1:])).split("\n")
        yield ".RS 4\n.nf\n" + roff("\n".join(lines)) + "\n.fi\n.RE"


def _help(command: click.Command) -> str:
    return textwrap.dedent(command.help or "").strip()


def _first_sentence(command: click.Command) -> str:
    """What stands behind the name, in lower case, as whatis(1) shows it."""
    first = " ".join(_help(command).split("\n\n")[0].split()).rstrip(".")
    return first[:1].lower() + first[1:]


def _rest(command: click.Command) -> str:
    first, _, rest = _help(command).partition("\n\n")
    return rest or first


def _exit_codes(epilog: str) -> str:
    return epilog.removeprefix("Exit codes: ")
