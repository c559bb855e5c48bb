"""Whether two back ends agree, in a few sentences that say no more than was tested."""

from __future__ import annotations

from tunelab.entries import BASE
from tunelab.report.alignment.found import Found
from tunelab.report.alignment.scores import Difference, Scores
from tunelab.report.alignment.show import decimals_of, limits_text, signed, small, unsigned
from tunelab.report.alignment.steps import together
from tunelab.report.cautions import listing

MOST_NAMED = 4
LARGE_AT_FIRST = 1e-3
"""Relative difference of the first losses that rounding in fp32 does not make."""

UNTESTED = {"one seed", "not tested"}
WORDS = ("different", "undecided", "equal", "one seed", "not tested")


def headline(found: Found, place: str) -> str:
    """One sentence for the top of the page."""
    first, other = found.beside.names
    words = _words(found)
    loss = together([each.loss for _, each in found.steps])
    drawn = " (with dropout, which each framework draws for itself)" if found.dropouts else ""
    if not words and loss is None:
        return f"On {place}, nothing can be said of whether {other} and {first} agree: {_nothing(found)}."
    said = [
        f"{_opening(words, f'{other} and {first}', f' on {_deciding(found)}')} ({_at_most(words, found)})"
        if words
        else "",
        *(each.removesuffix(".").replace("But", "but", 1) for each in _different(found)),
        f"the loss of a step differs by {small(loss.largest)} relative at most{drawn}" if loss else "",
        f"{len(found.paired.alone)} of the runs cannot be compared" if found.paired.alone else "",
    ]
    return f"On {place}, {'; '.join(filter(None, said))}."


def _at_most(words: dict[str, list[Scores]], found: Found) -> str:
    """'equal within the margin for full and lora; apart by 0.0012 at most, of lora'."""
    said = [f"{SAYS[word]} {listing(each.method for each in words[word])}" for word in WORDS if word in words]
    known = [
        (abs(value), each.method, each.metrics[_deciding(found)])
        for of_word in words.values() for each in of_word
        if (value := each.metrics[_deciding(found)].value) is not None
    ]  # fmt: skip
    if known:
        largest, method, one = max(known, key=lambda each: each[0])
        same = not largest and len(known) > 1
        apart = (
            "the means are the same" if same else f"apart by {unsigned(largest, decimals_of(one))} at most, of {method}"
        )
        said.append(apart)
    return "; ".join(said)


def sentence(found: Found) -> str:
    """Losses and texts by their numbers, metrics by the test; then what is missing or unequal."""
    if not _trained(found):
        return " ".join([f"Nothing can be said yet: {_nothing(found)}.", *_left_out(found)])
    said = [*_losses(found), *_dropout(found), *_texts(found), _metrics(found), *_different(found), *_undecided(found)]
    return " ".join([*said, *_left_out(found)])


def _nothing(found: Found) -> str:
    first, other = found.beside.names
    return f"no method has finished with the same seed on both {first} and {other}"


def _deciding(found: Found) -> str:
    return next(iter(found.beside.first.metrics), "")


def _words(found: Found) -> dict[str, list[Scores]]:
    """On the metric that decides: the methods of each word."""
    by_word: dict[str, list[Scores]] = {}
    for each in _trained(found):
        if (one := each.metrics.get(_deciding(found))) is not None:
            word = one.word or ("one seed" if len(each.seeds) == 1 else "not tested")
            by_word.setdefault(word, []).append(each)
    return by_word


def _opening(words: dict[str, list[Scores]], who: str, on: str = "") -> str:
    if "different" in words:
        return f"{who} differ{on}"
    if set(words) == {"equal"}:
        return f"{who} agree{on}"
    return f"whether {who} agree{on} {'was not tested' if set(words) <= UNTESTED else 'is undecided'}"


def _metrics(found: Found) -> str:
    first, other = found.beside.names
    words, name = _words(found), _deciding(found)
    if not words:
        return "No score that both have says whether they agree."
    opening = _opening(words, f"{other} and {first}")
    listed = [
        f"{SAYS[word]} {listing(_one(each.method, each.metrics[name]) for each in words[word])}"
        for word in WORDS if word in words
    ]  # fmt: skip
    return f"{opening.replace('whether', 'Whether', 1)}: {name} is {'; '.join(listed)}."


