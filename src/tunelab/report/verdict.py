"""Which way to keep, in words. The rule is choice.py's, the words as good, worse and undecided are
significance/beside_best.py's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tunelab.entries import BASE
from tunelab.report.cautions import against, cautions, is_are, listing
from tunelab.report.choice import Choice, choose, costs_less, first_cell
from tunelab.report.frame import Comparison, Group, Row
from tunelab.report.numbers import count, interval, number, score_decimals, setting_text
from tunelab.report.spending import NEXT, compared, kind_of, spent

RULE = (
    "As good: with 95 %, jointly over the methods, it lacks less than the margin to the best method, whichever that "
    "is. Worse: with 95 % it is not the best. Undecided: neither can be said. Of the methods that are as good and beat "
    "the base, the cheapest is kept; costs that differ by less than 10 %, or by less than the seeds of one method, are "
    "the same."
)


class Verdict(NamedTuple):
    """What to keep on one task."""

    group: Group
    name: str
    """The task's, with backend and study where several were compared."""
    choice: Choice
    headline: str
    """The one of the sentences that says what to do."""
    sentences: tuple[str, ...]
    """All of them, in the order of a paragraph."""

    @property
    def summary(self) -> str:
        """The decision alone, for a reader who reads nothing else."""
        is_whole = all(run.state == "finished" for run in self.group.runs)
        return self.headline if is_whole else f"{self.headline} Preliminary."

    @property
    def reasons(self) -> tuple[str, ...]:
        """The other sentences."""
        return tuple(sentence for sentence in self.sentences if sentence != self.headline)

    @property
    def keep(self) -> str | None:
        """The label to keep: a method, 'base' when none is shown to beat it, None when that cannot be said."""
        return self.choice.keep

    def as_json(self) -> dict[str, Any]:
        """A decision of comparison.json. Words are with the rows' scores."""
        group, deciding = self.group, self.group.deciding
        metric = group.metrics[0] if group.metrics else None
        found = group.comparisons.get(metric or "")
        return {
            "study": group.study, "task": group.task, "backend": group.backend, "metric": metric,
            "margin": None if found is None else found.margin,
            "margin_is": "number" if deciding.share is None else f"{100 * deciding.share:g} % of the gain",
            "in_logarithms": found is not None and found.in_logarithms,
            "cost": deciding.cost, "costs_in_all": group.compares_in_all,
            "best": None if found is None else found.best, "keep": self.keep,
            "because": self.choice.reason, "headline": self.headline, "sentences": list(self.sentences),
        }  # fmt: skip


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
    tasks, unit = _units(found)
    if None in kept:
        known = [verdict for verdict in found if verdict.keep is not None]
        if not known:
            return "Nothing can be said yet about which way to keep."
        return f"So far, for {len(known)} of {len(found)} {tasks}: {_listed(known)}."
    if len(kept) == 1:
        label = next(iter(kept))
        apart = len({verdict.group.task for verdict in found}) == len(found)
        what = "task" if apart else unit if unit == "back end" else "table"
        everywhere = f" on every {what}" if len(found) > 2 else f" on both {what}s"
        if label == BASE:
            return f"No method is shown to beat the base{everywhere}: keep the base."
        return f"Keep {label}{everywhere}."
    if BASE in kept:
        return f"The way to keep differs by {unit}: {_listed(found)}."
    always = set.intersection(*({row.method for row in verdict.choice.good} for verdict in found))
    text = f"The way to keep differs by {unit}: {_listed(found)}."
    if not always:
        return f"{text} No one method is as good as the best on every {unit}."
    return f"{text} As good as the best on every {unit}: {listing(sorted(always))}."


def _units(found: Sequence[Verdict]) -> tuple[str, str]:
    """What verdicts are of, in the plural, and what they differ by: tasks, back ends or both."""
    groups = [verdict.group for verdict in found]
    if len({group.backend for group in groups}) == 1:
        return "tasks", "task"
    if len({group.task for group in groups}) == 1 and len({group.study for group in groups}) == 1:
        return "back ends", "back end"
    return "tables", "task and back end"


def place(group: Group, groups: Sequence[Group]) -> str:
    """The task's name, with backend and study where they are needed to tell groups apart."""
    name = group.task
    if len({other.backend for other in groups}) > 1:
        name += f" ({group.backend})"
    return name if len({other.study for other in groups}) < 2 else f"{group.study}: {name}"


