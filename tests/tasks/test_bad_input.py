"""One's own files with something wrong in them: one clear line while the study is planned, or a counted drop."""

import json

import pytest

from tunelab.config.read import read_study
from tunelab.errors import ConfigError
from tunelab.study.planning.plan import make_plan
from tunelab.tasks.files import Files

GOOD = {"question": "Q", "answer": "A"}
CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}


def jsonl(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def line_17() -> bytes:
    lines = jsonl(*[GOOD] * 20).splitlines(keepends=True)
    lines[16] = b'{"question": "Q", "answer": }\n'
    return b"".join(lines)


def task(folder, content: bytes, *, name: str = "train.jsonl", **options) -> Files:
    (folder / name).write_bytes(content)
    (folder / "test.jsonl").write_bytes(jsonl(GOOD if b"messages" not in content else CHAT))
    return Files(name="mine", train=folder / name, test=folder / "test.jsonl", **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "train.jsonl: is empty"),
        (b" \n\n", "train.jsonl: is empty"),
        (line_17(), "train.jsonl:17: not valid JSON (Expecting value, column 29)"),
        (jsonl(GOOD) + b'{"question": "a\x00b", "answer": "A"}\n', "train.jsonl:2: contains a NUL byte"),
        (jsonl(GOOD, {"question": "Q"}), "train.jsonl: row 2 has no column 'answer'. Columns: question"),
        (jsonl({**GOOD, "answer": " \n"}), "train.jsonl: all 1 rows have an empty target"),
        (jsonl({**GOOD, "answer": ["A"]}), "train.jsonl: row 1: the column 'answer' is list, not text"),
        (jsonl(CHAT, {"messages": "Hi"}), "train.jsonl: row 2: the column 'messages' must be a list of messages"),
        (
            jsonl(CHAT, {"messages": [{"role": "critic", "content": "1"}]}),
            'train.jsonl: row 2, message 1: the role "critic"',
        ),
        (jsonl({"messages": CHAT["messages"][:1]}), "train.jsonl: none of its 1 rows has an answer to learn"),
    ],
)
def test_what_cannot_be_used_is_one_line_with_its_place(tmp_path, content, message):
    (problem,) = task(tmp_path, content).problems()
    assert message in problem
    assert "\n" not in problem


def test_cp1252_is_named_with_the_way_out(tmp_path):
    content = "question,answer\nQ,café\n".encode("cp1252")
    (problem,) = task(tmp_path, content, name="train.csv").problems()
    assert "train.csv:2: byte 0xe9 is not utf-8; save the file as UTF-8, or set 'encoding' on this task" in problem
    found = task(tmp_path, content, name="train.csv", encoding="cp1252").examples("train")
    assert [example.target for example in found] == ["café"]


def test_a_row_of_a_megabyte_is_read_whole(tmp_path):
    long = "word " * 210_000
    (example,) = task(tmp_path, jsonl({**GOOD, "answer": long})).examples("train")
    assert example.target == long


def test_rows_that_teach_nothing_are_counted(tmp_path):
    some = task(tmp_path, jsonl(GOOD, {**GOOD, "answer": "\t"}, {**GOOD, "answer": ""}))
    assert len(some.examples("train")) == 1
    assert "train: 2 of 3 rows left out, their target is empty" in some.notes("train")
    chats = task(tmp_path, jsonl(CHAT, {"messages": CHAT["messages"] + CHAT["messages"][:1]}))
    assert [example.target for example in chats.examples("train")] == ["Hello", "Hello"]
    assert "train: 1 of 2 rows used without the turns before their first user's" in chats.notes("train")[-1]


def test_problems_of_all_tasks_are_said_at_once(tmp_path):
    (tmp_path / "good.jsonl").write_bytes(jsonl(GOOD))
    (tmp_path / "frage.jsonl").write_bytes(jsonl({"frage": "Q", "antwort": "A"}))
    text = (
        "model: tunelab/tiny\nmethods: [full]\ntasks:\n"
        "  - {name: one, train: frage.jsonl, test: good.jsonl}\n"
        "  - {name: two, train: good.jsonl, test: absent.jsonl}\n"
        "  - {name: three, train: good.jsonl, test: good.jsonl, messages: chat}\n"
        "  - {name: four, train: good.jsonl, test: good.jsonl, prompt: '{question}', messages: chat}\n"
    )
    with pytest.raises(ConfigError) as error:
        make_plan(read_study(text=text, base_folder=tmp_path))
    said = "\n".join(error.value.problems)
    assert "study text:4: tasks.0: " in said and "its columns (frage, antwort) have none of the known shapes" in said
    assert "absent.jsonl: no such file" in said
    assert "row 1 has no column 'chat'. Columns: question, answer" in said
    assert "study text:7: tasks.3: needs prompt and target, or text alone, or messages alone" in said


def test_one_row_to_train_on_is_told_while_planning(tmp_path):
    (tmp_path / "one.jsonl").write_text('{"prompt": "q", "completion": "a"}\n')
    task = Files(name="t", train=tmp_path / "one.jsonl", test=tmp_path / "one.jsonl")
    (problem,) = task.problems()
    assert "train has 1 different prompt" in problem and "validation file" in problem
    held_out = task.model_copy(update={"validation": tmp_path / "one.jsonl"})
    assert held_out.problems() == []
