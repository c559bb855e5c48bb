"""Alpaca, Tulu v2 and UltraChat as one task, on real slices in their original formats."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tunelab.errors import DataError
from tunelab.records import Turn
from tunelab.tasks.instructions import Instructions

SYSTEM = {"role": "system", "content": "Be brief."}
HI = {"role": "user", "content": "Hi"}
HELLO = {"role": "assistant", "content": "Hello"}
BYE = {"role": "user", "content": "Bye"}


def write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path.parent


def tulu(folder: Path, *conversations: list[dict]) -> Path:
    rows = [{"dataset": "x", "id": str(number), "messages": list(turns)} for number, turns in enumerate(conversations)]
    return write(folder / "tulu" / "train.jsonl", rows)


def ultrachat(folder: Path, *conversations: list[dict]) -> Path:
    rows = [{"prompt": "", "prompt_id": "", "messages": list(turns)} for turns in conversations]
    write(folder / "ultrachat" / "train_sft.jsonl", rows)
    return write(folder / "ultrachat" / "test_sft.jsonl", rows)


@pytest.fixture
def real(shared, tmp_path) -> dict:
    """Options: a part of Alpaca, LIMA (a part of Tulu v2), and conversations in UltraChat's form."""
    data = shared / "data"
    lima = json.loads((data / "tulu_v2_partial/lima.json").read_text())
    chats = json.loads((data / "chat_multiturn_substitute/kto_en_demo.json").read_text())
    return {
        "alpaca": {"path": data / "alpaca/alpaca_5000.json", "train": 300, "test": 40},
        "tulu_v2": {"path": tulu(tmp_path, *map(lima_messages, lima)), "train": 200, "test": 30},
        "ultrachat_200k": {"path": ultrachat(tmp_path, *(row["messages"] for row in chats)), "train": 100, "test": 20},
    }


def lima_messages(row: dict) -> list[dict]:
    turns = [text for pair in row["history"] for text in pair] + [row["instruction"] + row["input"], row["output"]]
    return [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(turns)]


def test_by_default_5000_of_each_are_trained_on_and_2000_tested_on():
    task = Instructions()
    assert task.sources == ("alpaca", "tulu_v2", "ultrachat_200k")
    for name in task.sources:
        assert (task.options_of(name).train, task.options_of(name).test) == (5000, 2000)


def test_real_rows_become_conversations_with_counts(real):
    task = Instructions(**real)
    train, test = task.examples("train"), task.examples("test")
    assert task.notes("train")[-1] == "train: 600 rows drawn: alpaca 300, tulu_v2 200, ultrachat_200k 100"
    assert task.notes("test")[-1] == "test: 90 rows drawn: alpaca 40, tulu_v2 30, ultrachat_200k 20"
    assert {example.source for example in train} == set(task.sources)
    assert len({example.id for example in (*train, *test)}) == 690
    for example in (*train, *test):
        roles = [turn.role for turn in example.turns]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert example.turns[-1].text == example.target == example.references[0]
    assert max(len(example.turns) for example in train) >= 8
    assert task.examples("validation") == []
    assert task.problems() == []


def test_alpaca_s_train_and_test_rows_are_disjoint(real):
    task = Instructions(sources=["alpaca"], alpaca={**real["alpaca"], "train": None, "test": None})
    train, test = (
        {(example.prompt, example.target) for example in task.examples(split)} for split in ("train", "test")
    )
    assert not train & test
    assert 3900 < len(train) < 4100
    assert 430 < len(test) < 570


def test_a_smaller_sample_is_part_of_a_larger_one(real):
    def rows(n: int, seed: int = 0) -> set:
        options = {**real["alpaca"], "train": n}
        return {
            example.turns for example in Instructions(sources=["alpaca"], alpaca=options, seed=seed).examples("train")
        }

    assert rows(50) < rows(100)
    assert rows(50) == rows(50)
    assert rows(50) != rows(50, seed=1)


def test_empty_answers_are_left_out_and_counted(real):
    task = Instructions(sources=["alpaca"], alpaca={"path": real["alpaca"]["path"], "train": None, "test": None})
    notes = [*task.notes("train"), *task.notes("test")]
    left_out = [note for note in notes if note.endswith("rows left out, their target is empty")]
    assert sum(int(note.split(": ")[1].split(" of")[0]) for note in left_out) == 2  # as its SOURCE.md counts
    assert all(example.target.strip() for split in ("train", "test") for example in task.examples(split))


def test_tulu_s_system_text_begins_the_first_user_turn(tmp_path):
    task = Instructions(sources=["tulu_v2"], tulu_v2={"path": tulu(tmp_path, *[[SYSTEM, HI, HELLO]] * 20)})
    (turns,) = {example.turns for example in task.examples("train")}
    assert turns == (Turn("user", "Be brief.\n\nHi"), Turn("assistant", "Hello"))


