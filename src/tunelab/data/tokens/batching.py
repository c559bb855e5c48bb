"""Which examples make up which step (a function of the seed alone), and how a step is cut into micro-batches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from tunelab.config.schema import Budget
from tunelab.data.reading.lazy import Lazy
from tunelab.data.tokens.token_store import sizes
from tunelab.records import Batch, RowSize, TokenRow

MOST_WEIGHED = 512
"""Rows whose cuts into micro-batches are weighed against each other."""
MOST_LOOKED_AT = 32
"""Steps among whose micro-batches the largest is looked for."""


class Order:
    """The steps of a run. Every method with the same rows, seed and budget sees the same examples in the same order.

    Each epoch is a permutation drawn from (seed, epoch); the last step of an epoch may be smaller.
    """

    def __init__(self, rows: Sequence[TokenRow], *, seed: int, examples: int, budget: Budget) -> None:
        self.rows = rows
        self.seed = seed
        self.examples = examples
        self.steps_per_epoch = math.ceil(len(rows) / examples)
        self._epoch = -1
        self._permutation = np.empty(0, dtype=np.int64)
        self.num_steps = self._count_steps(budget)

    def step(self, number: int) -> list[TokenRow]:
        """The rows of step `number`, counted from 1."""
        return [self.rows[index] for index in self._positions(number)]

    def _positions(self, number: int) -> np.ndarray:
        epoch, position = divmod(number - 1, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._permutation = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
        return self._permutation[position * self.examples : (position + 1) * self.examples]

    def _count_steps(self, budget: Budget) -> int:
        """The first limit that is reached; a token budget is counted on the real order."""
        limits = []
        if budget.epochs is not None:
            limits.append(max(1, round(budget.epochs * self.steps_per_epoch)))
        if budget.steps is not None:
            limits.append(budget.steps)
        if budget.tokens is None:
            return min(limits)
        most = min(limits, default=math.inf)
        num_supervised = sizes(self.rows).num_supervised
        step = tokens = 0
        while tokens < budget.tokens and step < most:
            step += 1
            tokens += int(num_supervised[self._positions(step)].sum())
        return step


def shares(costs: Sequence[int], count: int) -> list[list[int]]:
    """Places of the costs, cut into `count` shares of about the same sum: the dearest first, each to the share that has
    the least so far. A share may be empty."""
    sums = [0] * count
    found: list[list[int]] = [[] for _ in range(count)]
    for place in sorted(range(len(costs)), key=lambda place: (-costs[place], place)):
        least = min(range(count), key=lambda share: (sums[share], share))
        sums[least] += costs[place]
        found[least].append(place)
    return found


def ranks_batches(
    rows: Sequence[TokenRow], *, max_tokens: int, num_ranks: int, padded: bool = True
) -> list[Sequence[Batch]]:
    """The micro-batches of each rank, which gets rows by their tokens, not by their count."""
    if num_ranks == 1:
        return [micro_batches(rows, max_tokens=max_tokens, padded=padded)]
    cut = shares([row.num_tokens for row in rows], num_ranks)
    return [list(micro_batches([rows[place] for place in own], max_tokens=max_tokens, padded=padded)) for own in cut]


def micro_batches(rows: Sequence[TokenRow], *, max_tokens: int, padded: bool = True) -> Sequence[Batch]:
    """Cut rows, longest first, so that each micro-batch holds at most `max_tokens`, with its padding if it is `padded`.

    A row longer than that is a micro-batch alone. Longest first: the memory peak comes at once. Cut by the rows'
    lengths; a batch is made when it is asked for. Of a step's padded rows the cuts are those with the least padding,
    each micro-batch counting as much as `max_tokens` / 16 padded tokens; rows that are not padded go to the first
    micro-batch that has room, sources and targets each counted alone. Of more rows than `MOST_WEIGHED`, whose lengths
    lie close together, each micro-batch takes what it can hold of the next ones.
    """
    lengths = sizes(rows)
    order = np.lexsort((lengths.example, -lengths.num_tokens))
    pairs = list(zip(lengths.ids[order].tolist(), lengths.source[order].tolist(), strict=True))
    if not padded:
        members = _joined(pairs, max_tokens)
        order, cuts = order[[place for own in members for place in own]], _starts(members)
    else:
        cuts = _least_padding(pairs, max_tokens) if len(pairs) <= MOST_WEIGHED else _filled(pairs, max_tokens)
    return _Batches(rows, order, [*cuts, len(order)])


def largest_batch(order: Order, *, max_tokens: int, padded: bool) -> tuple[RowSize, ...]:
    """Of the micro-batches of the first `MOST_LOOKED_AT` steps, longest rows first, the one with most tokens."""
    steps = range(1, min(order.num_steps, MOST_LOOKED_AT) + 1)
    batches = (
        batch for step in steps for batch in micro_batches(order.step(step), max_tokens=max_tokens, padded=padded)
    )
    rows = max(batches, key=lambda batch: batch.num_tokens).rows
    return tuple((len(row.ids), row.num_supervised, 0 if row.source is None else len(row.source)) for row in rows)


def _joined(pairs: Sequence[tuple[int, int]], max_tokens: int) -> list[list[int]]:
    """Places of the rows of each micro-batch, which lie one behind the other. No linear layer reads an encoder's and
    a decoder's tokens, so that the more of them are what a micro-batch holds."""
    members: list[list[int]] = []
    sums: list[tuple[int, int]] = []
    for place, (ids, source) in enumerate(pairs):
        looked_at = range(len(sums)) if len(pairs) <= MOST_WEIGHED else range(max(len(sums) - 1, 0), len(sums))
        for number in looked_at:
            joined = (sums[number][0] + ids, sums[number][1] + source)
            if max(joined) <= max_tokens:
                members[number].append(place)
                sums[number] = joined
                break
        else:
            members.append([place])
            sums.append((ids, source))
    return members


