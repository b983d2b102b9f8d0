"""What surrounds the failures of the held-out set: makefiles with noise, and texts of jobs."""

from __future__ import annotations

from collections.abc import Mapping

# Compiles with many warnings, one of them about the word error.
LOUD = """#include <stdio.h>
#include <string.h>
static int error_count(int a, unsigned b) { return a < b; }
int NAME_report(char *name, long failed)
{
    int error, i;
    char tag[4];
    for (i = 0; i < sizeof tag; i++)
        tag[i] = name[i];
    printf("%d tests, %s failed\\n", failed, failed);
    if (failed = 0)
        strncpy(tag, "errors", 4);
    return error;
}
"""
LOUD_NAMES = ("grid", "halo", "fatal", "io_error", "timer", "segments", "abort", "norms")
MAKEFILE = """CFLAGS = -O1 -Wall -Wextra
LOUD = {objects}
all: app
app: $(LOUD) {more}
\t{link}
%.o: %.c
\t$(CC) $(CFLAGS) -c $< -o $@
%.o: %.cpp
\t$(CXX) $(CXXFLAGS) -c $< -o $@
%.o: %.f90
\t$(FC) $(FFLAGS) -c $< -o $@
"""


def loud(count: int = 4) -> dict[str, str]:
    """Sources that a makefile of `makefile` compiles with warnings and no error."""
    return {f"{name}.c": LOUD.replace("NAME", name) for name in LOUD_NAMES[:count]}


def makefile(more: str, link: str = "$(CC) $^ -o $@", count: int = 4) -> dict[str, str]:
    """A makefile that builds `app` of the loud objects and of `more`."""
    objects = " ".join(f"{name}.o" for name in LOUD_NAMES[:count])
    text = MAKEFILE.format(objects=objects, more=more, link=link)
    return {"Makefile": text, **loud(count)}


def job(body: str, after: str = "") -> str:
    """A batch script: a prologue, the work, and an epilogue that goes on whatever happened."""
    return (
        'echo "=== prologue: $(date -u +%FT%TZ) on node017, 2 cores, scratch in $PWD"\n'
        'echo "Currently loaded: gcc/12.2.0 openblas/0.3.21 openmpi/4.1.4"\n'
        f"(\n{body}\n)\nstatus=$?\n{after}\n"
        'echo "=== epilogue: status $status, cleaning up scratch"\n'
        "ls *.h5 2>/dev/null || echo 'no results to copy back'\n"
        "exit $status"
    )


def program(text: str, name: str = "main.c") -> Mapping[str, str]:
    return {name: text}
