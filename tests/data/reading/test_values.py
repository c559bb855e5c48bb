"""Missing values and numbers: one rule for every format, and the text of a number is what the file means."""

import json
import math

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tunelab.data.examples.formats import format_rows
from tunelab.data.reading.rows import read_rows

MISSING = [{"year": 1998, "text": "a"}, {"year": None, "text": None}]


def parquet(path, columns: dict, **options):
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    return read_rows(path)


def test_nan_is_missing_as_null_is(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"year": 1998, "text": "a"}\n{"year": NaN, "text": NaN}\n')
    (tmp_path / "b.json").write_text('[{"year": 1998, "text": "a"}, {"year": NaN, "text": null}]')
    assert list(read_rows(tmp_path / "a.jsonl")) == MISSING
    assert list(read_rows(tmp_path / "b.json")) == MISSING
    found = parquet(tmp_path / "c.parquet", {"year": [1998.0, math.nan], "text": ["a", None]})
    assert list(found) == MISSING


def test_nan_inside_a_list_or_an_object_is_missing_too(tmp_path):
    (row,) = parquet(tmp_path / "a.parquet", {"scores": [[1.5, math.nan]], "more": [{"weight": math.nan, "name": "a"}]})
    assert row == {"scores": [1.5, None], "more": {"weight": None, "name": "a"}}


def test_a_row_whose_target_is_nan_is_left_out_as_one_with_null(tmp_path):
    lines = ['{"q": "one", "a": "1"}', '{"q": "two", "a": NaN}', '{"q": NaN, "a": "3"}', '{"q": "four", "a": null}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    made = format_rows(read_rows(tmp_path / "a.jsonl"), prompt="{q}:", target="{a}", split="train", source="a")
    assert [(one.prompt, one.target) for one in made.examples] == [("one:", "1"), (":", "3")]
    assert made.num_empty_targets == 2


@pytest.mark.parametrize(("type", "text"), [(pyarrow.float16(), "3.8"), (pyarrow.float32(), "3.8")])
def test_a_narrow_number_is_its_shortest_decimal(tmp_path, type, text):
    values = pyarrow.array(np.array([3.8, 0.1, 2.0], dtype=type.to_pandas_dtype()), type)
    rows = parquet(tmp_path / "a.parquet", {"score": values})
    assert [json.dumps(row["score"]) for row in rows] == [text, "0.1", "2.0"]


def test_whole_numbers_with_gaps_are_whole_and_without_they_are_what_their_column_says(tmp_path):
    columns = {"year": [1998.0, None, 2001.0], "ratio": [1.0, 2.0, 3.0], "mixed": [1.0, None, 2.5], "count": [1, 2, 3]}
    rows = parquet(tmp_path / "a.parquet", columns, row_group_size=1)
    texts = [[json.dumps(row[name]) for row in rows] for name in columns]
    assert texts == [["1998", "null", "2001"], ["1.0", "2.0", "3.0"], ["1.0", "null", "2.5"], ["1", "2", "3"]]


def test_an_infinite_number_is_no_gap(tmp_path):
    rows = parquet(tmp_path / "a.parquet", {"x": [math.inf, None, 1.0]})
    assert [row["x"] for row in rows] == [math.inf, None, 1.0]