def _starts(members: Sequence[Sequence[int]]) -> list[int]:
    """First places of the micro-batches."""
    return [0, *itertools.accumulate(map(len, members[:-1]))] if members else []


def _filled(pairs: Sequence[tuple[int, int]], max_tokens: int) -> list[int]:
    """The same of padded rows."""
    cuts: list[int] = []
    longest = (0, 0)
    for place, size in enumerate(pairs):
        joined = (max(longest[0], size[0]), max(longest[1], size[1]))
        if cuts and sum(joined) * (place - cuts[-1] + 1) <= max_tokens:
            longest = joined
        else:
            cuts.append(place)
            longest = size
    return cuts


def _least_padding(pairs: Sequence[tuple[int, int]], max_tokens: int) -> list[int]:
    """The same, by the shortest way from the last row to the first."""
    count, each = len(pairs), max_tokens / 16
    costs, ends = [0.0] * (count + 1), [0] * count
    for first in reversed(range(count)):
        best, longest = math.inf, (0, 0)
        for place in range(first, count):
            longest = (max(longest[0], pairs[place][0]), max(longest[1], pairs[place][1]))
            padded = sum(longest) * (place - first + 1)
            if place > first and padded > max_tokens:
                break
            if padded + each + costs[place + 1] < best:
                best, ends[first] = padded + each + costs[place + 1], place + 1
        costs[first] = best
    cuts = [0] if count else []
    while cuts and ends[cuts[-1]] < count:
        cuts.append(ends[cuts[-1]])
    return cuts


class _Batches(Lazy[Batch]):
    def __init__(self, rows: Sequence[TokenRow], order: np.ndarray, cuts: list[int]) -> None:
        self._rows, self._order, self._cuts = rows, order, cuts

    def __len__(self) -> int:
        return len(self._cuts) - 1

    def _at(self, position: int) -> Batch:
        return Batch(tuple(self._rows[index] for index in self._order[slice(*self._cuts[position : position + 2])]))
