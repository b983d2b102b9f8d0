"""One private Slurm for a whole test run; tests/conftest.py imports these two fixtures.

A test asks for `slurm`: the environment then names the cluster, and afterwards everything that the
test stopped, hid or left behind is put right. Ended jobs are remembered until the end of the run,
so a test that looks jobs up by name uses a name of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from lab import slurm_lab


def required(accounting: bool = True) -> None:
    """Skip where a program is not installed."""
    missing = slurm_lab.absent(accounting)
    if missing:
        pytest.skip(f"{missing} is not installed")


def enter(cluster: slurm_lab.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients started from here on speak to this cluster, and to no other."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_")):
            monkeypatch.delenv(name)
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[slurm_lab.Cluster]:
    required()
    with slurm_lab.cluster() as made:
        yield made


@pytest.fixture
def slurm(
    slurm_cluster: slurm_lab.Cluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[slurm_lab.Cluster]:
    enter(slurm_cluster, monkeypatch)
    yield slurm_cluster
    slurm_cluster.reset()
