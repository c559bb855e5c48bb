import numpy as np
import pytest

from tunelab.config.schema import Budget
from tunelab.data.tokens.batching import MOST_WEIGHED, Order, micro_batches, ranks_batches, shares
from tunelab.records import TokenRow


def row(number: int, length: int, source: int | None = None) -> TokenRow:
    supervised = np.ones(length, dtype=bool)
    return TokenRow(number, np.arange(length), supervised, None if source is None else np.arange(source))


def made(count: int) -> list[TokenRow]:
    return [row(number, 3 + number % 5) for number in range(count)]


def examples(order: Order, step: int) -> list[int]:
    return [one.example for one in order.step(step)]


def test_each_epoch_visits_every_row_once():
    order = Order(made(10), seed=0, examples=4, budget=Budget(epochs=2))
    assert order.num_steps == 6
    first = [example for step in (1, 2, 3) for example in examples(order, step)]
    second = [example for step in (4, 5, 6) for example in examples(order, step)]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_order_is_a_function_of_the_seed_alone_wherever_it_is_entered():
    whole = Order(made(10), seed=7, examples=4, budget=Budget(epochs=3))
    sequence = [examples(whole, step) for step in range(1, 10)]
    late = Order(made(10), seed=7, examples=4, budget=Budget(steps=9))
    assert examples(late, 8) == sequence[7]
    assert [examples(late, step) for step in range(1, 10)] == sequence
    other = Order(made(10), seed=8, examples=4, budget=Budget(epochs=3))
    assert [examples(other, step) for step in range(1, 10)] != sequence


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        (Budget(steps=5), 5),
        (Budget(epochs=0.5), 2),
        (Budget(epochs=4, steps=7), 7),
        (Budget(epochs=1, steps=7), 3),
        (Budget(tokens=1), 1),
        (Budget(epochs=1, tokens=10**9), 3),
    ],
)
def test_the_first_budget_reached_ends_the_run(budget, steps):
    assert Order(made(10), seed=0, examples=4, budget=budget).num_steps == steps


def test_token_budget_counts_the_steps_that_are_executed():
    order = Order(made(10), seed=0, examples=4, budget=Budget(tokens=60))
    totals = np.cumsum([sum(one.num_supervised for one in order.step(step)) for step in range(1, order.num_steps + 1)])
    assert totals[-1] >= 60 > totals[-2]


def padded(batch) -> int:
    return len(batch.rows) * (
        max(len(one.ids) for one in batch.rows)
        + max(0 if one.source is None else len(one.source) for one in batch.rows)
    )


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("max_tokens", [1, 30, 64, 1000])
def test_micro_batches_hold_every_row_once_within_the_limit(pairs, max_tokens):
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 40, size=50)
    rows = [row(number, int(length), int(40 - length) + 1 if pairs else None) for number, length in enumerate(lengths)]
    batches = micro_batches(rows, max_tokens=max_tokens)
    assert sorted(one.example for batch in batches for one in batch.rows) == list(range(50))
    assert all(padded(batch) <= max_tokens or len(batch.rows) == 1 for batch in batches)


def test_a_row_longer_than_the_limit_goes_alone_and_first():
    batches = micro_batches([row(0, 5), row(1, 500), row(2, 5)], max_tokens=64)
    assert [[one.example for one in batch.rows] for batch in batches] == [[1], [0, 2]]


def test_a_step_is_cut_over_ranks_by_tokens_not_by_count():
    rows = [row(number, length) for number, length in enumerate([30, 4, 4, 4, 4, 4, 4, 6])]
    cut = ranks_batches(rows, max_tokens=1000, num_ranks=2)
    assert [[each.example for batch in share for each in batch.rows] for share in cut] == [[0], [7, 1, 2, 3, 4, 5, 6]]
    assert [sum(batch.num_tokens for batch in share) for share in cut] == [30, 30]


def test_a_rank_may_have_nothing_and_one_rank_has_what_it_always_had():
    rows = [row(number, length) for number, length in enumerate([5, 9])]
    assert [len(share) for share in ranks_batches(rows, max_tokens=1000, num_ranks=3)] == [1, 1, 0]
    alone = ranks_batches(rows, max_tokens=12, num_ranks=1)
    cuts = [[each.example for each in batch.rows] for batch in alone[0]]
    assert len(alone) == 1 and cuts == [[1], [0]]
    assert cuts == [[each.example for each in batch.rows] for batch in micro_batches(rows, max_tokens=12)]


def test_shares_are_the_same_wherever_they_are_made():
    assert shares([5, 5, 5, 5, 20], 2) == shares([5, 5, 5, 5, 20], 2) == [[4], [0, 1, 2, 3]]


def test_a_steps_rows_are_cut_with_the_least_padding():
    lengths = [70, 69, 68, 30, 29, 28, 27, 3]
    rows = [row(number, length) for number, length in enumerate(lengths)]
    batches = micro_batches(rows, max_tokens=400)
    assert [len(batch.rows) for batch in batches] == [3, 4, 1]
    assert sum(map(padded, batches)) == 210 + 120 + 3
    greedy = micro_batches([*rows, *(row(100 + n, 1) for n in range(MOST_WEIGHED))], max_tokens=400)
    assert len(greedy[0].rows) == 5, "of many rows each micro-batch takes what it holds"


def test_rows_without_padding_fill_a_micro_batch():
    rows = [row(number, length) for number, length in enumerate([5, 90, 40, 60, 120])]
    batches = micro_batches(rows, max_tokens=100, padded=False)
    assert [[each.num_tokens for each in batch.rows] for batch in batches] == [[120], [90, 5], [60, 40]]


def test_sources_and_targets_in_rows_of_their_own_are_counted_alone():
    rows = [row(number, length, source) for number, (length, source) in enumerate([(10, 50), (50, 40), (60, 20)])]
    batches = micro_batches(rows, max_tokens=100, padded=False)
    assert [[each.example for each in batch.rows] for batch in batches] == [[1, 0], [2]]


def test_of_many_rows_without_padding_each_micro_batch_takes_the_next_ones():
    rows = [row(number, length) for number, length in enumerate([90, 40, *[20] * MOST_WEIGHED])]
    batches = micro_batches(rows, max_tokens=100, padded=False)
    assert [len(batch.rows) for batch in batches[:3]] == [1, 4, 5]
    assert sorted(each.example for batch in batches for each in batch.rows) == list(range(len(rows)))
