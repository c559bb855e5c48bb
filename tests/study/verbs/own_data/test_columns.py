"""What prompt and target are made of where the columns' names say nothing."""

from pathlib import Path

import pytest

from tunelab.errors import DataError
from tunelab.study.verbs.own_data.columns import guess_columns

PATH = Path("a.csv")


def test_a_column_of_labels_is_the_target_wherever_it_stands():
    rows = [{"stars": str(n % 5), "review": f"The food was number {n}."} for n in range(50)]
    guess = guess_columns(rows, PATH)
    assert (guess.prompt, guess.target, guess.by_name) == ("{review}\n", "{stars}", False)
    assert guess.reason.startswith("A GUESS from the values of the columns, please check: ")


def test_labels_that_are_numbers_are_targets_as_text():
    rows = [{"text": f"Text {n}.", "label": n % 2} for n in range(50)]
    guess = guess_columns(rows, PATH)
    assert guess.targets is not None and set(guess.targets) == {"0", "1"} and guess.columns == ("text", "label")


def test_where_plain_text_comes_from_is_no_label():
    rows = [{"text": f"A text of number {n}.", "source": ("web", "book")[n % 2]} for n in range(50)]
    assert guess_columns(rows, PATH).text == "{text}"


def test_ids_are_never_prompts():
    rows = [{"row": f"{n:04d}", "left": f"a {n}", "right": f"b {n % 30}"} for n in range(60)]
    assert guess_columns(rows, PATH).columns == ("left", "right")


def test_labels_sorted_by_file_are_seen_all_the_same():
    rows = [{"words": f"The number {n} it is.", "mark": ("neg", "pos")[n // 5000]} for n in range(10000)]
    assert guess_columns(rows, PATH).target == "{mark}"


def test_conversations_come_first():
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    guess = guess_columns([{"prompt": "a", "completion": "b", "messages": turns}], PATH)
    assert (guess.messages, guess.columns, guess.targets) == ("messages", ("messages",), ("y",))


def test_no_column_of_text_names_the_columns():
    with pytest.raises(DataError, match=r"a\.csv: no column of text to learn from\. Columns: a, b"):
        guess_columns([{"a": 1, "b": [2]}], PATH)
