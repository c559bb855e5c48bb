"""Columns that a reader should look at are named, each with what is odd; good ones are not."""

import pytest

from tunelab.study.verbs.own_data.odd_columns import are_ids, are_labels, odd_columns

GOOD = [{"question": f"What is {n}?", "answer": str(n), "seen": n % 2 == 0} for n in range(20)]


def said(**values) -> list[str]:
    """Of the good rows with another column, whose value is made of the row's number."""
    ((name, make),) = values.items()
    return odd_columns([{**row, name: make(n)} for n, row in enumerate(GOOD)], read=("question", "answer"))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda n: "", "empty in every row"),
        (lambda n: None if n else "x", "empty in 19 of 20 rows"),
        (lambda n: "the same", "the same in every row: 'the same'"),
        (lambda n: n if n % 4 else "x", "holds a number 15 times, text 5 times"),
        (lambda n: 1000 + 7 * n, "looks like an id: another value in every row, and no text"),
        (lambda n: f"{n:032x}", "looks like an id: another value in every row, and no text"),
    ],
    ids=["empty", "nearly", "constant", "mixed", "counted", "random"],
)
def test_what_is_odd_is_said(make, line):
    assert said(extra=make) == [f"column 'extra': {line}"]


def test_good_columns_are_silent():
    assert odd_columns(GOOD, read=("question", "answer")) == []
    assert said(score=lambda n: (n * 7) % 13) == [] and said(price=lambda n: n / 3 if n % 2 else n) == []


def test_a_name_that_says_id_is_enough():
    assert said(user_id=lambda n: f"u{(n * 7) % 20}x") == [
        "column 'user_id': looks like an id: another value in every row, and no text"
    ]
    assert said(score=lambda n: f"u{(n * 7) % 20}x") == []


def test_answers_that_count_are_ids_only_where_the_columns_were_guessed():
    rows = [{"left": f"Question {n}?", "right": str(n)} for n in range(20)]
    assert odd_columns(rows, read=("left", "right")) == []
    (line,) = odd_columns(rows, read=("left", "right"), by_name=False)
    assert line.startswith("column 'right' (which is read): looks like an id")


def test_words_for_missing_are_told_where_they_are_learned():
    rows = [{**row, "answer": ("NaN", "null", "")[n] if n < 3 else row["answer"]} for n, row in enumerate(GOOD)]
    assert odd_columns(rows, read=("question", "answer")) == [
        "column 'answer' (which is read): holds 'NaN' once, 'null' once: text like any other, and no missing value"
    ]


def test_a_few_rows_say_nothing():
    assert odd_columns([{"a": ""}] * 4) == []


def test_of_many_rows_a_sample_is_looked_at_and_that_is_said():
    (line,) = odd_columns([{"a": ""}] * 3000)
    assert line == "column 'a': empty in every one of 1000 rows looked at"


def test_labels_are_few_short_and_come_again():
    assert are_labels(["good", "bad"] * 5) and are_labels([0, 1] * 5)
    assert not are_labels(["good", "bad"] * 4) and not are_labels(["good"] * 20)
    assert not are_labels([0.5, 1.5] * 20)
    assert not are_labels([f"a long text that is said {n % 2}" for n in range(40)])


def test_ids_are_all_different_and_no_text():
    assert are_ids([1, 2, 3, 4, 5], column="row") and are_ids(["b3", "a1", "c2", "e5", "d4"], column="row_id")
    assert not are_ids([1, 2, 3, 4, 4], column="id") and not are_ids(["a b", "c", "d", "e", "f"], column="id")
    assert not are_ids([5, 3, 1, 9, 2], column="score")
