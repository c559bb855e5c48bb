"""A real SLURM cluster for tests: one a test process, and one test at a time, since all share the same few cores."""

import os
from collections.abc import Iterator

import pytest
from filelock import FileLock

from slurm_cluster import SlurmCluster, script


@pytest.fixture(scope="session")
def slurm_of_this_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """Where SLURM is missing the test is skipped; with TUNELAB_REQUIRE_ALL=1 it fails."""
    cluster = SlurmCluster(tmp_path_factory.mktemp("slurm"))
    started = script("start", "--no-install", "--folder", cluster.folder)
    missing = "SLURM is missing" in started.stderr
    if missing and os.environ.get("TUNELAB_REQUIRE_ALL") != "1":
        pytest.skip(started.stderr)
    if started.returncode:
        pytest.fail(started.stderr)
    yield cluster
    cluster.script("stop")


@pytest.fixture
def slurm(
    slurm_of_this_process: SlurmCluster, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlurmCluster]:
    """SLURM's commands reach it; jobs of a test end with the test, and nodes that it killed are started again."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CONF", str(slurm_of_this_process.folder / "slurm.conf"))
    with FileLock(tmp_path_factory.getbasetemp().parent / "slurm.lock"):
        yield slurm_of_this_process
        slurm_of_this_process.calm()
