"""The few exceptions of hpcagent: misuse and broken promises.

What goes wrong with a configuration, a job or a model is data (`records.Failure`), not an
exception. Each exception carries the documented exit code that `hpcagent` ends with.
"""

from __future__ import annotations


class HpcagentError(Exception):
    """One clear line: what is wrong, where, and how to mend it."""

    exit_code = 7


class UsageError(HpcagentError):
    """The request cannot be understood: an option, a file or a field is wrong."""

    exit_code = 2


class Unfit(UsageError):
    """Runs that cannot be measured together or further, whatever is mended around them."""


class EnvironmentProblem(HpcagentError):
    """The machine lacks something: a compiler, a library, a writable directory."""

    exit_code = 3


class SchedulerRefused(HpcagentError):
    """The batch system would not take a job; the message quotes its words."""

    exit_code = 4


class SchedulerUnreachable(HpcagentError):
    """The batch system gave no answer; nothing is known of its jobs, and none is given up."""

    exit_code = 3


class BudgetError(HpcagentError):
    """The budget is too small for the next step, or spent."""

    exit_code = 5


class RunInUse(HpcagentError):
    """Another process holds the run's lease."""

    exit_code = 6


class RunFailed(HpcagentError):
    """The run ended without a usable result."""

    exit_code = 7


class Fenced(HpcagentError):
    """This writer's lease was taken over; it must not write any more."""

    exit_code = 6
