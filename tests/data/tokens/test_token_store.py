"""Token rows in an Arrow file are the rows that were written, and cost no memory."""

import numpy as np
import pytest

import tiny
from tunelab.config.schema import Budget
from tunelab.data.tokens.batching import Order, micro_batches
from tunelab.data.tokens.token_store import BATCH, NamedRow, TokenRows, sizes, write_rows
from tunelab.records import TokenRow
from tunelab.study.executing.verified import verified_rows


def named(rows):
    return (NamedRow(row, f"train-{row.example:06d}") for row in rows)


def chats(count: int) -> list[TokenRow]:
    """Several supervised stretches, packed starts, an unsupervised row."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        ids = generator.integers(0, 2**31 - 1, 20 + number % 7).astype(np.int32)
        supervised = generator.random(len(ids)) < (number % 3) / 2
        rows.append(TokenRow(3 * number, ids, supervised, starts=(0, 5) if number % 2 else ()))
    return rows


def same(one: TokenRow, other: TokenRow) -> bool:
    sources = [np.empty(0) if row.source is None else row.source for row in (one, other)]
    return (
        one.example == other.example
        and one.starts == other.starts
        and one.ids.dtype == other.ids.dtype
        and one.supervised.dtype == other.supervised.dtype
        and np.array_equal(one.ids, other.ids)
        and np.array_equal(one.supervised, other.supervised)
        and (one.source is None) == (other.source is None)
        and np.array_equal(*sources)
    )


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize(
    "rows", [tiny.rows(30), tiny.rows(30, pairs=True), chats(30), chats(BATCH + 3), []], ids=lambda rows: len(rows)
)
def test_stored_rows_are_the_rows_written(rows, in_memory, tmp_path):
    stored = write_rows(named(rows), None if in_memory else tmp_path / "train.arrow")
    assert len(stored) == len(rows)
    assert all(same(one, other) for one, other in zip(stored, rows, strict=True))
    if rows:
        assert same(stored[-1], rows[-1])
        assert stored.id_of(rows[-1]) == f"train-{rows[-1].example:06d}"


def test_ids_are_views_and_not_copies(tmp_path):
    stored = write_rows(named(tiny.rows(5)), tmp_path / "train.arrow")
    assert stored[3].ids.base is not None and not stored[3].ids.flags.writeable
    assert np.shares_memory(stored[3].ids, stored[3].ids)


def test_sizes_are_known_without_making_rows(tmp_path, monkeypatch):
    rows = tiny.rows(40, pairs=True)
    stored = write_rows(named(rows), tmp_path / "train.arrow")
    monkeypatch.setattr(TokenRows, "_at", None)
    for mine, yours in zip(sizes(stored), sizes(rows), strict=True):
        assert np.array_equal(mine, yours)
    assert sizes(stored).num_tokens.tolist() == [row.num_tokens for row in rows]
    assert len(micro_batches(stored, max_tokens=64)) == len(micro_batches(rows, max_tokens=64))
    Order(stored, seed=0, examples=4, budget=Budget(tokens=100))


@pytest.mark.parametrize("pairs", [False, True])
def test_steps_and_micro_batches_of_stored_rows_are_those_of_a_list(pairs, tmp_path):
    rows = tiny.rows(40, pairs=pairs)
    stored = write_rows(named(rows), tmp_path / "train.arrow")
    orders = [Order(some, seed=3, examples=8, budget=Budget(epochs=2, tokens=500)) for some in (rows, stored)]
    assert orders[0].num_steps == orders[1].num_steps
    for step in range(1, orders[0].num_steps + 1):
        cut = [micro_batches(order.step(step), max_tokens=64) for order in orders]
        assert [[row.example for row in batch.rows] for batch in cut[0]] == [
            [row.example for row in batch.rows] for batch in cut[1]
        ]


def test_a_broken_file_is_refused(tmp_path):
    import pyarrow

    path = tmp_path / "train.arrow"
    write_rows(named(tiny.rows(30)), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises((OSError, pyarrow.ArrowException)):
        TokenRows.open(path)


def test_rows_for_the_check_before_training_are_chosen_by_what_the_store_knows(tmp_path):
    packed = TokenRow(0, np.arange(30, dtype=np.int32), np.arange(30) % 10 > 0, starts=(0, 10, 20))
    unlearned = TokenRow(1, np.arange(2, dtype=np.int32), np.zeros(2, bool))
    rows = [packed, unlearned, *(row._replace(example=row.example + 2) for row in tiny.rows(30))]
    stored = write_rows(named(rows), tmp_path / "train.arrow")
    ends = sorted((row for row in rows if row.supervised[-1]), key=lambda row: row.num_tokens)
    longer = next(row for row in ends if row.num_tokens > ends[0].num_tokens)
    for some in (rows, stored):
        first, second, third = verified_rows(some).rows
        assert same(first, ends[0]) and same(second, longer)
        assert third.starts and third.example == 0
    one = [rows[5]]
    assert [row.example for row in verified_rows(one).rows] == [rows[5].example] * 2
