"""What holds for the whole run: real components that must not be skipped, and workers side by side.

In continuous integration a test with a real component must run: a skip counts as a failure.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from lab.slurm_fixtures import slurm, slurm_cluster  # noqa: F401 (fixtures of the whole run)

from hpcagent.measure.worker import PLACES_VARIABLE

REAL = ("openblas", "llama", "strace", "lmod", "slurm", "wheel", "toolchain")
SKIPPED_REAL = "real component that was skipped"
skipped_real = pytest.StashKey[Counter[str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Among workers what takes long comes first, so that none is left with it in the end."""
    if hasattr(config, "workerinput"):
        real = {item.path for item in items if any(map(item.get_closest_marker, REAL))}
        items.sort(key=lambda item: item.path not in real)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[skipped_real] = counts = Counter[str]()
    config.pluginmanager.register(CountSkipped(counts))
    # By the clock of a busy machine no example is too slow.
    pace = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("any pace", pace)
    settings.load_profile("any pace")


@pytest.fixture(scope="session", autouse=True)
def node_of_its_own() -> Iterator[None]:
    """Other test runs and workers on this machine are not waited for; units of this one wait for
    each other."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv(PLACES_VARIABLE, folder)
        # A run has a home of its own; each would look all fonts of the system through.
        patch.setenv("MPLCONFIGDIR", str(Path(folder) / "matplotlib"))
        yield


@pytest.fixture(scope="session", autouse=True)
def interrupts_are_heard() -> Iterator[None]:
    """What a shell starts in the background ignores SIGINT, and so would all that tests start."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    markers = [name for name in REAL if item.get_closest_marker(name)]
    if markers and report.skipped and not hasattr(report, "wasxfail"):
        report.user_properties += [(SKIPPED_REAL, name) for name in markers]
        if os.environ.get("CI") == "true":
            report.outcome = "failed"
            report.longrepr = f"CI=true, and a real component was not tested: {report.longrepr}"
    return report


class CountSkipped:
    """Sees the reports of all workers, and those of a run without workers."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = [name for what, name in report.user_properties if what == SKIPPED_REAL]
        self._counts.update(map(str, told))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    counts = config.stash[skipped_real]
    if counts:
        words = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
        terminalreporter.write_line(f"real components not tested here: {words}")
