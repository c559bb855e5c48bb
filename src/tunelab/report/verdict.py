"""Which way to keep, in words, by a fixed rule.

On a task's first metric: among the methods that beat the base and cannot be told apart from the best, keep the one
with the lowest peak memory; within 2 % of it, the fastest. When none beats the base, the verdict says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tunelab.records import BASE
from tunelab.report.frame import Comparison, Group, Row
from tunelab.report.marks import UNEQUAL_SEARCH
from tunelab.report.numbers import interval, score_decimals, times

SAME_MEMORY = 1.02
"""Peaks within 2 % count as equal: they vary that much from run to run."""

RULE = (
    "Rule: on the task's first metric, among the methods that beat the base and are not told apart from the best, "
    "keep the one with the lowest peak training memory; within 2 % of it, the fastest."
)


class Verdict(NamedTuple):
    """What to keep on one task."""

    group: Group
    name: str
    """The task's, with backend and study where several were compared."""
    keep: str | None
    """The label to keep: a method, 'base' when nothing beats it, None when that cannot be said."""
    sentences: tuple[str, ...]


def verdicts(comparison: Comparison) -> tuple[Verdict, ...]:
    """One a group, in order."""
    return tuple(_verdict(group, place(group, comparison.groups)) for group in comparison.groups)


def overall(found: Sequence[Verdict]) -> str:
    """One sentence over all tasks; empty for one task, whose own sentences say it."""
    if not found:
        return "This study has no runs."
    if len(found) == 1:
        return ""
    kept = dict.fromkeys(verdict.keep for verdict in found)
    if None in kept:
        known = [verdict for verdict in found if verdict.keep is not None]
        if not known:
            return "Nothing can be said yet about which way to keep."
        if len(known) < len(found):
            return f"So far, for {len(known)} of {len(found)} tasks: {_listed(known)}."
    if len(kept) == 1:
        label = next(iter(kept))
        place = " on every task" if len(found) > 2 else " on both tasks"
        return f"No method beats the base{place}: keep the base." if label == BASE else f"Keep {label}{place}."
    everywhere = set.intersection(*({row.method for row in _worthy(verdict.group)} for verdict in found))
    text = f"The way to keep differs by task: {_listed(found)}."
    if not everywhere:
        return f"{text} No one method is best or tied with the best on every task."
    verb = "is" if len(everywhere) == 1 else "are"
    return f"{text} Best or tied with the best on every task {verb} {_and(sorted(everywhere))}."


def place(group: Group, groups: Sequence[Group]) -> str:
    """The task's name, with backend and study where they are needed to tell groups apart."""
    name = group.task
    if len({other.backend for other in groups}) > 1:
        name += f" ({group.backend})"
    return name if len({other.study for other in groups}) < 2 else f"{group.study}: {name}"


def _verdict(group: Group, name: str) -> Verdict:
    scored = [row for row in group.rows if _mean(row, group) is not None]
    trained = [row for row in scored if row.method != BASE]
    if not trained:
        return Verdict(group, name, None, (f"On {name}, no method has finished with a score yet.",))
    if len(scored) > len(trained) and len({_mean(row, group) for row in scored}) == 1:
        same = f"On {name}, all methods and the base score the same on {group.metrics[0]} ({_score(scored[0], group)})"
        advice = "nothing can be told from that: put another metric first, or give more steps, data or test rows."
        return Verdict(group, name, None, (f"{same}; {advice}", *_cautions(group)))
    untested = all(row.scores[group.metrics[0]].tied_best is None for row in trained)
    best = _best(scored if untested else [row for row in scored if row.scores[group.metrics[0]].tied_best], group)
    opening = f"On {name}, {best.method} is best on {group.metrics[0]} ({_score(best, group)})"
    if untested:
        return Verdict(group, name, None, (f"{opening}; the difference was not tested.", *_cautions(group)))
    tied = [row.method for row in scored if row.scores[group.metrics[0]].tied_best and row is not best]
    sentences = [
        f"{opening}; {_and(tied)} {'is' if len(tied) == 1 else 'are'} tied with it." if tied else f"{opening}."
    ]
    keep, reason = _decision(group, best=best, trained=trained)
    return Verdict(group, name, keep, (*sentences, reason, *_cautions(group)))


