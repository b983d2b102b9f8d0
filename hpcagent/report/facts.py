"""What a report says, part two: model, machine, library, space, budget, how to repeat it."""

from __future__ import annotations

import shlex

from hpcagent.records import Library, Machine
from hpcagent.report import application, wording
from hpcagent.report.document import Block, Code, Line, Listing, Section, paragraph, table
from hpcagent.report.text import model_words
from hpcagent.study.summary import RunSummary


def model(summary: RunSummary) -> Section:
    kind = "Small model: " if summary.model.small else "Language model: "
    return Section("The model", (paragraph(kind, model_words(summary), "."),))


def machine_and_library(summary: RunSummary) -> Section:
    blocks: list[Block] = []
    if summary.machine is None:
        blocks.append(paragraph("The machine was not probed."))
    else:
        blocks.append(table(("Machine", "Value"), _machine(summary.machine)))
        if summary.machine.missing:
            rows: list[Line] = [(n, Code(why)) for n, why in summary.machine.missing.items()]
            blocks.append(table(("Not known", "Why"), rows))
    if summary.application is not None:
        blocks.append(application.described(summary.application))
    elif summary.library is None:
        blocks.append(paragraph("No library was found or described."))
    else:
        blocks.append(table(("Library", "Value"), _library(summary.library)))
    what = "library" if summary.application is None else "application"
    return Section(f"The machine and {what}", tuple(blocks))


def space(summary: RunSummary) -> Section:
    if not summary.space:
        return Section("Space", (paragraph("No space was made."),))
    rows: list[Line] = [
        (Code(name), Code(default), Code(wording.shorten(", ".join(values), 600)))
        for name, values, default in summary.space
    ]
    size = wording.plural(summary.points, "configuration")
    blocks: list[Block] = [
        paragraph(f"{size} {_acting(summary)}."),
        table(("Parameter", "Default", "Values"), rows),
    ]
    if summary.history:
        blocks.append(paragraph("Earlier runs: ", summary.history, "."))
    return Section("Space", tuple(blocks))


def _acting(summary: RunSummary) -> str:
    if summary.application is not None:
        return "that the card allows on this machine"
    return "that the probed build and machine let act"


def budget(summary: RunSummary) -> Section:
    spent = summary.spent
    rows: list[Line] = [
        ("Jobs submitted", str(spent.jobs)),
        ("Rounds", str(spent.rounds)),
        ("Core-hours reserved", f"{spent.core_hours:.4g}"),
        ("Wall time", wording.duration(spent.wall_s)),
        ("Opened", summary.created_utc),
        ("Closed", summary.closed_utc or "not yet"),
        ("Why it stopped", summary.stop_reason or wording.NONE),
    ]
    return Section("Budget", (table(("Spent", "Value"), rows),))


def reproduce(summary: RunSummary) -> Section:
    run = _word(summary.found_as or summary.run_id)
    return Section(
        "How to reproduce",
        (
            paragraph(
                f"hpcagent {summary.version}, seed {summary.seed}. The same seed proposes the same "
                "configurations as long as the measurements say the same. The settings of this "
                "run, those of configuration files included, are in the first record of ",
                Code("journal.jsonl"),
                ".",
            ),
            Listing(
                (
                    " ".join(_word(word) for word in summary.command),
                    f"hpcagent report {run}",
                )
            ),
        ),
    )


def files(summary: RunSummary) -> Section:
    run = wording.visible(summary.found_as or summary.run_id)
    rows: list[Line] = [
        (Code("journal.jsonl"), "every decision, submission and result, in order"),
        (Code("work/<unit>/"), "what a job was given (spec.json, job.sh) and gave (result.jsonl)"),
        (Code("llm.jsonl"), "every call of the language model, if there was one"),
        (Code("result/"), "this report, its figures and what sets the best configuration"),
    ]
    return Section(
        "Files",
        (paragraph("In the run directory ", Code(run), ":"), table(("File", "Content"), rows)),
    )


def _machine(machine: Machine) -> list[Line]:
    memory = wording.size(machine.memory_available_bytes)
    threads = wording.plural(machine.threads_per_core, "thread")
    quota = machine.cpu_quota_cores
    cores = f"{machine.usable_cores} usable of {len(machine.cpus)} CPUs"
    if quota is not None:
        cores += f", quota {quota:g} cores"
    caches = ", ".join(
        f"L{c.level} {c.kind} {c.instances} x {wording.size(c.size_bytes)}" for c in machine.caches
    )
    compilers = ", ".join(f"{c.command} {c.version}" for c in machine.compilers)
    return [
        ("Host", machine.host),
        ("CPU", machine.cpu_model),
        ("Microarchitecture", f"{machine.architecture}, {machine.microarchitecture}"),
        ("Cores", f"{cores}, {threads} per core"),
        ("Sockets and NUMA nodes", f"{machine.sockets}, {machine.numa_nodes}"),
        ("Caches", caches or wording.NONE),
        ("Memory a job may use", memory),
        ("Transparent huge pages", machine.huge_pages or wording.NONE),
        ("Kernel, glibc", f"{machine.kernel}, {machine.glibc or 'no glibc'}"),
        ("Compilers", compilers or wording.NONE),
    ]


def _library(library: Library) -> list[Line]:
    limit = library.max_threads
    return [
        ("Path", Code(library.path)),
        ("Found as", library.source),
        ("Version", library.version),
        ("Configuration", Code(library.config)),
        ("Core type", library.core),
        ("Dynamic dispatch", "yes" if library.dynamic_arch else "no"),
        ("Threading", library.threading + (f", at most {limit} threads" if limit else "")),
        ("Threads by default", str(library.default_threads)),
        ("Interface", library.interface),
    ]


def _word(text: str) -> str:
    return shlex.quote(wording.visible(text))
