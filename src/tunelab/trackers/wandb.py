"""Weights & Biases: offline files in the results folder, which `wandb sync` uploads; WANDB_MODE=online does it at once.

Offline a run is written whole each time that a mirror takes it up, in place of its earlier file: so nothing is in it
twice. Online it is continued under its id. Host, user, command line, code, commit, packages and the machine's load are
not recorded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from tunelab.errors import ConfigError
from tunelab.tracker_contract import Ending, Point, TrackedRun, Tracker

PROJECT = "tunelab"
"""Unless WANDB_PROJECT names another; the study is the group."""


class Wandb(Tracker):
    packages: ClassVar[tuple[str, ...]] = ("wandb",)
    install: ClassVar[str] = "pip install 'tunelab[wandb]'"
    look: ClassVar[str] = "wandb sync {folder}/wandb/offline-run-* (uploads it)"

    def __init__(self, folder: Path, study: str) -> None:
        super().__init__(folder, study)
        os.environ["WANDB_ERROR_REPORTING"] = "false"
        self._mode: Any = os.environ.get("WANDB_MODE") or "offline"
        if self._mode == "disabled":
            raise ConfigError("WANDB_MODE=disabled is in the environment, so nothing would be kept; unset it")
        import wandb

        self._wandb = wandb
        self._runs: dict[str, Any] = {}

    def begin(self, run: TrackedRun, *, anew: bool) -> bool:
        if self._mode == "offline":
            for earlier in self.folder.glob(f"wandb/offline-run-*-{run.id}"):
                shutil.rmtree(earlier)
        opened = self._wandb.init(
            id=run.id, name=run.id, project=os.environ.get("WANDB_PROJECT") or PROJECT, group=self.study,
            job_type=run.method, tags=[f"{name}: {value}"[:64] for name, value in run.tags.items()],
            config={**run.configuration, "tags": dict(run.tags)}, dir=str(self.folder),
            resume=None if self._mode == "offline" else "allow", reinit="create_new", settings=self._settings(),
        )  # fmt: skip
        self._runs[run.id] = opened
        return bool(opened.resumed) and not anew

    def _settings(self) -> Any:
        return self._wandb.Settings(
            mode=self._mode, silent=True, console="off", host="", disable_git=True, disable_code=True, save_code=False,
            disable_job_creation=True, x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True,
            x_save_requirements=False,
        )  # fmt: skip

    def send(self, run_id: str, points: Sequence[Point]) -> None:
        for point in points:
            self._runs[run_id].log({**point.values, "_timestamp": point.when}, step=point.step)

    def end(self, run_id: str, ending: Ending) -> None:
        run = self._runs.pop(run_id)
        run.summary.update({**ending.values, "status": ending.status})
        run.finish(exit_code=0 if ending.status in ("finished", "running") else 1)
