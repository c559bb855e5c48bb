"""Fixtures that every folder of tests may use."""

import multiprocessing.process
import os
import subprocess
from pathlib import Path

# Before anything imports torch: tests run beside each other on few cores, and spinning threads starve them all.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

from tunelab.backends.jittor.environment import environments

NOT_HERE = ("git", "java", "ninja")
"""What the package asks for in passing; it goes on without. Fast tests see a machine that has none of these."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="leave out tests marked slow; the others start no process")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: starts a process (Java, a worker, the command line), or takes seconds")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fast"):
        slow = [
            item for item in items if item.get_closest_marker("slow") or {"java", "chromium"} & {*item.fixturenames}
        ]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in set(slow)]


@pytest.fixture(autouse=True)
def no_process_if_fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under --fast a test that starts a process fails, so that the mark `slow` stays true."""
    if request.config.getoption("--fast"):

        def refused(process: object, command: object = "", *others: object, **options: object) -> None:
            name = Path(str(command if isinstance(command, str) else command[0])).name
            if name in NOT_HERE:
                raise FileNotFoundError(f"{name} is not used by fast tests")
            pytest.fail(f"starts a process; mark this test slow: {command}")

        monkeypatch.setattr(subprocess.Popen, "__init__", refused)
        monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", refused)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data of tests: shared by all of a session, its worker processes too, and by nothing else."""
    os.environ.setdefault("TUNELAB_JITTOR", str(environments()))  # minutes to make: that of the user's own cache
    os.environ["TUNELAB_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    return Path(os.environ["TUNELAB_CACHE"])


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data sets: $TUNELAB_SHARED, else shared/ beside or in the repository.

    Where it is missing, tests that need it are skipped; with TUNELAB_REQUIRE_ALL=1 they fail instead.
    """
    root = Path(__file__).resolve().parents[1]
    given = os.environ.get("TUNELAB_SHARED")
    candidates = [Path(given)] if given else [root.parent / "shared", root / "shared"]
    for folder in candidates:
        if (folder / "data").is_dir():
            return folder
    message = f"no shared data at {' or '.join(map(str, candidates))}; set TUNELAB_SHARED"
    if os.environ.get("TUNELAB_REQUIRE_ALL") == "1":
        pytest.fail(message)
    pytest.skip(message)
