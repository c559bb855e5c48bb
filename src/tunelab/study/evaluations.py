"""The evaluations of a run by their settings: the one in place, one that is asked for, and those kept from before.

The one in place is the run's run.json, predictions.jsonl, general.jsonl and result.json. What is asked for by other
settings stands in asked.json, and touches nothing until it is whole. Then the two change places: the earlier one goes
to evaluations/SETTINGS, and comes back without a text being generated when its settings are asked for again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from tunelab.config.run import RunConfig
from tunelab.errors import UnreadableRun
from tunelab.files import write_atomically
from tunelab.study.record_files import RESULT, RUN, whole

FILES = (RUN, "predictions.jsonl", "general.jsonl", RESULT)
"""Of an evaluation; result.json is written last and taken away first, so that a reader never sees two mixed."""
ASKED = "asked.json"
TAKING_PLACE = "taking-place"
"""In a whole evaluation that is being put in place: the one before it has been kept."""


class Evaluations:
    """Of one run's folder. `check` is asked before every write: the fence of whoever holds the folder."""

    def __init__(self, folder: Path, *, check: Callable[[], None] = lambda: None) -> None:
        self._folder, self._check = folder, check

    # ------------------------------------------------------------ asked for

    def asked(self) -> RunConfig | None:
        """The run with the settings of an evaluation that is not there yet. What cannot be read asks for nothing:
        `tunelab run` asks again."""
        try:
            return whole(self._folder / ASKED, RunConfig.from_run_json)
        except (FileNotFoundError, UnreadableRun):
            return None

    def ask(self, run: RunConfig) -> None:
        self._check()
        write_atomically(self._folder / ASKED, json.dumps(run.model_dump(mode="json"), indent=2) + "\n")

    def withdraw(self) -> bool:
        """Nothing is asked for any more; whether something was."""
        if not (self._folder / ASKED).exists():
            return False
        self._check()
        (self._folder / ASKED).unlink(missing_ok=True)
        return True

    # ------------------------------------------------------------ kept, and put in place

    def keeps(self, run: RunConfig) -> bool:
        """Whether one by the settings of this run is kept whole, beside that in place."""
        return self._of(run).is_dir()

    def put_in_place(self, run: RunConfig, contents: Mapping[str, str] | None = None) -> None:
        """Exchange the one in place for that of `run`'s settings. A process that is killed meanwhile loses nothing:
        `finish` goes on.

        Args:
            contents: the texts of `FILES` of a new one, without those that it has not; left out: of the kept one.
        """
        self._check()
        if contents is not None:
            new = self._folder / "evaluations" / f".{settings_of(run)}"
            shutil.rmtree(new, ignore_errors=True)
            for name, text in contents.items():
                write_atomically(new / name, text)
            _discard(self._of(run))
            new.rename(self._of(run))
        self._keep_present()
        (self._of(run) / TAKING_PLACE).touch()
        self._take_place(self._of(run))

    @property
    def interrupted(self) -> bool:
        """Whether an exchange was begun by a process that has ended since, and has to be finished before all else."""
        return bool(self._begun())

    def finish(self) -> None:
        """The exchange that was interrupted, if there is one."""
        for source in self._begun():
            self._take_place(source)

    def _begun(self) -> list[Path]:
        """A name that begins with a point is no evaluation's: half made, or in place already and half deleted."""
        markers = self._folder.glob(f"evaluations/[!.]*/{TAKING_PLACE}")
        return [marker.parent for marker in markers]

    def _keep_present(self) -> None:
        present = whole(self._folder / RUN, RunConfig.from_run_json)
        copy = self._folder / "evaluations" / ".present"
        shutil.rmtree(copy, ignore_errors=True)
        for name in FILES:
            if (self._folder / name).exists():
                write_atomically(copy / name, (self._folder / name).read_bytes())
        _discard(self._of(present))
        copy.rename(self._of(present))

    def _take_place(self, source: Path) -> None:
        self._check()
        (self._folder / RESULT).unlink(missing_ok=True)
        for name in FILES:
            if (source / name).exists():
                write_atomically(self._folder / name, (source / name).read_bytes())
            else:
                (self._folder / name).unlink(missing_ok=True)
        (self._folder / ASKED).unlink(missing_ok=True)
        _discard(source)

    def _of(self, run: RunConfig) -> Path:
        return self._folder / "evaluations" / settings_of(run)


def _discard(folder: Path) -> None:
    """At once: half of a kept one would count as whole."""
    gone = folder.with_name(f".{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)  # of a process that was killed while it deleted
    if folder.exists():
        folder.rename(gone)
        shutil.rmtree(gone)


def settings_of(run: RunConfig) -> str:
    """The name of everything that decides which texts a trained model writes."""
    facts = {"generation": run.generation.model_dump(mode="json"), "engine": run.evaluation.engine}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
