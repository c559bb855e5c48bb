"""What tokenising did to a split: counts for every reader, warnings where much was lost, errors where all was."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from tunelab.data.tokens.markers import MarkerCounts
from tunelab.data.tokens.round_trip import RoundTrip
from tunelab.errors import DataError
from tunelab.records import Example, Record, TokenRow

Split = Literal["train", "validation", "test"]
NUM_NAMED = 3
"""Special tokens that a note names."""
LOUD_SHARE = 0.01
"""Rows left out above this share are a warning."""


class Counts(Record):
    """Of one split; printed, and kept in data/<task>.json."""

    examples: int
    rows: int
    """Token rows: fewer than the examples where some were left out or packed, more where long documents were."""
    overlong: int
    """Examples longer than max_length, whatever became of them; packed documents are not counted."""
    prompts_cut: int
    """Rows whose prompt lost its beginning (decoder-only) or its end (encoder-decoder) to max_length."""
    targets_cut: int
    """Rows whose last target lost its end: they never learn to stop where the text stops."""
    dropped_overlong: int
    """Left out by `data.overlong: drop`."""
    dropped_unsupervised: int
    """Left out because nothing of them would have been learned."""
    windowed: int
    """Documents of test that are read in several overlapping rows."""
    packed_documents: int
    split_documents: int
    """Packed documents that lie in more than one row."""
    plain_conversations: int
    """Conversations in the plain form of chat.py: the model has no chat template, or is an encoder-decoder."""
    references: int = 0
    """Accepted answers of all examples: more than the examples where rows with equal prompts became one."""
    context_turns: int = 0
    """Assistant's turns of the examples that are read and not learned: weight 0, empty, or `train_on: last`."""
    unused_fields: dict[str, int] = {}
    """Messages with a field that does not stand in what the model reads."""
    tokens: int
    supervised_tokens: int
    unknown_tokens: int
    """Of the supervised ones those that stand for characters which the tokenizer does not know."""
    markers_stripped: int
    """Examples with a start or end token as text at an edge, which was taken off (markers.py)."""
    markers_inside: int
    """Examples with special tokens inside their texts, kept as plain characters."""
    markers: dict[str, int]
    """The most frequent of those inside, and how often each was there."""
    characters: int
    """Of learned texts, as many as were decoded again (round_trip.py); 0: the tokenizer gives every byte back."""
    lost_characters: int
    """Of these those that did not come back."""
    lost: dict[str, int]
    """The most frequent of them."""
    foreign_markers: int
    """Examples with other models' markers (`</s>`, `[INST]`), which this tokenizer reads as characters."""
    shortest: int
    median: int
    longest: int
    """Tokens per row after cutting."""

    @property
    def dropped(self) -> int:
        return self.dropped_overlong + self.dropped_unsupervised


class Tally:
    """Counts while rows stream by."""

    def __init__(
        self, split: Split, max_length: int, *, unknown: int | None, end: int | None, round_trip: RoundTrip
    ) -> None:
        """`unknown`: the id that a tokenizer gives for what it does not know; None: it knows everything."""
        self.split, self.max_length, self.round_trip = split, max_length, round_trip
        self._unknown, self._end = unknown, end
        self.unknown_tokens = self._ends = 0
        self.examples = self.overlong = self.prompts_cut = self.targets_cut = self.endless = 0
        self.dropped_overlong = self.dropped_unsupervised = self.packed_documents = self.split_documents = 0
        self.plain_conversations = self.windowed = self.references = self.context_turns = 0
        self.unused_fields: Counter[str] = Counter()
        self.markers = MarkerCounts()
        self.refused: Example | None = None
        """The first overlong example where that is an error."""
        self._supervised = 0
        self._lengths = array("i")

    def see(self, example: Example, learned: np.ndarray, *, unused: Sequence[str]) -> None:
        self.examples += 1
        self.round_trip.see(example, learned)
        self.references += len(example.references)
        self.context_turns += sum(turn.role == "assistant" and not turn.learned for turn in example.turns)
        self.unused_fields.update(unused)

    def counted(self, row: TokenRow) -> TokenRow:
        self._lengths.append(row.num_tokens)
        self._supervised += row.num_supervised
        if self._unknown is not None:
            learned = row.ids[row.supervised]
            self.unknown_tokens += int((learned == self._unknown).sum())
            self._ends += int((learned == self._end).sum())
        return row

    def leave_out(self, example: Example, *, refuse: bool) -> None:
        self.dropped_overlong += 1
        if refuse and self.refused is None:
            self.refused = example

    def check(self) -> None:
        """Raises DataError where rows may not be overlong, none is left, or no target keeps its end."""
        length = f"batch.max_length ({self.max_length} tokens)"
        if self.refused is not None:
            raise DataError(
                f"{self.split}: {self.overlong} of {self.examples} rows are longer than {length}, the first is "
                f"{self.refused.id}; raise batch.max_length, or set data.overlong to truncate_prompt, truncate or drop"
            )
        if self.examples and not self._supervised:
            raise DataError(
                f"{self.split}: nothing is left to learn of {self.examples} rows, {self.dropped_overlong} of them "
                f"longer than {length} and left out; raise batch.max_length, or change data.overlong"
            )
        if self.unknown_tokens and self.unknown_tokens == self._supervised - self._ends:
            raise DataError(
                f"{self.split}: the tokenizer knows no character of any target, every one of {self.unknown_tokens} "
                "learned tokens is its unknown token; take a model whose tokenizer knows this script"
            )
        if self.examples and self.endless == self.examples - self.dropped_overlong - self.dropped_unsupervised:
            raise DataError(
                f"Every target is longer than {length}, so the end of a text would never be learned; "
                "raise batch.max_length"
            )

    def counts(self) -> Counts:
        lengths = np.array(self._lengths or [0])
        own = ("examples", "overlong", "prompts_cut", "targets_cut", "dropped_overlong", "dropped_unsupervised")
        others = ("windowed", "packed_documents", "split_documents", "plain_conversations", "unknown_tokens")
        others += ("references", "context_turns")
        return Counts(
            rows=len(self._lengths),
            tokens=int(lengths.sum()),
            supervised_tokens=self._supervised,
            shortest=int(lengths.min()),
            median=int(np.median(lengths)),
            longest=int(lengths.max()),
            markers_stripped=self.markers.stripped,
            markers_inside=self.markers.inside,
            foreign_markers=self.markers.foreign,
            characters=self.round_trip.characters,
            lost_characters=self.round_trip.lost.total(),
            lost=dict(self.round_trip.lost.most_common(NUM_NAMED)),
            markers=dict(self.markers.names.most_common(NUM_NAMED)),
            unused_fields=dict(sorted(self.unused_fields.items())),
            **{name: getattr(self, name) for name in (*own, *others)},
        )


