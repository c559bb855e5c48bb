"""`tunelab init` writes a study that plans, and overwrites nothing by itself."""

import json

import pytest

ROWS = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(40)]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, rows in (("train.jsonl", ROWS[:30]), ("test.jsonl", ROWS[30:])):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_what_init_writes_plans(command, data):
    answer = command("init", "--train", "train.jsonl", "--test", "test.jsonl")
    assert answer.status == 0
    assert "wrote study.yaml" in answer.out
    plan = json.loads(command("plan", "study.yaml", "--json").out)
    assert {run["method"] for run in plan["runs"]} == {"base", "full", "lora"}
    assert {run["model"] for run in plan["runs"]} == {"tunelab/tiny"}


def test_without_a_test_file_a_tenth_is_held_out(command, data):
    assert command("init", "--train", "train.jsonl", "--out", "mine.yaml").status == 0
    kept, held_out = ((data / f"train.{part}.jsonl").read_text().splitlines() for part in ("train", "test"))
    assert len(held_out) == 3
    assert sorted(map(json.loads, kept + held_out), key=str) == sorted(ROWS[:30], key=str)
    assert command("plan", "mine.yaml").status == 0


def test_no_twin_of_a_row_that_is_held_out_stays_in_train(command, data):
    twins = [{"answer": row["answer"], "question": row["question"].upper()} for row in ROWS]
    (data / "twice.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (*ROWS, *twins)))
    assert command("init", "--train", "twice.jsonl").status == 0
    kept, held_out = ((data / f"twice.{part}.jsonl").read_text().lower().splitlines() for part in ("train", "test"))
    questions = [{json.loads(line)["question"] for line in lines} for lines in (kept, held_out)]
    assert (len(kept), len(held_out)) == (72, 8)
    assert not questions[0] & questions[1]


def test_nothing_is_overwritten_without_force(command, data):
    (data / "study.yaml").write_text("mine")
    arguments = ["init", "--train", "train.jsonl", "--test", "test.jsonl"]
    answer = command(*arguments)
    assert (answer.status, (data / "study.yaml").read_text()) == (2, "mine")
    assert "--force" in answer.err
    assert command(*arguments, "--force").status == 0
    assert (data / "study.yaml").read_text() != "mine"


def test_model_is_written_into_the_study(command, data):
    command("init", "--train", "train.jsonl", "--test", "test.jsonl", "--model", "google/flan-t5-small")
    assert 'model: "google/flan-t5-small"' in (data / "study.yaml").read_text()


def test_conversations_are_recognised(command, data):
    rows = [{"conversations": [{"from": "human", "value": row["question"]}, {"from": "gpt", "value": row["answer"]}]}
            for row in ROWS]  # fmt: skip
    (data / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert command("init", "--train", "chats.jsonl").status == 0
    assert 'messages: "conversations"' in (data / "study.yaml").read_text()
    assert command("plan", "study.yaml").status == 0
