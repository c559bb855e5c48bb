"""All three pairs of splits compared: test with train, validation with train, test with validation.

Test decides what is reported and validation what is chosen (learning rates, weights of merges), so with `remove`
validation loses what is in test, then train what is in either. Test stays as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tunelab.data.overlap.near_rows import SIMILARITY
from tunelab.data.overlap.overlap import KnownRows, Overlap, OverlapFinder, watch
from tunelab.data.tokens.counts import LOUD_SHARE, Split
from tunelab.records import Example

_WHY_IT_MATTERS = {
    ("test", "train"): "scores measure memory too",
    ("validation", "train"): "the validation loss, by which learning rates are chosen, measures memory too",
}


class Pair(NamedTuple):
    known: Split
    """Whose rows must not stand in the other split."""
    other: Split
    """The split that loses them."""


TEST_TRAIN, VALIDATION_TRAIN, TEST_VALIDATION = PAIRS = (
    Pair("test", "train"),
    Pair("validation", "train"),
    Pair("test", "validation"),
)


class Overlaps:
    """Compares validation with test at once, and train with both as it goes by."""

    def __init__(self, validation: Sequence[Example], test: Sequence[Example], *, remove: bool) -> None:
        self._remove = remove
        known = KnownRows(test)
        between = OverlapFinder(known)
        passed = watch(validation, [between], remove=remove)
        self.validation: Sequence[Example] = list(passed) if remove else validation
        """What is left of it."""
        deque(passed, maxlen=0)
        self._finders = {
            TEST_TRAIN: OverlapFinder(known),
            VALIDATION_TRAIN: OverlapFinder(KnownRows(self.validation)),
            TEST_VALIDATION: between,
        }

    def watch(self, train: Sequence[Example]) -> Iterator[Example]:
        """What is left of train, as it comes."""
        return watch(train, [self._finders[TEST_TRAIN], self._finders[VALIDATION_TRAIN]], remove=self._remove)

    def summary(self) -> dict[str, Any]:
        """What data/<task>.json says: test and train first, the other pairs by name."""
        named = {pair: self._named(pair) for pair in PAIRS}
        return {
            **named[TEST_TRAIN],
            "removed_from_train": self._remove,
            "train_validation": named[VALIDATION_TRAIN],
            "validation_test": named[TEST_VALIDATION],
        }

    def notes(self) -> list[str]:
        notes = [note for pair in PAIRS for note in pair_notes(pair, self.overlap(pair), removed=self._remove)]
        whole = self.overlap(TEST_TRAIN)
        if whole.num_other_duplicates > LOUD_SHARE * whole.num_other:
            share = whole.num_other_duplicates / whole.num_other
            notes.append(f"train: {whole.num_other_duplicates} of {whole.num_other} rows ({share:.1%}) repeat another")
        return notes

    def nothing_left(self, split: Split, *, drawn: bool) -> str:
        """What to say where `remove` has taken every row of train or validation; `drawn`: from train."""
        mine = [pair for pair in PAIRS if pair.other == split]
        taken = "; ".join(note for pair in mine for note in pair_notes(pair, self.overlap(pair), removed=True))
        of_its_own = "a validation file" if drawn else "another validation file"
        return (
            f"data.overlap: remove leaves nothing of {split} ({taken}); give it another test file or {of_its_own}, or "
            "say data.overlap: report"
        )

    def overlap(self, pair: Pair) -> Overlap:
        return self._finders[pair].overlap()

    def _named(self, pair: Pair) -> dict[str, Any]:
        finder = self._finders[pair]
        sources = {name: one.named(**pair._asdict()) for name, one in finder.by_source().items()}
        return {**finder.overlap().named(**pair._asdict()), "by_source": sources}


def pair_notes(pair: Pair, overlap: Overlap, *, removed: bool) -> list[str]:
    """What a reader should know: loud above 1 %, and at the first row where validation holds test rows."""
    if removed:
        same, near, total = overlap.num_other_same_row, overlap.num_other_near_row, overlap.num_other
        return [
            f"{pair.other}: {same + near} of {total} rows removed: {same} are {pair.known} rows, {near} nearly are"
        ] * bool(same + near)
    if pair == TEST_VALIDATION:
        return _chosen_on_test(overlap)
    same, near, total = overlap.num_same_row, overlap.num_near_row, overlap.num_known
    found = []
    if same > LOUD_SHARE * total:
        found.append(f"({same / total:.1%}) are rows of train: {_WHY_IT_MATTERS[pair]}")
    if near > LOUD_SHARE * total:
        found.append(
            f"({near / total:.1%}) are nearly rows of train (at least {SIMILARITY:.0%} of the word 5-grams of both are "
            "shared)"
        )
    numbers = [number for number in (same, near) if number > LOUD_SHARE * total]
    return [
        f"WARNING {pair.known}: {number} of {total} {pair.known} examples {what}; data.overlap: remove takes them out "
        "of train"
        for number, what in zip(numbers, found, strict=True)
    ]


def _chosen_on_test(overlap: Overlap) -> list[str]:
    same, near, total = overlap.num_other_same_row, overlap.num_other_near_row, overlap.num_other
    if not same and near <= LOUD_SHARE * total:
        return []
    return [
        f"WARNING validation: {same} of {total} rows ({same / total:.1%}) are test rows, {near} nearly are: what is "
        "chosen by validation loss (learning rates, weights of merges) is chosen on test rows, so the chosen ones' "
        "scores are too good; data.overlap: remove takes them out of validation"
    ]