def margin_text(group: Group, metric: str) -> str:
    """'0.040, 10 % of the best's gain over the base'; empty where there is none."""
    found = group.comparisons.get(metric)
    if found is None or found.margin is None:
        return ""
    decimals = score_decimals(_means(group, metric)) if not found.in_logarithms else 3
    share = group.deciding.share or 0.1
    by_share = metric != group.metrics[0] or group.deciding.margin is None
    scale = " in its logarithm" if found.in_logarithms else ""
    shown = number(found.margin, decimals + 1) if found.margin >= 10**-decimals else f"{found.margin:.2g}"
    return f"{shown}{scale}" + (f", {100 * share:g} % of the best's gain over the base" if by_share else "")


def needed_text(row: Row, metric: str) -> str:
    """'6 seeds, or 900 test examples': what would decide; empty: nothing of this size."""
    cell = row.scores[metric]
    if cell.needed_times is not None:
        return f"{cell.needed_times:.1f} times as many seeds and test examples"
    ways = [
        f"{cell.needed_seeds} seeds" if cell.needed_seeds is not None else "",
        f"{count(cell.needed_examples)} test examples" if cell.needed_examples is not None else "",
    ]
    return " or ".join(filter(None, ways))


def _verdict(group: Group, name: str) -> Verdict:
    choice = choose(group)
    if choice.best is None:
        nothing = f"On {name}, no method has finished with a score yet."
        return Verdict(group, name, choice, nothing, (nothing, *cautions(group)))
    metric = group.metrics[0]
    if choice.reason == "all the same":
        same = f"On {name}, all methods and the base score the same on {metric} ({_score(choice.best, group)})"
        advice = "nothing can be told from that: put another metric first, or give more steps, data or test rows."
        return Verdict(group, name, choice, f"{same}; {advice}", (f"{same}; {advice}", *cautions(group)))
    among = " of the methods that are compared" if _better_untested(choice, group) else ""
    best = f"{choice.best.method} has the best mean of {metric}{among} ({_score(choice.best, group)})"
    before, headline, after = _by_reason(choice, group, f"On {name}, {best}")
    sentences = (*before, headline, *after, *against(choice, group), *cautions(group))
    return Verdict(group, name, choice, headline, sentences)


class Said(NamedTuple):
    before: Sequence[str]
    headline: str
    after: Sequence[str]


def _by_reason(choice: Choice, group: Group, opening: str) -> Said:
    if choice.reason == "not tested":
        return Said([], f"{opening}; the difference was not tested.", [])
    if choice.reason == "one seed":
        untold = "Not tested across seeds: one training of a method says nothing about the next, and nothing is kept."
        return Said(
            [f"{opening}."], untold, ["Add seeds (`seeds: [0, 1, 2]`); what has finished is not run again."]
        )  # fmt: skip
    sentences = [f"{opening}.", *_beside(choice, group)]
    if choice.reason == "base":
        base = next(_score(row, group) for row in group.rows if row.method == BASE)
        advice = "keep the base, or give the methods more data, steps or learning rates."
        return Said(sentences, f"No method is shown to beat the base ({base}): {advice}", [])
    if choice.reason == "undecided":
        would = _would_decide(choice.undecided, group).strip()
        return Said(sentences, "Nothing can be kept yet.", [would] if would else [])
    keep, *more = _kept(choice, group)
    return Said(sentences, keep, more)


def _beside(choice: Choice, group: Group) -> list[str]:
    """Who is as good, undecided, worse, and against which margin."""
    others = [row for row in choice.good if row is not choice.best]
    said = []
    if others:
        said.append(f"{listing(row.method for row in others)} {is_are(others)} as good")
    if choice.undecided:
        said.append(f"{listing(row.method for row in choice.undecided)} {is_are(choice.undecided)} undecided")
    if choice.worse:
        said.append(f"{listing(row.method for row in choice.worse)} {is_are(choice.worse)} worse")
    if choice.one_seed:
        only = f"{listing(row.method for row in choice.one_seed)} {'has' if len(choice.one_seed) == 1 else 'have'}"
        said.append(f"{only} one seed and {is_are(choice.one_seed)} not compared")
    if choice.not_compared:
        labels = listing(row.method for row in choice.not_compared)
        said.append(f"{labels} {is_are(choice.not_compared)} not compared, for want of finite scores of every example")
    margin = margin_text(group, group.metrics[0])
    if not said:
        return []
    has_base = any(row.method == BASE and row.scores for row in group.rows)
    none = "nothing gains over the base" if has_base else "there is no base to gain over"
    return ["; ".join(said) + (f" (margin {margin})." if margin else f" (no margin: {none}).")]