def count_notes(split: str, counts: Counts) -> list[str]:
    """One line for each thing that happened to rows of the split; empty: nothing did."""
    total = max(counts.examples, 1)
    said = (
        (counts.targets_cut, "targets cut at batch.max_length"),
        (counts.prompts_cut, "prompts cut at batch.max_length"),
        (counts.dropped_overlong, "rows left out, longer than batch.max_length"),
        (counts.dropped_unsupervised, "rows left out, nothing of them would be learned"),
    )
    notes = [f"{split}: {number} of {counts.examples} {what} ({number / total:.1%})" for number, what in said if number]
    if counts.dropped > LOUD_SHARE * total:
        notes.append(
            f"WARNING {split}: {counts.dropped / total:.1%} of the rows were left out; the model never sees them"
        )
    if counts.unknown_tokens:
        share = counts.unknown_tokens / max(counts.supervised_tokens, 1)
        loud = "WARNING " if share > LOUD_SHARE else ""
        notes.append(
            f"{loud}{split}: {counts.unknown_tokens} of {counts.supervised_tokens} learned tokens are the unknown one "
            f"({share:.1%}): the tokenizer does not know those characters, and the model can never write them"
        )
    if counts.lost_characters:
        share = counts.lost_characters / max(counts.characters, 1)
        names = ", ".join(f"{name!r} {number}" for name, number in counts.lost.items())
        loud = "WARNING " if share > LOUD_SHARE else ""
        notes.append(
            f"{loud}{split}: {counts.lost_characters} of {counts.characters} characters of the learned texts do not "
            f"come back from the tokenizer ({share:.1%}: {names}): the model can never write them, references hold them"
        )
    if counts.markers_stripped:
        notes.append(
            f"{split}: {counts.markers_stripped} of {counts.examples} rows began or ended with a start or end token as "
            "text: taken off, since tunelab writes it itself"
        )
    if counts.markers_inside:
        names = ", ".join(map(repr, counts.markers))
        loud = "WARNING " if counts.markers_inside > LOUD_SHARE * total else ""
        notes.append(
            f"{loud}{split}: {counts.markers_inside} of {counts.examples} rows hold special tokens inside their text "
            f"({names}): read as plain characters; where rows are written in the model's own format, give messages, or "
            "set data.special_tokens: control"
        )
    if counts.foreign_markers:
        loud = "WARNING " if counts.foreign_markers > LOUD_SHARE * total else ""
        notes.append(
            f"{loud}{split}: {counts.foreign_markers} of {counts.examples} rows hold another model's markers (such as "
            "</s>, [INST], <|im_end|>): characters to this tokenizer, learned and scored as such; take them out of the "
            "rows, or give messages"
        )
    if counts.plain_conversations:
        notes.append(
            f"{split}: {counts.plain_conversations} conversations are written in the plain form (docs/data.md): the "
            "model has no chat template, or is an encoder-decoder"
        )
    if counts.references > counts.examples:
        notes.append(
            f"{split}: {counts.references} rows with answers became {counts.examples} examples: rows with equal "
            "prompts are one, and each of their answers counts as right"
        )
    notes += [
        f"{split}: {number} messages have a field {name!r} that does not stand in what the model reads"
        for name, number in counts.unused_fields.items()
    ]
    if counts.windowed:
        notes.append(
            f"{split}: {counts.windowed} documents longer than batch.max_length are scored whole, in rows that move on "
            "by half of it"
        )
    if counts.packed_documents:
        notes.append(
            f"{split}: {counts.packed_documents} documents share {counts.rows} rows, {counts.split_documents} lie in "
            "more than one"
        )
    return notes
