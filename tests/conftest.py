"""In continuous integration a test with a real component must run: a skip counts as a failure."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator

import pytest
from lab.slurm_fixtures import slurm, slurm_cluster  # noqa: F401 (fixtures of the whole run)

from hpcagent.measure.worker import PLACES_VARIABLE

REAL = ("openblas", "llama", "strace", "lmod", "slurm", "wheel", "toolchain")
skipped_real = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[skipped_real] = Counter()


@pytest.fixture(scope="session", autouse=True)
def node_of_its_own() -> Iterator[None]:
    """Other test runs on this machine are not waited for; units of this one wait for each other."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv(PLACES_VARIABLE, folder)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    markers = [name for name in REAL if item.get_closest_marker(name)]
    if markers and report.skipped and not hasattr(report, "wasxfail"):
        item.config.stash[skipped_real].update(markers)
        if os.environ.get("CI") == "true":
            report.outcome = "failed"
            report.longrepr = f"CI=true, and a real component was not tested: {report.longrepr}"
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    counts = config.stash[skipped_real]
    if counts:
        words = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
        terminalreporter.write_line(f"real components not tested here: {words}")