def _kept(choice: Choice, group: Group) -> list[str]:
    rows = {row.method: row for row in group.rows}
    kept, best = rows[choice.keep or ""], choice.best
    cost = kind_of(group.deciding.cost, group).name
    rivals = [row for row in choice.good if row is not kept]
    instead = [row for row in choice.undecided if costs_less(row, kept, group)]
    label = f"{kept.method} with {setting_text(kept.searched)}" if kept.searched else kept.method
    if not rivals:
        sentences = [f"Keep {label}{' so far' if instead else ''}."]
    elif kept is not best and best is not None:
        beside = compared(kept, best, group) or "costs are not known"
        sentences = [f"Keep {label} ({_score(kept, group)}): beside {best.method}, {beside}."]
    else:
        beside = compared(kept, rivals[0], group) or "costs are not known"
        sentences = [f"Keep {label}: the best mean; beside {rivals[0].method}, {beside}."]
    if choice.same_cost:
        same = listing(row.method for row in choice.same_cost)
        then = kind_of(NEXT[group.deciding.cost], group).name
        known = spent(kept, group.deciding.cost, group) is not None
        equal = f"{same} {'has' if len(choice.same_cost) == 1 else 'have'} about the same {cost}"
        sentences.append(f"{equal if known else f'No {cost} was measured'}: {then}, then the mean, decided.")
    unknown = [row for row in rivals if spent(row, group.deciding.cost, group) is None]
    if unknown and spent(kept, group.deciding.cost, group) is not None:
        sentences.append(f"The {cost} of {listing(row.method for row in unknown)} was not measured.")
    better = _better_untested(choice, group)
    if better:
        sentences.append(f"{listing(row.method for row in better)} {has(better)} a better mean on one seed.")
    cell = first_cell(kept, group)
    if cell.beats_base is None:
        sentences.append("Nothing was tested against the base.")
    if instead:
        would = _would_decide(instead, group)
        costs = "at no higher cost" if all(spent(row, group.deciding.cost, group) for row in instead) else "too"
        sentences.append(f"{listing(row.method for row in instead)} may be as good {costs}.{would}")
    return sentences


def _would_decide(rows: Sequence[Row], group: Group) -> str:
    """Sentences with a leading space, the methods that need the same together."""
    metric = group.metrics[0]
    needs: dict[str, list[str]] = {}
    for row in rows:
        needs.setdefault(needed_text(row, metric), []).append(row.method)
    never = needs.pop("", [])
    ways = [f"{text}{'' if place else ' in all would decide'} about {listing(methods)}"
            for place, (text, methods) in enumerate(needs.items())]  # fmt: skip
    said = f" {'; '.join(ways)} in 8 of 10 studies, if the means stay." if ways else ""
    if never:
        said += f" No number of seeds or test examples is foreseen to decide about {listing(never)}."
    if any(row.scores[metric].needed_seeds is not None for row in rows):
        said += " `tunelab run --until decided` adds seeds."
    return said


def has(rows: Sequence[Row]) -> str:
    return "has" if len(rows) == 1 else "have"


def _better_untested(choice: Choice, group: Group) -> list[Row]:
    """Methods with one seed whose mean is above the best of those that are compared."""
    if choice.best is None or choice.reason in ("one seed", "not tested"):
        return []
    sign = 1 if group.higher_is_better(group.metrics[0]) else -1
    best = sign * (first_cell(choice.best, group).mean or 0.0)
    return [row for row in choice.one_seed if sign * (first_cell(row, group).mean or 0.0) > best]


def _means(group: Group, metric: str) -> list[float | None]:
    return [row.scores[metric].mean for row in group.rows if metric in row.scores]


def _score(row: Row, group: Group) -> str:
    cell = first_cell(row, group)
    return interval(cell.mean, cell.low, cell.high, score_decimals([cell.mean, cell.high]))


def _listed(found: Sequence[Verdict]) -> str:
    return "; ".join(f"{verdict.keep} on {verdict.name}" for verdict in found if verdict.keep is not None)
