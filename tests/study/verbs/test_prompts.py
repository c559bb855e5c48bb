"""Prompts of a user: how files are read, and what a model is asked by them."""

import io
import json

import pytest

from tunelab.config.schema import ModelSource
from tunelab.errors import ConfigError, DataError
from tunelab.records import Turn
from tunelab.study.executing.saved import Saved
from tunelab.study.verbs.prompts import ask, read_prompts

NO_RUN = Saved(ModelSource(name="tunelab/tiny"), None, {}, None, None)


def file(tmp_path, name: str, text: str):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_lines_of_a_text_are_prompts(tmp_path, monkeypatch):
    assert read_prompts(file=file(tmp_path, "a.txt", "\ufeffone\r\n two \n")).prompts == ["one", " two "]
    assert read_prompts(file=file(tmp_path, "lines", "one")).prompts == ["one"]
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n"))
    assert read_prompts().prompts == ["one", "two"]


@pytest.mark.parametrize("text", ["one\n\ntwo\n", "one\n \ntwo", "one\n\n"])
def test_an_empty_line_is_refused_by_its_number(tmp_path, text):
    with pytest.raises(DataError, match=r"a\.txt:2: is empty, and each line is a prompt; take the empty lines out"):
        read_prompts(file=file(tmp_path, "a.txt", text))


def test_an_empty_line_of_standard_input_too(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("one\n\n"))
    with pytest.raises(DataError, match=r"standard input:2: is empty"):
        read_prompts()


ROWS = [{"question": "Who?", "answer": "I."}, {"question": "Where?\nHere?", "answer": "There."}]


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_rows_of_every_format_are_rows(tmp_path, kind):
    import pandas

    table, path = pandas.DataFrame(ROWS), tmp_path / f"a.{kind}"
    if kind == "parquet":
        table.to_parquet(path)
    elif kind in ("csv", "tsv"):
        table.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    else:
        path.write_text(json.dumps(ROWS) if kind == "json" else "\n".join(map(json.dumps, ROWS)))
    assert read_prompts(file=path).prompts == ROWS


def test_a_table_is_read_as_init_reads_it_and_that_is_said(tmp_path):
    (tmp_path / "a.csv").write_bytes("question;answer\nUn café?;Oui\n".encode("cp1252"))
    given = read_prompts(file=tmp_path / "a.csv")
    assert given.prompts == [{"question": "Un café?", "answer": "Oui"}]
    assert [note.partition(":")[0] for note in given.notes] == ["a.csv", "a.csv"] and "cp1252" in given.notes[0]


def test_json_holds_texts_too(tmp_path):
    assert read_prompts(file=file(tmp_path, "a.json", '["one", {"question": "two"}]')).prompts == [
        "one", {"question": "two"}]  # fmt: skip
    assert read_prompts(file=file(tmp_path, "a.jsonl", '"one"\n"two"\n')).prompts == ["one", "two"]


REFUSED = {
    "a.json": ('{"question": "x"}', r"a\.json: must be a list of texts or of objects"),
    "b.json": ("[1]", r"b\.json: entry 1: each entry must be a JSON text or an object"),
    "a.jsonl": ('"x"\nno\n', r"a\.jsonl:2: not valid JSON"),
    "b.jsonl": ('"x"\n\n"y"\n', r"b\.jsonl:2: is empty"),
    "a.md": ("x", r"a\.md: unknown kind of file '\.md'; use \.txt, .*name a file of lines \.txt"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_prompt_is_refused_by_its_place(tmp_path, name):
    text, message = REFUSED[name]
    with pytest.raises(DataError, match=message):
        read_prompts(file=file(tmp_path, name, text))


def test_a_model_without_a_run_is_asked_a_text_as_it_is():
    assert ask(["Go on"], NO_RUN).examples[0].prompt == "Go on"


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"question": "Who?", "answer": "I."}, "Who?\n"),
        ({"instruction": "Add.", "input": "1 2"}, "Add.\n1 2\n"),
        ({"question": "Who?"}, "Who?\n"),
        ({"text": "Once upon"}, "Once upon"),
        ({"saying": "Once upon"}, "Once upon"),
    ],
)
def test_rows_are_asked_by_the_names_of_their_columns_and_that_is_said(row, prompt):
    asking = ask([row], NO_RUN)
    assert asking.examples[0].prompt == prompt
    (note,) = asking.notes
    assert note.startswith("rows are asked as ") and "by the names of their columns" in note


def test_a_row_of_messages_is_a_conversation_to_be_answered():
    row = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}
    assert ask([row], NO_RUN).examples[0].turns == (Turn("user", "x"),)


def test_with_chat_a_text_is_a_message_behind_the_system_text():
    (example,) = ask(["Hello"], NO_RUN, system="Be brief.", chat=True).examples
    assert example.turns == (Turn("system", "Be brief."), Turn("user", "Hello"))
    (row,) = ask([{"question": "Who?"}], NO_RUN, chat=True).examples
    assert row.turns == (Turn("user", "Who?\n"),)


def test_a_system_text_wants_a_conversation_that_has_none():
    with pytest.raises(ConfigError, match="--system: is a turn of a conversation, .*give --chat too"):
        ask(["Hello"], NO_RUN, system="Be brief.")
    row = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}]}
    with pytest.raises(DataError, match="prompt 1: has a system text of its own"):
        ask([row], NO_RUN, system="Be brief.")