def test_ultrachat_is_cut_to_begin_with_user_and_end_with_assistant(tmp_path):
    tool = {"role": "tool", "content": "42"}
    folder = ultrachat(tmp_path, [SYSTEM, HELLO, HI, tool, HELLO, BYE], [HI, BYE])
    task = Instructions(sources=["ultrachat_200k"], ultrachat_200k={"path": folder})
    assert [example.turns for example in task.examples("train")] == [(Turn("user", "Hi"), Turn("assistant", "Hello"))]
    assert task.notes("train") == [
        "train, ultrachat_200k: 1 of 2 rows left out, no assistant's turn follows a user's",
        "train, ultrachat_200k: 1 of 2 rows used without the turns before their first user's or after their last "
        "assistant's",
        "train: 1 rows drawn: ultrachat_200k 1",
    ]


def test_equal_turns_before_the_last_answer_are_one_test_example(tmp_path):
    other = {"role": "assistant", "content": "Hey"}
    folder = ultrachat(tmp_path, [HI, HELLO], [HI, other], [HI, HELLO, BYE, other])
    task = Instructions(sources=["ultrachat_200k"], ultrachat_200k={"path": folder})
    assert [example.references for example in task.examples("test")] == [("Hello", "Hey"), ("Hey",)]
    assert len(task.examples("train")) == 3


def test_the_last_turn_alone_is_learned_where_asked(tmp_path):
    folder = ultrachat(tmp_path, [HI, HELLO, BYE, HELLO])
    options = {"sources": ["ultrachat_200k"], "ultrachat_200k": {"path": folder}}
    both, last = Instructions(**options), Instructions(**options, train_on="last")
    assert [turn.learned for turn in both.examples("train")[0].turns] == [True] * 4
    assert [turn.learned for turn in last.examples("train")[0].turns] == [True, False, True, True]
    assert both.fingerprint() != last.fingerprint() and "train_on" not in both.model_dump()


def test_weights_share_out_the_training_rows(real):
    real = {
        name: {**options, "weight": weight} for (name, options), weight in zip(real.items(), (2, 1, 1), strict=True)
    }
    task = Instructions(**real)
    assert task.notes("train")[-1] == "train: 400 rows drawn: alpaca 200, tulu_v2 100, ultrachat_200k 100"
    assert task.notes("test")[-1] == "test: 90 rows drawn: alpaca 40, tulu_v2 30, ultrachat_200k 20"


def test_fingerprint_follows_rows_and_options_and_not_places(real, tmp_path):
    def of(**changes: object) -> str:
        options = {name: {**values, **changes.pop(name, {})} for name, values in real.items()}
        return Instructions(**{**options, **changes}).fingerprint()

    moved = tmp_path / "moved"
    real["tulu_v2"]["path"].rename(moved)
    first = of(tulu_v2={"path": moved})
    real["tulu_v2"]["path"] = moved
    assert of() == first == of(metrics=["bleu"])
    assert len({first, of(seed=1), of(alpaca={"train": 5}), of(alpaca={"weight": 2.0})}) == 4
    (moved / "train.jsonl").open("a").write('{"dataset": "x", "id": "y", "messages": []}\n')
    assert of() != first


def test_wrong_options_and_rows_are_explained(tmp_path):
    with pytest.raises(ValidationError, match="alpaca has options, but sources .tulu_v2. leaves it out"):
        Instructions(sources=["tulu_v2"], alpaca={"train": 5})
    with pytest.raises(ValidationError, match="sources is empty; name at least one data set"):
        Instructions(sources=[])
    with pytest.raises(ValidationError, match="sources names a data set twice: alpaca, alpaca"):
        Instructions(sources=["alpaca", "alpaca"])
    (problem,) = Instructions(sources=["alpaca"], alpaca={"path": tmp_path / "absent"}).problems()
    assert "absent: no such folder; get alpaca_data.json from github.com/tatsu-lab/stanford_alpaca" in problem
    folder = tulu(tmp_path, *[[{"role": "tool", "content": "42"}]] * 20)
    of_train, of_test = Instructions(sources=["tulu_v2"], tulu_v2={"path": folder}).problems()
    assert '(train): row 1, message 1: the role "tool" is unknown' in of_train
    assert '(test): row 1, message 1: the role "tool" is unknown' in of_test


def test_no_row_with_an_answer_is_an_error(tmp_path):
    task = Instructions(sources=["ultrachat_200k"], ultrachat_200k={"path": ultrachat(tmp_path, [HI], [BYE])})
    with pytest.raises(DataError, match="none of its 2 rows has an answer to learn"):
        task.examples("train")


def test_a_rehearsal_needs_no_network_and_comes_back_from_its_options(tmp_path):
    task = Instructions().rehearsal(tmp_path)
    assert 20 <= len(task.examples("train")) <= 48
    assert 1 <= len(task.examples("test")) <= 8
    assert Instructions(**task.model_dump(mode="json")) == task == task.rehearsal(tmp_path)
