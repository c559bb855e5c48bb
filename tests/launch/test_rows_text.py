"""`tunelab show --rows` of a row that no screen holds: its beginning, and how much that is of it."""

import json

from tunelab.launch.rows_text import MOST_CHARACTERS, file_text
from tunelab.study.verbs.show import show_file


def test_a_long_value_is_cut_and_said_and_the_others_stay(tmp_path):
    row = {"prompt": "x" * 200_000, "target": "y", "number": 3}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({"prompt": "x" * MOST_CHARACTERS}) + "\n")
    *_, long, whole = file_text("a", show_file(tmp_path / "a.jsonl")).splitlines()
    assert "xxx... (the first 5,000 of 200,000 characters)" in long and len(long) < 6000
    assert '"target": "y", "number": 3' in long
    assert json.loads(whole) == {"prompt": "x" * MOST_CHARACTERS}


def test_a_list_that_is_long_is_cut_too(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"turns": list(range(100_000))}) + "\n")
    shown = file_text("a", show_file(tmp_path / "a.jsonl"), width=80)
    assert "(the first 10,000 of 688,901 characters)" in " ".join(shown.split()) and len(shown) < 14_000
