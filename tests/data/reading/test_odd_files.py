"""Pipes and devices are refused before they are read for ever, and JSON that nothing could go on with by its line."""

import os
import signal
from pathlib import Path

import pytest

from tunelab.config.read import read_study
from tunelab.data.reading.found_rows import find_rows
from tunelab.data.reading.rows import read_rows, sha256
from tunelab.data.reading.values import MOST_LEVELS, parse_json
from tunelab.errors import ConfigError, DataError
from tunelab.evaluation.text_files import read_outputs
from tunelab.study.verbs.prompts import read_prompts


@pytest.fixture(autouse=True)
def at_once():
    """Reading a pipe that nobody writes to would never end."""
    signal.alarm(30)
    yield
    signal.alarm(0)


@pytest.fixture(params=["pipe", "device"])
def odd(request, tmp_path) -> Path:
    path = tmp_path / "odd.jsonl"
    os.mkfifo(path) if request.param == "pipe" else path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("read", [read_rows, sha256, find_rows, lambda path: read_prompts(file=path)])
def test_what_is_no_file_is_no_data(odd, read):
    with pytest.raises(DataError, match=r"odd\.jsonl: is a (pipe|device); name a file"):
        read(odd)


def test_nor_is_it_a_study(odd):
    with pytest.raises(ConfigError, match=r"odd\.jsonl: is a (pipe|device); a study is a YAML file"):
        read_study(odd)


def test_a_device_holds_no_texts_to_score():
    with pytest.raises(DataError, match=r"/dev/zero: is a device"):
        read_outputs(Path("/dev/zero"))


@pytest.mark.parametrize("levels", [MOST_LEVELS, 900, 5000, 100_000])
@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_json_nested_too_deeply_is_named_with_its_line(tmp_path, suffix, levels):
    path = tmp_path / f"deep.{suffix}"
    rows = ['{"x": 1}', '{"x": ' + "[" * levels + "]" * levels + "}"]
    path.write_text("\n".join(rows) if suffix == "jsonl" else "[" + ",\n".join(rows) + "]")
    with pytest.raises(DataError, match=r"deep\.jsonl?:\d: not valid JSON \(nested more than 100 levels deep"):
        read_rows(path)


def test_as_many_levels_as_are_allowed_are_read():
    deep = '{"x": ' + "[" * (MOST_LEVELS - 1) + "]" * (MOST_LEVELS - 1) + "}"
    assert parse_json(deep) and len(parse_json("[" + "[], " * 500 + "{}]")) == 501


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_a_number_of_ten_thousand_digits_is_named_with_its_line(tmp_path, suffix):
    path = tmp_path / f"long.{suffix}"
    row = '{"x": ' + "1" * 10_000 + "}"
    path.write_text(row if suffix == "jsonl" else f"[{row}]")
    with pytest.raises(DataError, match=r"long\.jsonl?:1: not valid JSON \(a whole number of more than 4300 digits"):
        read_rows(path)
