"""Texts on their way to disk survive a kill at any byte, and never count for something else."""

import json

import pytest

from tunelab.study.executing.text_log import TextLog

TEXTS = {3: "a line\nand another", 0: "", 7: "ü \ud800 \u2028"}


def test_what_was_added_is_known_when_it_is_opened_again(tmp_path):
    log = TextLog(tmp_path / "texts.jsonl", key="one")
    log.add({3: TEXTS[3]})
    log.add({0: TEXTS[0], 7: TEXTS[7]})
    assert log.known == TextLog(tmp_path / "texts.jsonl", key="one").known == TEXTS


def test_other_settings_begin_anew(tmp_path):
    TextLog(tmp_path / "texts.jsonl", key="one").add(TEXTS)
    assert TextLog(tmp_path / "texts.jsonl", key="two").known == {}
    assert TextLog(tmp_path / "texts.jsonl", key="one").known == {}


@pytest.mark.parametrize("kept", range(0, 400, 7))
def test_a_file_that_ends_anywhere_gives_its_whole_lines_and_is_gone_on_with(tmp_path, kept):
    path = tmp_path / "texts.jsonl"
    TextLog(path, key="one").add(TEXTS)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    log = TextLog(path, key="one")
    complete = max(0, whole[:kept].count(b"\n") - 1)
    assert log.known == dict(list(TEXTS.items())[:complete])
    log.add({9: "more"})
    assert TextLog(path, key="one").known == {**log.known, 9: "more"}
    assert all(json.loads(line) for line in path.read_text().splitlines())
