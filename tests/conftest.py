"""Fixtures that every folder of tests may use."""

import os
from pathlib import Path

# Before anything imports torch: tests run beside each other on few cores, and spinning threads starve them all.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data of tests: shared by all of a session, its worker processes too, and by nothing else."""
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
