"""The end of a study: runs are scored by what was asked for later, and alike, from what they have written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunelab.contracts import Metric
from tunelab.entries import BASE
from tunelab.evaluation.evaluate import score
from tunelab.records import Score
from tunelab.stages import stage
from tunelab.study.planning.planned import Plan
from tunelab.study.planning.runs import StudyRun
from tunelab.study.store import RunFolder, Store


def score_all(plan: Plan, store: Store, runs: Sequence[StudyRun]) -> None:
    """Every metric of the study on all that has finished."""
    for task in plan.tasks:
        folders = [store.run(known.run.id) for known in runs if known.run is not None and known.run.task == task.name]
        score_alike(folders, {name: metric for name, metric in task.metrics.items() if metric.reads != "general"})
        score_beside_base(folders, {name: metric for name, metric in task.metrics.items() if metric.reads == "general"})


def score_alike(folders: Sequence[RunFolder], metrics: Mapping[str, Metric]) -> None:
    """Score finished runs of one task by metrics that were named later, or could not be computed then, and anew by
    those that were not computed in one way for all (another library's version), from their stored text and losses,
    without a model."""
    results = [(folder, result) for folder in folders if (result := folder.read_result()) is not None]
    for name, metric in metrics.items():
        for place in outdated([result.scores.get(name) for _, result in results]):
            folder = results[place][0]
            with stage(f"scoring {folder.path.name} by {name}"):
                scored = score(folder.read_predictions(), {name: metric})
            folder.write_predictions(list(scored.predictions))
            _add_scores(folder, scored.scores)


def outdated(found: Sequence[Score | None]) -> list[int]:
    """Places of the scores by one metric that are missing, or of all where they were computed in more than one way."""
    computed = {given.signature for given in found if given is not None and not given.missing}
    return [place for place, given in enumerate(found) if given is None or given.missing or len(computed) > 1]


def score_beside_base(folders: Sequence[RunFolder], metrics: Mapping[str, Metric]) -> None:
    """Score finished runs of one task by metrics of the general text, each beside the base's losses on it."""
    finished = [folder for folder in folders if metrics and folder.has_result]
    labels = {folder: folder.read_run().method["label"] for folder in finished}
    base = next((folder.read_general() for folder in finished if labels[folder] == BASE), [])
    losses = {prediction.id: prediction.loss_sum for prediction in base}
    for folder in finished:
        beside = [row.model_copy(update={"base_loss_sum": losses.get(row.id)}) for row in folder.read_general()]
        scored = score(beside, metrics)
        folder.write_general(list(scored.predictions))
        _add_scores(folder, scored.scores)


def _add_scores(folder: RunFolder, scores: Mapping[str, Score]) -> None:
    """To the result of a finished run; what was scored already is replaced."""
    result = folder.read_result()
    assert result is not None, f"{folder.path} has not finished"
    folder.write_result(result.model_copy(update={"scores": {**result.scores, **scores}}))
