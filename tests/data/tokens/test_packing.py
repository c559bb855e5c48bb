import numpy as np
import pytest

from tunelab.data.tokens.packing import Packer, documents, excerpt, positions
from tunelab.records import TokenRow

END = 1


def document(number: int, length: int) -> TokenRow:
    ids = np.append(np.arange(length - 1) + 10 * (number + 1), END).astype(np.int32)
    return TokenRow(number, ids, np.arange(length) > 0)


def packed(lengths: list[int], max_length: int) -> tuple[list[TokenRow], Packer]:
    packer = Packer(max_length)
    rows = [row for number, length in enumerate(lengths) for row in packer.add(document(number, length))]
    return [*rows, *packer.rest()], packer


def test_documents_follow_each_other_in_order_and_fill_the_rows():
    rows, packer = packed([4, 6, 7, 3], 10)
    assert [row.ids.tolist() for row in rows] == [
        [10, 11, 12, 1, 20, 21, 22, 23, 24, 1],
        [30, 31, 32, 33, 34, 35, 1, 40, 41, 1],
    ]
    assert [row.starts for row in rows] == [(0, 4), (0, 7)]
    assert [row.example for row in rows] == [0, 2]
    assert (packer.num_documents, packer.num_split) == (4, 0)


def test_a_document_goes_on_in_the_next_row_and_a_row_of_one_document_has_no_starts():
    rows, packer = packed([25], 10)
    assert [len(row.ids) for row in rows] == [10, 10, 5] and packer.num_split == 1
    assert all(row.starts == () for row in rows)
    assert np.concatenate([row.ids for row in rows]).tolist() == document(0, 25).ids.tolist()


def test_the_first_token_of_every_piece_is_not_supervised_and_every_other_is():
    rows, _ = packed([4, 9, 3, 12], 10)
    for row in rows:
        assert np.flatnonzero(~row.supervised).tolist() == list(row.starts or (0,))


def test_a_start_token_is_the_context_of_the_first_token():
    start = TokenRow(0, np.array([2, 10, 11, END], dtype=np.int32), np.array([False, True, True, True]))
    packer = Packer(8)
    (row,) = [*packer.add(start), *packer.add(start._replace(example=1)), *packer.rest()]
    assert row.supervised.tolist() == [False, True, True, True] * 2


@pytest.mark.parametrize("max_length", [2, 3, 5, 8, 10])
def test_every_token_has_its_place_and_the_end_of_a_document_is_learned(max_length):
    lengths = np.random.default_rng(0).integers(2, 30, size=60).tolist()
    rows, _ = packed(lengths, max_length)
    assert max(len(row.ids) for row in rows) == max_length
    ids = np.concatenate([row.ids for row in rows])
    if max_length > 2:  # pieces of two tokens cannot always be had of an odd document
        assert ids.tolist() == np.concatenate([document(n, length).ids for n, length in enumerate(lengths)]).tolist()
        ends = np.concatenate([row.supervised for row in rows])[ids == END]
        assert ends.all()
    assert all(len(one.ids) > 1 or max_length == 2 for row in rows for one in documents(row))


def test_documents_of_a_row_are_its_pieces_and_positions_begin_again():
    (row,), _ = packed([4, 3, 2], 10)
    assert [one.ids.tolist() for one in documents(row)] == [[10, 11, 12, 1], [20, 21, 1], [30, 1]]
    assert sum(one.num_supervised for one in documents(row)) == row.num_supervised
    assert positions(row).tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 1]
    assert positions(document(0, 3)).tolist() == [0, 1, 2]


def test_an_excerpt_is_the_border_of_two_documents():
    (row,), _ = packed([4, 3, 9], 16)
    short = excerpt(row, tokens=2)
    assert short.ids.tolist() == [21, 1, 30, 31] and short.starts == (0, 2)
    assert short.supervised.tolist() == [False, True, False, True]
