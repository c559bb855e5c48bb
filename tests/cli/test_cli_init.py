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


def test_a_table_of_a_spreadsheet_is_read_as_it_is_written(command, data):
    """cp1252, semicolons, no header line."""
    lines = "".join(f"Où est le numéro {n} de la rue?;{('oui', 'non')[n % 3 == 0]}\n" for n in range(30))
    (data / "table.csv").write_bytes(lines.encode("cp1252"))
    answer = command("init", "--train", "table.csv")
    assert answer.status == 0
    assert "table.csv: not UTF-8, read as cp1252 (line 1: 'Où est le numéro" in answer.out
    assert "if that is wrong, give --encoding" in answer.out and "separated by semicolons" in answer.out
    assert "columns are column_1, column_2, ...; if that is wrong, give --header" in answer.out
    study = (data / "study.yaml").read_text()
    assert 'prompt: "{column_1}\\n"' in study and "metrics: [accuracy]" in study and "encoding" not in study
    assert "Où est" in (data / "table.train.jsonl").read_text(encoding="utf-8")
    assert command("plan", "study.yaml").status == 0


def test_an_encoding_that_the_study_can_say_stands_in_it(command, data):
    for name in ("one.csv", "two.csv"):
        (data / name).write_bytes("question,answer\nUn café?,Où\nUn thé?,Là\n".encode("cp1252"))
    assert command("init", "--train", "one.csv", "--test", "two.csv", "--encoding", "cp1252").status == 0
    assert "encoding: cp1252" in (data / "study.yaml").read_text()
    assert command("plan", "study.yaml").status == 0
    wrong = command("init", "--train", "one.csv", "--test", "two.csv", "--encoding", "utf-8", "--out", "b.yaml")
    assert wrong.status == 2 and "byte 0xe9 is not utf-8" in wrong.err
    unknown = command("init", "--train", "one.csv", "--encoding", "klingon", "--out", "b.yaml")
    assert unknown.status == 2 and "'klingon' is not an encoding" in unknown.err


def test_files_of_two_encodings_become_one(command, data):
    (data / "one.csv").write_bytes("question,answer\nUn café?,Où\nUn thé?,Là\n".encode("cp1252"))
    (data / "two.csv").write_bytes("question,answer\nUn café?,Où\nUn thé?,Là\n".encode())
    assert command("init", "--train", "one.csv", "--test", "two.csv").status == 0
    study = (data / "study.yaml").read_text()
    assert 'train: "one.train.jsonl"' in study and 'test: "two.csv"' in study and "encoding" not in study
    assert command("plan", "study.yaml").status == 0


def test_several_files_and_a_pattern_become_one_file_each(command, data):
    for n in range(3):
        (data / f"part-{n}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[n * 10 : n * 10 + 10]))
    answer = command(
        "init", "--train", "part-*.jsonl", "--test", "test.jsonl", "--validation", "train.jsonl",
    )  # fmt: skip
    assert answer.status == 0 and "note: part.train.jsonl: 30 rows" in answer.out
    assert list(map(json.loads, (data / "part.train.jsonl").read_text().splitlines())) == ROWS[:30]
    study = (data / "study.yaml").read_text()
    assert 'train: "part.train.jsonl"' in study and 'validation: "train.jsonl"' in study
    assert command("plan", "study.yaml").status == 0


def test_parts_that_do_not_fit_together_are_refused_by_name(command, data):
    (data / "other.jsonl").write_text('{"question": "x", "reply": "y"}\n')
    refused = {
        ("--train", "train.jsonl", "--train", "other.jsonl"): "other.jsonl: has no column 'answer'",
        ("--train", "train.jsonl", "--train", "train.jsonl"): "stands there twice",
        ("--train", "train.jsonl", "--test", "train.jsonl"): "is given for train and for test",
        ("--train", "none-*.jsonl"): "--train none-*.jsonl: no file has such a name",
    }
    for arguments, message in refused.items():
        answer = command("init", *arguments)
        assert answer.status == 2 and message in answer.err
    assert not (data / "study.yaml").exists() and not list(data.glob("*.train.jsonl"))


def test_what_is_read_is_never_written(command, data):
    (data / "part.train.jsonl").write_bytes((data / "train.jsonl").read_bytes())
    (data / "part.jsonl").write_bytes((data / "train.jsonl").read_bytes())
    answer = command("init", "--train", "part.jsonl", "--train", "part.train.jsonl", "--force")
    assert answer.status == 2 and "part.train.jsonl: is read, and would be written too" in answer.err


@pytest.mark.parametrize(("reply", "status", "kept"), [(True, 0, False), (False, 2, True)])
def test_a_second_init_asks_at_a_terminal(command, data, monkeypatch, reply, status, kept):
    (data / "study.yaml").write_text("mine")
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda text, **options: asked.append(text) or reply)
    answer = command("init", "--train", "train.jsonl", "--test", "test.jsonl")
    assert (answer.status, (data / "study.yaml").read_text() == "mine") == (status, kept)
    assert asked == ["study.yaml: already there. Overwrite?"]


def test_odd_columns_are_said_and_stand_in_the_study(command, data):
    rows = [{**row, "id": n, "note": None} for n, row in enumerate(ROWS)]
    (data / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answer = command("init", "--train", "odd.jsonl")
    for line in ("column 'id': looks like an id: another value in every row, and no text",
                 "column 'note': empty in every row"):  # fmt: skip
        assert f"note: {line}" in answer.out and f"# {line}" in (data / "study.yaml").read_text()


def test_where_a_split_is_there_another_folder_is_the_way_out(command, data):
    assert command("init", "--train", "train.jsonl").status == 0
    again = command("init", "--train", "train.jsonl", "--out", "other.yaml")
    assert again.status == 2 and "--out FOLDER/other.yaml writes them into another folder" in again.err
    (data / "folder").mkdir()
    assert command("init", "--train", "train.jsonl", "--out", "folder/other.yaml").status == 0
