"""A finished run that is asked for again, perhaps by other settings of evaluation: what it lacks of that, and how it is
opened again without anything being trained or lost."""

from __future__ import annotations

from typing import Literal

from tunelab.config.run import RunConfig
from tunelab.entries import BASE
from tunelab.errors import UnreadableRun
from tunelab.study.evaluations import settings_of
from tunelab.study.record_files import EVALUATED
from tunelab.study.store import RunFolder

Missing = Literal["training", "evaluation", "kept evaluation", "harness", "nothing"]
"""A kept evaluation only has to be put in place."""


def missing(folder: RunFolder, run: RunConfig) -> Missing:
    """What is not here yet of what is asked by `run`, of which the same was or will be trained."""
    if not folder.has_result:
        return "training"
    earlier = folder.read_run()
    if has_lost_texts(folder):
        return "evaluation"
    if settings_of(earlier) != settings_of(run) and any(text is not None for text in _texts_of(folder)):
        return "kept evaluation" if folder.evaluations.keeps(run) else "evaluation"
    return "harness" if set(run.evaluation.harness) - set(folder.harness_tasks()) else "nothing"


def has_lost_texts(folder: RunFolder) -> bool:
    """It has finished, its predictions are gone, and the model that wrote them is not."""
    gone = folder.has_result and not (folder.path / EVALUATED[0]).exists()
    return gone and (folder.model.is_dir() or folder.read_run().method["label"] == BASE)


def _texts_of(folder: RunFolder) -> list[str | None]:
    """None that can be read: whatever was generated has to be again."""
    try:
        return [one.prediction for one in folder.read_predictions()]
    except UnreadableRun:
        return [""]


def reopen(folder: RunFolder, run: RunConfig) -> bool:
    """Where it has finished with texts that were generated in another way, or without a task of the harness that is
    asked for now: put in place what is kept, or ask for what is not there. Whether anything has changed by that.

    Raises:
        RunBusy: another process executes it, and what is kept cannot be put in place.
    """
    held = folder.held()
    if held is not None and held.alive:
        return False
    if folder.evaluations.interrupted:
        with folder.lock():
            folder.evaluations.finish()
    lacks = missing(folder, run)
    if lacks == "kept evaluation":
        with folder.lock():
            folder.evaluations.put_in_place(run)
        return True
    if lacks in ("evaluation", "harness"):
        asked = run.model_copy(update={"precision": folder.read_run().precision})  # that of its training
        if folder.evaluations.asked() == asked:
            return False
        folder.evaluations.ask(asked)
        return True
    return lacks == "nothing" and folder.evaluations.withdraw()
