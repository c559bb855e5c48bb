"""What grows with the steps of a run and must not: its resident memory and its open files; and what must not be written
anywhere: the secrets of the environment."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from disturbed import at_work
from studies import Place, outliving, study_text

STEPS = 5000
WARM_UP = 0.3
"""The share of the steps after which an allocator has seen every size of row."""
KIB_A_STEP = 0.5
"""5,000 steps of that are 2.4 MiB: below what tells a leak from an allocator's rest."""
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID",
           "OPENAI_API_KEY", "MLFLOW_TRACKING_PASSWORD", "GITHUB_TOKEN", "DATABASE_URL")  # fmt: skip


class Sample(NamedTuple):
    step: int
    resident_kib: int
    files: int


class Slope(NamedTuple):
    kib_a_step: float
    files_first: int
    files_last: int
    """The median of the first and of the last tenth after the warm-up."""
    steps: int
    samples: int

    @property
    def text(self) -> str:
        files = f"{self.files_first} open files, {self.files_last} at the end"
        return f"{self.kib_a_step:+.3f} KiB a step over {self.steps} steps ({self.samples} samples); {files}"

    @property
    def faults(self) -> list[str]:
        found = [] if self.kib_a_step <= KIB_A_STEP else [f"its memory grows: {self.text}"]
        return found + ([] if self.files_last <= self.files_first else [f"its open files grow: {self.text}"])


def sampled(place: Place, *, per_second: float = 4.0) -> list[Sample]:
    """Of the run that trains, while it does."""
    call, found = place.started(), []
    while call.alive:
        run = at_work(place.out)
        held = None if run is None else run.held()
        last = None if run is None else run.last_step()
        if held is not None and last is not None:
            with suppress(OSError, ValueError):  # it has ended meanwhile
                process = Path(f"/proc/{held.holder.pid}")
                pages = int((process / "statm").read_text().split()[1])
                kib = pages * os.sysconf("SC_PAGE_SIZE") // 1024
                found.append(Sample(last.step, kib, len(list((process / "fd").iterdir()))))
        time.sleep(1 / per_second)
    if call.process.returncode != 0:
        raise RuntimeError(f"the run fails: {call.said[-2000:]}")
    return found


def slope(samples: list[Sample], *, steps: int) -> Slope:
    """Least squares over those after the warm-up and before the last step, where it is evaluated.

    Raises:
        ValueError: too few.
    """
    used = [sample for sample in samples if WARM_UP * steps <= sample.step < steps]
    if len(used) < 10:
        raise ValueError(f"{len(used)} samples of {len(samples)} lie after the warm-up; at least 10")
    fitted = np.polyfit([sample.step for sample in used], [sample.resident_kib for sample in used], 1)
    tenth = max(1, len(used) // 10)
    first, last = (int(np.median([sample.files for sample in part])) for part in (used[:tenth], used[-tenth:]))
    return Slope(float(fitted[0]), first, last, steps, len(used))


def of_a_long_run(work: Path, *, steps: int = STEPS) -> Slope:
    """One LoRA run, with checkpoints as a user has them, of one short row a step."""
    place = Place(work / "long", study_text(("lora",), steps=steps, examples=1, checkpoint_seconds=2))
    return slope(sampled(place), steps=steps)


def written_secrets(work: Path) -> list[str]:
    """Files that hold a secret of the environment, by name; also compressed text counts, whose bytes are others: a
    study's files are none."""
    secrets = {name: f"canary-{name.lower()}-5b1f" for name in SECRETS}
    place = Place(work / "secrets", study_text(("lora",), steps=4), **secrets)
    call = place.ran()
    found = [] if call.process.returncode == 0 else [f"status {call.process.returncode}: {call.said[-1500:]}"]
    found += [f"process {pid} outlives it" for pid in outliving(place.folder)]
    return found + holding(place.folder, secrets)


def holding(folder: Path, secrets: dict[str, str]) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        raise ValueError(f"{folder} has no files")
    return [
        f"{path.relative_to(folder)} holds {name}"
        for path in sorted(files)
        for name, secret in secrets.items()
        if secret.encode() in path.read_bytes()
    ]
