"""Scores texts that are there already, by the metrics that a study has; no model, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tunelab.errors import ConfigError, DataError
from tunelab.evaluation.evaluate import score as score_predictions
from tunelab.evaluation.text_files import read_outputs, read_references
from tunelab.records import Prediction, Score
from tunelab.study.planning.plan import metric_of

Outputs = str | Path | Sequence[str]
References = str | Path | Sequence[str | Sequence[str]]


def score_texts(hypotheses: Outputs, references: References, *, metrics: Sequence[str]) -> dict[str, Score]:
    """Score texts, or files of texts, by metric name; see `tunelab.score`.

    Raises:
        ConfigError: an unknown metric, or one that reads a model's losses; every problem at once.
        DataError: a file that cannot be read so, with its line, or unequal lengths.
    """
    found, problems = {}, []
    for name in metrics:
        try:
            found[name] = metric_of(name)
        except ConfigError as error:
            problems += error.problems
            continue
        if found[name].reads != "text":
            problems.append(f"metric {name!r} needs a model's losses, not text: use `tunelab evaluate`")
    if problems or not metrics:
        raise ConfigError(*(problems or ["no metric given; see `tunelab list metrics`"]))
    return score_predictions(_predictions(hypotheses, references), found).scores


def as_json(scores: dict[str, Score]) -> dict[str, dict[str, object]]:
    """What `tunelab score --json` prints; a score that is missing says why, one with a note has it."""
    shown = {"value", "low", "high", "n", "signature"}
    return {
        name: score.model_dump(include=shown | {key for key in ("missing", "note") if getattr(score, key)})
        for name, score in scores.items()
    }


def notes(scores: dict[str, Score]) -> list[str]:
    """What a metric does not read of the references, a line each."""
    return [f"{name}: {score.note}" for name, score in scores.items() if score.note]


def scores_text(scores: dict[str, Score], *, columns: int | None = None) -> str:
    """A line a metric: value and interval with the digits that the official tools print, examples, signature; where a
    terminal has fewer `columns`, the signature below."""
    width = max(map(len, scores))
    lines = []
    for name, score in scores.items():
        shown = f"missing: {score.missing}" if score.missing else "missing: cannot be computed from these texts"
        if score.value is not None:
            shown = f"{score.value:.4f}"
            shown += "" if score.low is None else f" [{score.low:.4f}, {score.high:.4f}]"
        line = f"{name:<{width}}  {shown}  n={score.n}"
        fits = columns is None or len(line) + 2 + len(score.signature) <= columns
        lines += [f"{line}  {score.signature}"] if fits else [line, f"{'':<{width}}  {score.signature}"]
    return "\n".join(lines)


def _predictions(hypotheses: Outputs, references: References) -> list[Prediction]:
    outputs = read_outputs(Path(hypotheses)) if isinstance(hypotheses, str | Path) else list(hypotheses)
    expected = read_references(Path(references)) if isinstance(references, str | Path) else list(references)
    if len(outputs) != len(expected):
        named = [str(given) if isinstance(given, str | Path) else "the list" for given in (hypotheses, references)]
        raise DataError(
            f"{named[0]} has {len(outputs):,} outputs and {named[1]} references for {len(expected):,} examples: they "
            "belong together line by line, or line by group where blank lines separate groups of references"
        )
    pairs = zip(outputs, expected, strict=True)
    return [_prediction(row, output, references) for row, (output, references) in enumerate(pairs, start=1)]


def _prediction(row: int, output: str, references: str | Sequence[str]) -> Prediction:
    texts = (references,) if isinstance(references, str) else tuple(references)
    if not texts:
        raise DataError(f"no reference for example {row}: every example needs at least one")
    return Prediction(id=str(row), prompt="", prediction=output, references=texts)