SAYS = {
    "different": "different for",
    "undecided": "undecided for",
    "equal": "equal within the margin for",
    "one seed": "not tested (one seed) for",
    "not tested": "not tested for",
}


def _one(method: str, one: Difference) -> str:
    """'lora (+0.0012 [−0.010, 0.012], margin 0.05)'."""
    margin = f"margin {one.margin:.2g}{' in the logarithm' if one.is_ratio else ''}" if one.margin is not None else ""
    less = "one is better by less than the margin" if one.by_less_than_margin else ""
    shown = f"{signed(one.value, decimals_of(one))} {limits_text(one)}".strip()
    return f"{method} ({', '.join(filter(None, (shown, margin, less)))})"


def _different(found: Found) -> list[str]:
    """Metrics that do not decide, where the back ends differ on them."""
    named = [f"{name} of {_one(each.method, one)}" for name, each, one in _others(found) if one.word == "different"]
    return [f"But different: {_some(named)}."] if named else []


def _undecided(found: Found) -> list[str]:
    named = [f"{name} of {each.method}" for name, each, one in _others(found) if one.word == "undecided"]
    return [f"Undecided: {_some(named)}."] if named else []


def _others(found: Found) -> list[tuple[str, Scores, Difference]]:
    return [
        (name, each, one)
        for each in _trained(found) for name, one in each.metrics.items() if name != _deciding(found)
    ]  # fmt: skip


def _losses(found: Found) -> list[str]:
    """Runs with dropout apart: theirs cannot agree."""
    plain = [each for pair, each in found.steps if pair.method not in found.dropouts]
    drawn = [each for pair, each in found.steps if pair.method in found.dropouts]
    said = []
    for every, of in ((plain, " without dropout" if drawn else ""), (drawn, " with dropout")):
        loss = together([each.loss for each in every])
        if loss is not None:
            pairs = "one pair of runs" if len(every) == 1 else f"{len(every)} pairs of runs"
            said.append(
                f"The loss of a step{of} differs by {small(loss.largest)} relative at most (mean {small(loss.mean)}, "
                f"at the first step {small(loss.at_first)}) over {loss.num_steps} steps of {pairs}."
            )
            if loss.at_first > LARGE_AT_FIRST and every is plain:
                said.append(
                    "That they differ at the first step, before anything was learned, is no effect of training: other "
                    "rows, weights or precision, or dropout of the model itself, which is not in the records."
                )
    every = [each for _, each in found.steps]
    if uneven := sum(not each.is_whole for each in every):
        said.append(f"In {uneven} of {len(every)} pairs the two have different numbers of steps.")
    if unlike := sum(each.num_other_tokens > 0 for each in every):
        said.append(f"In {unlike} of {len(every)} pairs they did not see the same numbers of tokens.")
    return said


def _texts(found: Found) -> list[str]:
    """Of the trained methods."""
    counts = [found.texts[each.method] for each in _trained(found)]
    same, num = (sum(column) for column in zip(*counts, strict=True))
    return [f"{same} of {num} generated texts are the same letter for letter."] if num else []


def _dropout(found: Found) -> list[str]:
    if not found.dropouts:
        return []
    named = listing(f"{method} ({said})" for method, said in found.dropouts.items())
    return [f"Dropout is drawn by each framework for itself, so losses of {named} cannot agree step by step."]


def _left_out(found: Found) -> list[str]:
    alone, num = len(found.paired.alone), len(found.paired.alone) + len(found.paired.pairs)
    said = [f"{alone} of {num} runs cannot be compared (named below)."] if alone else []
    if found.unequal:
        said.append(f"Not the same on both: {_some([fact for fact, _ in found.unequal])}.")
    return said


def _trained(found: Found) -> list[Scores]:
    return [each for each in found.scores if each.method != BASE]


def _some(names: list[str]) -> str:
    if len(names) <= MOST_NAMED:
        return listing(names)
    return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more"
