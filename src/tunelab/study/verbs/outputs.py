"""What a run made of its test examples: the first ones, the worst or the best, each scored alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tunelab.contracts import Metric
from tunelab.errors import ConfigError
from tunelab.evaluation.alone import scored_alone
from tunelab.records import Prediction
from tunelab.study.planning.plan import metric_of
from tunelab.study.store import RunFolder, Store


class Output(NamedTuple):
    example: Prediction
    score: float | None
    """None: this example alone has none."""


class Outputs(NamedTuple):
    run: str
    worst: bool | None
    """True: the worst first; False: the best; None: in the order of the test set."""
    num_all: int
    metric: str
    """Of the scores; empty: there are none."""
    words: str
    """What a score is."""
    higher_is_better: bool
    examples: tuple[Output, ...]


def show_outputs(folder: RunFolder, *, num_examples: int, worst: bool | None = None) -> Outputs:
    """Scored by the metric that decides the run's study, else by its first one; see evaluation/alone.py for what stands
    in where that has no score of one example. Equal scores stay in the order of the test set.

    Raises:
        ConfigError: the run was not evaluated, or is to be ordered and has nothing to order by.
        UnreadableRun: its predictions are damaged.
    """
    if not (folder.path / "predictions.jsonl").exists():
        said = "no predictions.jsonl, so the run was not evaluated; `tunelab run` goes on"
        raise ConfigError(f"{folder.path}: {said}")
    predictions = folder.read_predictions()
    names = _metric_names(folder, predictions)
    alone = scored_alone([predictions], names, _metrics(names))
    values = np.full(len(predictions), np.nan) if alone is None or alone.runs[0] is None else alone.runs[0]
    order = list(range(len(predictions)))
    if worst is not None:
        if alone is None:
            raise ConfigError(f"{folder.path}: no example has a score to order by; leave --worst and --best out")
        sign = 1 if worst == alone.higher_is_better else -1
        order.sort(key=lambda place: (bool(np.isnan(values[place])), sign * float(np.nan_to_num(values[place]))))
    shown = tuple(
        Output(predictions[place], None if np.isnan(values[place]) else float(values[place]))
        for place in order[:num_examples]
    )
    run = folder.read_run()
    return Outputs(
        f"{run.method['label']} on {run.task}, seed {run.seed}", worst, len(predictions),
        "" if alone is None else alone.metric, "" if alone is None else alone.words,
        alone is not None and alone.higher_is_better, shown,
    )  # fmt: skip


def _metric_names(folder: RunFolder, predictions: list[Prediction]) -> list[str]:
    """What decides the study comes first."""
    result = folder.read_result()
    known = [*(result.scores if result is not None else []), *(predictions[0].statistics if predictions else [])]
    decides = _decides(folder)
    return list(dict.fromkeys([*([decides] if decides in known else []), *known]))


def _decides(folder: RunFolder) -> str:
    """Empty where the study does not say, or is not beside the run."""
    decision = Store(folder.study_folder).resolved().get("decision")
    return str(decision.get("metric") or "") if isinstance(decision, dict) else ""


def _metrics(names: list[str]) -> dict[str, Metric]:
    """Those that are installed here."""
    found = {}
    for name in names:
        try:
            found[name] = metric_of(name)
        except ConfigError:  # of a package that is gone: another metric stands in, and that is said
            continue
    return found
