"""Every setting of data.overlong, for every kind of row and split; what is said of what was lost."""

import numpy as np
import pytest

from tunelab.config.schema import DataSettings
from tunelab.data.tokens.counts import count_notes
from tunelab.data.tokens.tokenise import Tokeniser, tokenise
from tunelab.errors import DataError
from tunelab.records import Example


class Letters:
    """A token a character; a start token in front and an end token behind, as LLaMA's and T5's tokenizers do."""

    eos_token_id = 1

    def __call__(self, texts=None, *, text_target=None, add_special_tokens):
        ids = [[ord(c) for c in text] for text in texts or text_target]
        start = [2] if texts else []
        return {"input_ids": [[*start, *one, 1] for one in ids] if add_special_tokens else ids}


def row(number: int, prompt: int, target: int) -> Example:
    return Example(f"row-{number}", "abcdefghij"[:prompt], "ABCDEFGHIJ"[:target])


def text(tokens) -> str:
    return "".join({1: ">", 2: "<"}.get(token, chr(token)) for token in tokens)


def texts(*examples: Example, pairs: bool = False, split: str = "train", max_length: int = 8, **settings):
    rows, counts = tokenise(
        examples,
        Letters(),
        max_length=max_length,
        encoder_decoder=pairs,
        settings=DataSettings(**settings),
        split=split,
    )
    return [(text(one.source) + "|" if pairs else "") + text(one.ids) for one in rows], counts


@pytest.mark.parametrize(
    ("overlong", "expected"),
    [
        ("truncate_prompt", ["<abcAB>", "<defABC>", "<ABCDEFG", "<A>"]),
        ("truncate", ["<abcAB>", "<abcdefA", "<abABCDE", "<A>"]),
        ("drop", ["<abcAB>", "<A>"]),
    ],
)
def test_what_stays_of_a_long_row(overlong, expected):
    rows, counts = texts(row(0, 3, 2), row(1, 6, 3), row(2, 2, 9), row(3, 0, 1), overlong=overlong, packing=False)
    assert rows == expected
    assert (counts.examples, counts.rows, counts.overlong) == (4, len(expected), 2)
    assert counts.dropped_overlong == (2 if overlong == "drop" else 0)
    assert (counts.prompts_cut, counts.targets_cut) == {
        "truncate_prompt": (2, 1), "truncate": (0, 2), "drop": (0, 0)
    }[overlong]  # fmt: skip


@pytest.mark.parametrize(
    ("overlong", "expected"),
    [
        ("truncate_prompt", ["<abc>|AB>", "<abcdef>|ABC>", "<ab>|ABCDEFGH"]),
        ("truncate", ["<abc>|AB>", "<abcdef>|ABC>", "<ab>|ABCDEFGH"]),
        ("drop", ["<abc>|AB>"]),
    ],
)
def test_source_and_target_of_pairs_each_lose_their_end(overlong, expected):
    rows, counts = texts(row(0, 3, 2), row(1, 9, 3), row(2, 2, 9), pairs=True, overlong=overlong)
    assert rows == expected and counts.overlong == 2


def test_a_prompt_that_leaves_no_room_for_its_target_is_left_out_where_the_end_is_cut():
    rows, counts = texts(row(0, 3, 2), row(1, 9, 3), overlong="truncate")
    assert rows == ["<abcAB>"]
    assert (counts.dropped_unsupervised, counts.targets_cut) == (1, 0)


@pytest.mark.parametrize("overlong", ["truncate", "drop", "error"])
def test_test_rows_are_cut_and_never_left_out(overlong):
    rows, counts = texts(row(0, 9, 3), row(1, 3, 2), split="test", overlong=overlong)
    assert rows == ["<ghiABC>", "<abcAB>"]
    assert counts.dropped == 0 and counts.prompts_cut == 1


def document(number: int, length: int) -> Example:
    text = "".join(chr(ord("a") + place % 26) for place in range(length))
    return Example(f"row-{number}", "", text, (text,))


