"""Where a run's numbers are made: packages, threads, hardware, git. Recorded, never part of a run's identity."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata

import tunelab
from tunelab.config.run import RunConfig
from tunelab.device import processor
from tunelab.records import Provenance

PACKAGES = (
    "torch", "jittor", "transformers", "tokenizers", "datasets", "safetensors", "numpy", "sacrebleu", "rouge-score",
)  # fmt: skip


def provenance(run: RunConfig, *, device: str) -> Provenance:
    return Provenance(
        tunelab=tunelab.__version__,
        python=platform.python_version(),
        packages=dict(_versions()),
        threads=run.threads,
        precision=run.precision,
        device=device,
        hardware=f"{processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB",
        platform=f"{platform.system()} {platform.release()}, {sys.implementation.name}",
        git=_git(),
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _versions() -> Iterator[tuple[str, str]]:
    """Of those that are in this environment: each back end has its own framework."""
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3


def _git() -> str | None:
    def ask(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    if not commit:
        return None
    return commit + ("+dirty" if ask("status", "--porcelain", "--untracked-files=no") else "")