def _decision(group: Group, *, best: Row, trained: list[Row]) -> tuple[str | None, str]:
    beats = [row.scores[group.metrics[0]].beats_base for row in trained]
    if all(beat is None for beat in beats):
        worthy = [row for row in trained if row.scores[group.metrics[0]].tied_best]
        kept = _cheapest(worthy) if worthy else best
        return kept.method, f"{_keep(kept, best, worthy, group)} Nothing was tested against the base."
    worthy = _worthy(group)
    if not worthy and any(beats):
        # The best mean is noisy enough not to beat the base while a lower, steadier one does.
        worthy = [row for row in trained if row.scores[group.metrics[0]].beats_base]
    if not worthy:
        return BASE, "No method beats the base: keep the base, or give the methods more data, steps or learning rates."
    kept = _cheapest(worthy)
    return kept.method, _keep(kept, best, worthy, group)


def _worthy(group: Group) -> list[Row]:
    if not group.metrics:
        return []
    cells = {row.method: row.scores.get(group.metrics[0]) for row in group.rows if row.method != BASE}
    return [row for row in group.rows if (cell := cells.get(row.method)) and cell.tied_best and cell.beats_base]


def _cheapest(rows: Sequence[Row]) -> Row:
    """Memory decides only where every row's was measured."""
    peaks = [row.peak_train_gib for row in rows if row.peak_train_gib is not None]
    if len(peaks) == len(rows):
        limit = SAME_MEMORY * min(peaks)
        rows = [row for row, peak in zip(rows, peaks, strict=True) if peak <= limit]
    return min(rows, key=lambda row: (row.train_seconds is None, row.train_seconds or 0.0))


def _keep(kept: Row, best: Row, tied: Sequence[Row], group: Group) -> str:
    """What is saved against the best; when the best itself is kept, against the first that is tied with it."""
    rivals = [row for row in tied if row is not kept]
    rival = best if kept is not best else rivals[0] if rivals else None
    if rival is None:
        return f"Keep {kept.method}."
    costs = [
        _compared(kept.peak_train_gib, rival.peak_train_gib, less="less memory", more="more memory"),
        _compared(kept.train_seconds, rival.train_seconds, less="less time", more="more time"),
    ]
    text = ", ".join(cost for cost in costs if cost)
    if kept is best:
        return f"Keep {kept.method}: best; compared with {rival.method} {text}." if text else f"Keep {kept.method}."
    tied_best = kept.scores[group.metrics[0]].tied_best
    quality = f"tied in quality with {best.method}" if tied_best else f"{best.method} is not shown to beat the base"
    return f"Keep {kept.method} ({_score(kept, group)}): {quality}{', ' * bool(text)}{text}."


def _compared(value: float | None, other: float | None, *, less: str, more: str) -> str:
    if not value or not other:
        return ""
    if max(value, other) / min(value, other) < 1.05:
        return f"about the same {less.removeprefix('less ')}"
    return f"{times(other, value)} {less}" if value < other else f"{times(value, other)} {more}"


def _cautions(group: Group) -> list[str]:
    """What weakens the verdict."""
    missing = [run for run in group.runs if run.state != "finished"]
    cautions = []
    if missing:
        failed = sum(run.state == "failed" for run in missing)
        cautions.append(
            f"Preliminary: {len(missing)} of {len(group.runs)} runs did not finish"
            + (f" ({failed} failed)." if failed else " yet.")
        )
    base = next((row.scores[group.metrics[0]] for row in group.rows if row.method == BASE and row.scores), None)
    if base is not None and base.tied_best and any(row.scores[group.metrics[0]].beats_base for row in group.rows):
        cautions.append("Even the base is not told apart from the best: so few examples or seeds separate little.")
    if max(row.num_seeds for row in group.rows if row.method != BASE) == 1:
        cautions.append("One seed: the intervals cover the choice of test examples, not the variation of training.")
    if any(mark.startswith(UNEQUAL_SEARCH) for row in group.rows for mark in row.marks):
        cautions.append("The methods had unequal numbers of learning rates to choose from (see the marks).")
    if any(
        "hardware differs" in mark or "number of threads differs" in mark for row in group.rows for mark in row.marks
    ):
        cautions.append("Times and memory come from different machines or settings (see the marks).")
    return cautions


def _best(rows: Sequence[Row], group: Group) -> Row:
    sign = 1 if group.higher_is_better(group.metrics[0]) else -1
    means = {row.method: mean for row in rows if (mean := _mean(row, group)) is not None}
    return max(rows, key=lambda row: sign * means[row.method])


def _mean(row: Row, group: Group) -> float | None:
    cell = row.scores.get(group.metrics[0]) if group.metrics else None
    return None if cell is None else cell.mean


def _score(row: Row, group: Group) -> str:
    cell = row.scores[group.metrics[0]]
    return interval(cell.mean, cell.low, cell.high, score_decimals([cell.mean, cell.high]))


def _listed(found: Sequence[Verdict]) -> str:
    return "; ".join(f"{verdict.keep} on {verdict.name}" for verdict in found if verdict.keep is not None)


def _and(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"