def test_a_long_test_document_is_scored_whole_in_rows_that_move_on_by_half():
    tokeniser = Tokeniser(Letters(), max_length=8, encoder_decoder=False, split="test")
    rows = list(tokeniser.rows([document(0, 17), document(1, 3)]))
    assert [row.example for row in rows] == [0, 0, 0, 0, 1]
    assert all(len(row.ids) <= 8 for row in rows)
    whole = next(Tokeniser(Letters(), max_length=99, encoder_decoder=False, split="test").rows([document(0, 17)]))
    scored = np.concatenate([row.ids[row.supervised] for row in rows[:-1]])
    assert scored.tolist() == whole.ids[whole.supervised].tolist()
    assert all(not row.supervised[:4].any() for row in rows[1:-1])
    assert tokeniser.counts().windowed == 1 and tokeniser.counts().targets_cut == 0


def test_an_error_names_the_count_and_the_first_row():
    rows = [row(0, 1, 2), row(1, 9, 2), row(2, 1, 1), row(3, 9, 9)]
    with pytest.raises(
        DataError, match=r"^train: 2 of 4 rows are longer than batch.max_length \(8 tokens\), .* row-1;"
    ):
        texts(*rows, overlong="error")
    assert texts(rows[0], rows[2], overlong="error")[0] == ["<aAB>", "<aA>"]


def test_rows_that_are_all_left_out_are_an_error():
    with pytest.raises(DataError, match="validation: nothing is left to learn of 2 rows, 2 of them longer"):
        texts(row(0, 9, 2), row(1, 9, 3), split="validation", overlong="drop")
    with pytest.raises(DataError, match="train: nothing is left to learn of 1 rows, 0 of them longer"):
        texts(row(0, 9, 2), overlong="truncate")


def test_what_was_lost_is_said_and_more_than_a_hundredth_left_out_is_a_warning():
    few = [row(number, 1, 2) for number in range(99)]
    _, counts = texts(*few, row(99, 9, 2), overlong="drop")
    assert count_notes("train", counts) == ["train: 1 of 100 rows left out, longer than batch.max_length (1.0%)"]
    _, counts = texts(*few, row(99, 9, 2), row(100, 9, 9), overlong="drop")
    assert count_notes("train", counts)[1] == "WARNING train: 2.0% of the rows were left out; the model never sees them"
    _, counts = texts(*few, row(99, 9, 2), row(100, 9, 9))
    assert count_notes("train", counts) == [
        "train: 1 of 101 targets cut at batch.max_length (1.0%)",
        "train: 2 of 101 prompts cut at batch.max_length (2.0%)",
    ]
    assert count_notes("train", texts(*few)[1]) == []


def test_only_training_rows_of_plain_text_are_packed():
    documents = [Example(f"t{number}", "", "ABCDE"[: 1 + number % 5]) for number in range(10)]
    packed, counts = texts(*documents, max_length=16)
    assert packed == ["<A><AB><ABC><ABC", "D><ABCDE><A><AB>", "<ABC><ABCD><ABCD", "E>"]
    assert (counts.examples, counts.rows, counts.packed_documents, counts.split_documents) == (10, 4, 10, 2)
    assert "10 documents share 4 rows" in count_notes("train", counts)[0]
    for changes in ({"packing": False}, {"split": "validation"}, {"split": "test"}, {"pairs": True}):
        assert texts(*documents, max_length=16, **changes)[1].rows == 10
    mixed = [documents[1], row(0, 2, 2), documents[2]]
    assert texts(*mixed)[0] == ["<abAB>", "<AB><AB", "C>"]


def test_long_texts_are_split_where_they_are_packed_and_cut_where_they_are_scored():
    long = Example("long", "", "ABCDEFGHIJ" * 2)
    assert "".join(texts(long)[0]) == f"<{long.target}>"
    rows, counts = texts(long, split="validation")
    assert rows == ["<ABCDEFG"] and counts.targets_cut == 1
    with pytest.raises(DataError, match="Every target is longer"):
        texts(long, packing=False)


def test_rows_stream_with_no_more_than_a_chunk_read_ahead():
    read = []

    def endless():
        for number in range(1_000_000):
            read.append(number)
            yield row(number, 3, 2)

    rows = Tokeniser(Letters(), max_length=8, encoder_decoder=False).rows(endless())
    assert [next(rows).example for _ in range(3)] == [0, 1, 2]
    assert len(read) == 1000
