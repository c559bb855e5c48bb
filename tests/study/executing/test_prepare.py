"""Data as a run sees it: the same from the first start and from what it kept, and what is said about it."""

import json
from pathlib import Path

import numpy as np
import pytest

from data.tokens.chat_templates import TOOLS, small_tokenizer
from tunelab.config.read import read_study
from tunelab.config.schema import ModelSource
from tunelab.data import cache
from tunelab.data.examples.fingerprint import of_tokenizer
from tunelab.data.reading import row_formats
from tunelab.data.sets.mixing import Part, mix
from tunelab.data.tokens import summary
from tunelab.errors import DataError
from tunelab.models.load import load_text, locate
from tunelab.records import Example, TextSide, Turn
from tunelab.study.executing import prepare as prepare_module
from tunelab.study.executing.prepare import RunData, prepare, write_summary
from tunelab.study.planning.plan import make_plan
from tunelab.study.planning.planned import Revisions
from tunelab.study.planning.run_config import base_run
from tunelab.tasks.files import Files

ROWS = [{"question": f"What is {number} and one?", "answer": f"It is {number + 1}."} for number in range(40)]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TUNELAB_CACHE", str(tmp_path / "cache"))
    return cache.cache_folder()


@pytest.fixture(params=["tunelab/tiny", "tunelab/tiny-seq2seq"])
def text(request) -> TextSide:
    source = ModelSource(name=request.param)
    return load_text(source, locate(source))


@pytest.fixture
def causal() -> TextSide:
    source = ModelSource(name="tunelab/tiny")
    return load_text(source, locate(source))


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def planned(tmp_path: Path, *, task: dict | None = None, **sections):
    files = {"train": tmp_path / "train.jsonl", "test": tmp_path / "test.jsonl"}
    for path, rows in zip(files.values(), (ROWS[:30], ROWS[30:]), strict=True):
        if not path.exists():
            write(path, rows)
    options = {**{role: str(path) for role, path in files.items()}, "prompt": "{question}\n", "target": "{answer}"}
    study = {"name": "s", "model": "tunelab/tiny", "methods": ["lora"], **sections}
    study["tasks"] = [{"name": "rows", "metrics": ["loss"], **options, **(task or {})}]
    plan = make_plan(read_study(text=json.dumps(study)))
    return plan.tasks[0].task, base_run(plan, plan.tasks[0], "torch", Revisions())


def content(data: RunData) -> str:
    splits = {name: [str(row) for row in getattr(data, name)] for name in ("train", "validation", "test_rows")}
    prompts = [prompt.tolist() for prompt in data.test_prompts]
    return json.dumps([splits, prompts, [str(one) for one in data.test], data.summary, data.notes])


def test_the_second_start_is_the_first_one_and_reads_no_row(tmp_path, text, monkeypatch):
    task, run = planned(tmp_path)
    first = prepare(task, text, run, training=True)
    monkeypatch.setattr(Files, "examples", None)
    monkeypatch.setattr(Files, "notes", None)
    second = prepare(task, text, run, training=True)
    assert content(first) == content(second)
    assert [example.target for example in second.test] == [row["answer"] for row in ROWS[30:]]
    assert all(isinstance(example, Example) for example in second.test)
    assert second.test_prompts[0].dtype == np.int32
    assert second.notes == []


def test_planning_and_preparing_parse_each_row_once(tmp_path, causal, monkeypatch):
    parsed, real = [], row_formats.parse_json
    monkeypatch.setattr(row_formats, "parse_json", lambda text: parsed.append(text) or real(text))
    task, run = planned(tmp_path)
    prepare(task, causal, run, training=True)
    assert sorted(parsed) == sorted(map(json.dumps, ROWS))


def test_the_base_model_prepares_the_test_split_alone(tmp_path, causal):
    task, run = planned(tmp_path)
    whole, base = (prepare(task, causal, run, training=training) for training in (True, False))
    assert (len(base.train), len(base.validation)) == (0, 0)
    assert [str(row) for row in base.test_rows] == [str(row) for row in whole.test_rows]
    assert base.summary["overlap"] == whole.summary["overlap"]


CHANGES = {
    "max_length": lambda tmp_path: planned(tmp_path, batch={"max_length": 64}),
    "overlong": lambda tmp_path: planned(tmp_path, data={"overlong": "drop"}),
    "packing": lambda tmp_path: planned(tmp_path, data={"packing": False}),
    "overlap": lambda tmp_path: planned(tmp_path, data={"overlap": "remove"}),
    "template": lambda tmp_path: planned(tmp_path, task={"prompt": "Q: {question}\n"}),
    "drawn rows": lambda tmp_path: planned(tmp_path, task={"train_rows": 20}),
    "other rows": lambda tmp_path: (write(tmp_path / "train.jsonl", ROWS[1:31]), planned(tmp_path))[1],
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_can_change_the_data_makes_another_entry(change, tmp_path, causal):
    keys = []
    for make in (planned, CHANGES[change]):
        task, run = make(tmp_path)
        keys.append(prepare_module._key(task, causal, run, training=True))
    assert keys[0] != keys[1]


def test_code_tokenizer_and_kind_of_model_make_another_entry(tmp_path, causal, monkeypatch):
    task, run = planned(tmp_path)
    keys = [prepare_module._key(task, causal, run, training=training) for training in (True, False)]
    keys.append(prepare_module._key(task, causal._replace(encoder_decoder=True), run, training=True))
    monkeypatch.setattr(causal.tokenizer, "chat_template", "{{ messages }}")
    keys.append(prepare_module._key(task, causal, run, training=True))
    monkeypatch.setattr(prepare_module, "__file__", str(write(tmp_path / "prepare.py", [{}])))
    keys.append(prepare_module._key(task, causal, run, training=True))
    assert len(set(keys)) == 5


def test_what_cannot_change_the_data_finds_the_same_entry(tmp_path, causal):
    other = {"seeds": [7], "budget": {"steps": 3}, "batch": {"examples": 4}, "methods": ["full"]}
    pairs = (planned(tmp_path), planned(tmp_path, task={"metrics": ["rouge_l"]}, **other))
    one, two = (prepare_module._key(task, causal, run, training=True) for task, run in pairs)
    assert one == two


def test_a_tokenizer_is_told_apart_by_what_it_does():
    from transformers import AddedToken, AutoTokenizer, ByT5Tokenizer

    from tunelab.models.load import EMBEDDED

    def fast():
        return AutoTokenizer.from_pretrained(EMBEDDED["tunelab/tiny"])

    changed = fast()
    changed.add_tokens([AddedToken("<extra>")])
    assert of_tokenizer(fast()) == of_tokenizer(fast()) != of_tokenizer(changed)
    assert of_tokenizer(ByT5Tokenizer()) == of_tokenizer(ByT5Tokenizer()) != of_tokenizer(ByT5Tokenizer(extra_ids=7))


def test_using_a_tokenizer_does_not_change_its_digest(causal):
    before = of_tokenizer(causal.tokenizer)
    causal.tokenizer(["a b", "c"], add_special_tokens=False)
    assert of_tokenizer(causal.tokenizer) == before


@pytest.mark.parametrize("reason", ["no folder", "full"])
def test_without_a_place_to_keep_it_the_data_is_the_same_and_it_is_said(reason, tmp_path, causal, monkeypatch):
    task, run = planned(tmp_path)
    kept = prepare(task, causal, run, training=True)
    monkeypatch.setenv("TUNELAB_CACHE", str(tmp_path / "other"))
    if reason == "no folder":
        (tmp_path / "other").write_text("a file")
    else:
        written = prepare_module.write_rows

        def full(rows, path):
            if path is not None and path.name == "test.arrow":
                raise OSError(28, "No space left on device")
            return written(rows, path)

        monkeypatch.setattr(prepare_module, "write_rows", full)
    data = prepare(task, causal, run, training=True)
    assert "prepared data cannot be kept there (" in data.notes[0] and str(tmp_path / "other") in data.notes[0]
    assert content(data._replace(notes=data.notes[1:])) == content(kept)


@pytest.mark.parametrize("kept", [True, False])
def test_data_that_changes_while_it_is_read_is_an_error_and_not_kept(kept, tmp_path, causal, monkeypatch):
    """Else the new rows would be found under the name of the old ones, in this study and in every later one."""
    task, run = planned(tmp_path)
    run = run.model_copy(update={"data_revision": task.fingerprint()})
    if not kept:
        monkeypatch.setenv("TUNELAB_CACHE", str(write(tmp_path / "no folder", [{}])))
    read = prepare_module._tokeniser

    def meanwhile(*given):
        write(tmp_path / "test.jsonl", ROWS[25:])
        return read(*given)

    monkeypatch.setattr(prepare_module, "_tokeniser", meanwhile)
    with pytest.raises(DataError, match="task rows: its data changed before all of it was read; start again"):
        prepare(task, causal, run, training=True)
    assert not [*(tmp_path / "cache" / "data").glob("files-*")], "only that its rows can be read"
    again = run.model_copy(update={"data_revision": task.fingerprint()})
    assert len(prepare(task, causal, again, training=True).test) == 15
    with pytest.raises(DataError, match="its data changed before all of it was read"):
        prepare(task, causal, run, training=True)


def test_damaged_entries_are_made_again(tmp_path, causal, empty_cache):
    task, run = planned(tmp_path)
    first = content(prepare(task, causal, run, training=True))
    (entry,) = empty_cache.glob("files-*")
    (entry / "train.arrow").write_bytes(b"nothing of the kind")
    assert content(prepare(task, causal, run, training=True)) == first
    assert cache.find(entry.name) == entry


def test_conversations_come_back_as_they_were(tmp_path):
    example = Example("a", "p", "t", ("t", "u"), (Turn("user", "p\ud800"), Turn("assistant", "t")), "s")
    assert prepare_module._example(json.loads(json.dumps(example._asdict()))) == example


# ------------------------------------------------------------------ what is said


def test_a_test_file_equal_to_the_train_file_is_loud(tmp_path, causal):
    write(tmp_path / "train.jsonl", ROWS)
    write(tmp_path / "test.jsonl", ROWS)
    of_train, of_validation = prepare(*with_text(planned(tmp_path), causal), training=True).notes
    said = "WARNING test: 36 of 40 test examples (90.0%) are rows of train: scores measure memory too"
    assert of_train.startswith(said)
    assert of_validation.startswith("WARNING validation: 4 of 4 rows (100.0%) are test rows, 0 nearly are: what is ch")
    with pytest.raises(DataError, match=r"nothing of train \(train: 36 of 36 rows removed: 36 are test rows, 0 nearly"):
        prepare(*with_text(planned(tmp_path, data={"overlap": "remove"}), causal), training=True)


TWIN = [{"question": row["question"].upper(), "answer": f" {row['answer']}"} for row in ROWS]
"""The same rows in other case and with other white space."""


def test_no_row_drawn_for_validation_has_a_twin_in_train(tmp_path, causal):
    write(tmp_path / "train.jsonl", [*ROWS, *TWIN])
    write(tmp_path / "test.jsonl", [{"question": "Where is the mill?", "answer": "There."}])
    data = prepare(*with_text(planned(tmp_path), causal), training=True)
    assert (len(data.train), len(data.validation)) == (72, 8)
    assert data.notes == ["train: 36 of 72 rows (50.0%) repeat another"]
    assert data.summary["validation_drawn_from_train"]
    rows = {name: data.summary["splits"][name]["rows"] for name in ("train", "validation")}
    numbers = {name: {int(one.split("-")[1]) % len(ROWS) for one in ids} for name, ids in rows.items()}
    assert not numbers["train"] & numbers["validation"]
    found = data.summary["overlap"]["train_validation"]
    assert (found["num_validation"], found["num_same_row"], found["num_same_prompt"]) == (8, 0, 0)


def validated(tmp_path: Path, rows: list[dict], *, overlap: str = "report"):
    """A study with 30 rows of train, 10 of test and these of validation."""
    path = write(tmp_path / "validation.jsonl", rows)
    return planned(tmp_path, task={"validation": str(path)}, data={"overlap": overlap})


def test_a_validation_file_equal_to_the_test_file_is_loud(tmp_path, causal):
    data = prepare(*with_text(validated(tmp_path, TWIN[30:]), causal), training=True)
    (note,) = data.notes
    assert note.startswith("WARNING validation: 10 of 10 rows (100.0%) are test rows, 0 nearly are: what is chosen by ")
    found = data.summary["overlap"]["validation_test"]
    assert (found["num_test"], found["num_same_row"], found["num_same_prompt"]) == (10, 10, 10)
    assert (found["num_validation"], found["num_validation_same_row"], found["share_same_row"]) == (10, 10, 1.0)
    assert data.summary["overlap"]["num_same_row"] == 0


def test_a_validation_file_with_rows_of_train_is_loud(tmp_path, causal):
    new = {"question": "Where is the mill?", "answer": "There."}
    data = prepare(*with_text(validated(tmp_path, [*TWIN[:5], new]), causal), training=True)
    (note,) = data.notes
    assert note.startswith("WARNING validation: 5 of 6 validation examples (83.3%) are rows of train: the validation l")
    found = data.summary["overlap"]["train_validation"]
    assert (found["num_same_row"], found["num_train_same_row"], found["num_train"]) == (5, 5, 30)


def test_nothing_that_stands_in_two_splits_is_left_and_what_was_removed_is_counted(tmp_path, causal):
    write(tmp_path / "train.jsonl", ROWS[:35])
    write(tmp_path / "test.jsonl", ROWS[30:])
    new = {"question": "Where is the mill?", "answer": "There."}
    held_out = [*TWIN[:3], *TWIN[38:], new]
    data = prepare(*with_text(validated(tmp_path, held_out, overlap="remove"), causal), training=True)
    assert data.notes == [
        "train: 5 of 35 rows removed: 5 are test rows, 0 nearly are",
        "train: 3 of 30 rows removed: 3 are validation rows, 0 nearly are",
        "validation: 2 of 6 rows removed: 2 are test rows, 0 nearly are",
    ]
    assert (len(data.train), len(data.validation), len(data.test)) == (27, 4, 10)
    splits = data.summary["splits"]
    assert splits["train"]["rows"] == [f"train-{number:06d}" for number in range(3, 30)]
    assert splits["validation"]["rows"] == [f"validation-{number:06d}" for number in (0, 1, 2, 5)]
    assert splits["train"]["counts"]["examples"] == 27
    assert data.train.id_of(data.train[26]) == "train-000029"
    found = data.summary["overlap"]
    assert (found["removed_from_train"], found["num_train"], found["num_train_same_row"]) == (True, 35, 5)


def test_a_split_that_removal_empties_is_an_error(tmp_path, causal):
    emptied = (
        r"task rows: data.overlap: remove leaves nothing of validation \(validation: 10 of 10 rows removed: 10 are "
    )
    with pytest.raises(
        DataError, match=emptied + r"test rows, 0 nearly are\); give it another test file or another val"
    ):
        prepare(*with_text(validated(tmp_path, TWIN[30:], overlap="remove"), causal), training=True)
    with pytest.raises(
        DataError, match=r"nothing of train \(train: 30 of 30 rows removed: 30 are validation rows, 0 ne"
    ):
        prepare(*with_text(validated(tmp_path, TWIN[:30], overlap="remove"), causal), training=False)


def test_drawn_validation_that_removal_empties_is_an_error(tmp_path, causal):
    task, run = planned(tmp_path, data={"overlap": "remove"})
    drawn = prepare(task, causal, run, training=True).summary["splits"]["validation"]["rows"]
    write(tmp_path / "test.jsonl", [ROWS[int(one.split("-")[1])] for one in drawn])
    with pytest.raises(
        DataError, match=r"leaves nothing of validation .*; give it another test file or a validation fi"
    ):
        prepare(*with_text(planned(tmp_path, data={"overlap": "remove"}), causal), training=True)


def test_overlap_that_is_not_looked_for_is_said(tmp_path, causal):
    data = prepare(*with_text(validated(tmp_path, ROWS, overlap="ignore"), causal), training=True)
    assert data.summary["overlap"] is None and len(data.validation) == len(ROWS)
    assert data.notes == ["overlap of train, validation and test was not looked for"]


def test_validation_of_conversations_and_of_plain_text_is_compared_too(tmp_path, causal):
    def chat(question: str) -> dict:
        return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "Here."}]}

    plain = {"prompt": None, "target": None}
    chats = {**plain, "messages": "messages", "metrics": ["rouge_l"]}
    for number, (make, options) in enumerate(
        ((chat, chats), (lambda text: {"text": text}, {**plain, "text": "{text}", "metrics": ["perplexity"]}))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder / "train.jsonl", [make(f"Where is mill {n}?") for n in range(20)])
        write(folder / "test.jsonl", [make(f"Where is inn {n}?") for n in range(4)])
        held_out = [make("where is MILL 7?"), make("Where  is INN 2?"), make("New?")]
        options = {**options, "validation": str(write(folder / "validation.jsonl", held_out))}
        found = prepare(*with_text(planned(folder, task=options), causal), training=True).summary["overlap"]
        assert found["train_validation"]["num_train_same_row"] == 1
        assert found["validation_test"]["num_validation_same_row"] == 1


# ------------------------------------------------------------------ other rows than those of an earlier start


def rows_by_exact_prompt(monkeypatch):
    """Rows are drawn as a version does that takes twins for different rows."""
    monkeypatch.setattr("tunelab.data.examples.splits.twin_key", lambda text: text)


def test_runs_on_rows_that_another_version_drew_are_not_mixed_with_new_ones(tmp_path, causal, monkeypatch):
    write(tmp_path / "train.jsonl", [*ROWS, *TWIN])
    write(tmp_path / "test.jsonl", [{"question": "Where is the mill?", "answer": "There."}])
    task, run = planned(tmp_path)
    with monkeypatch.context() as context:
        rows_by_exact_prompt(context)
        context.setenv("TUNELAB_CACHE", str(tmp_path / "other"))
        write_summary(tmp_path, prepare(task, causal, run, training=True))
    now = prepare(task, causal, run, training=True)
    with pytest.raises(DataError, match="made with other rows of train and validation, which another version of tunel"):
        write_summary(tmp_path, now)
    (tmp_path / "data" / "rows.json").unlink()
    write_summary(tmp_path, now)
    write_summary(tmp_path, now)


def test_rows_that_the_study_asks_for_otherwise_are_written_anew(tmp_path, causal):
    write(tmp_path / "test.jsonl", ROWS[28:])
    for sections in ({}, {"data": {"overlap": "remove"}}, {"task": {"train_rows": 20}}):
        data = prepare(*with_text(planned(tmp_path, **sections), causal), training=True)
        data.summary["revision"] = planned(tmp_path, **sections)[0].fingerprint()
        write_summary(tmp_path, data)
        assert json.loads((tmp_path / "data" / "rows.json").read_text()) == data.summary


def test_rows_of_a_large_split_are_a_digest(tmp_path, causal, monkeypatch):
    listed = prepare(*with_text(planned(tmp_path), causal), training=True)
    monkeypatch.setattr(summary, "LISTED_ROWS", 12)
    monkeypatch.setenv("TUNELAB_CACHE", str(tmp_path / "second"))
    digested = prepare(*with_text(planned(tmp_path), causal), training=True)
    rows, large = (data.summary["splits"]["train"]["rows"] for data in (listed, digested))
    assert large["num_rows"] == len(rows) == 27 and large["first"] == rows[:10]
    assert len(large["sha256_of_ids"]) == 64
    assert digested.summary["splits"]["test"]["rows"] == listed.summary["splits"]["test"]["rows"]


def test_lengths_add_up_to_the_rows(tmp_path, causal):
    data = prepare(*with_text(planned(tmp_path), causal), training=True)
    for name, rows in (("train", data.train), ("test", data.test_rows)):
        lengths = data.summary["splits"][name]["lengths"]
        for start, end, number in zip(lengths["tokens"], lengths["tokens"][1:], lengths["num_rows"], strict=False):
            assert sum(start < row.num_tokens <= end for row in rows) == number
        assert sum(lengths["num_rows"]) == len(rows)


class Mixture(Files):
    def examples(self, split):
        half = super().examples(split)
        return mix([Part("a", half, n=20), Part("b", half, n=5)], seed=0).examples if len(half) else half


def test_counts_of_every_source_are_written(tmp_path, causal):
    task, run = planned(tmp_path)
    task = Mixture(**task.model_dump(exclude={"metrics"}))
    data = prepare(task, causal, run, training=True)
    splits = data.summary["splits"]
    assert splits["test"]["sources"] == {"a": 10, "b": 5}
    assert sum(splits["train"]["sources"].values()) + sum(splits["validation"]["sources"].values()) == 25
    assert data.summary["overlap"]["by_source"]["a"]["num_test"] == 10
    write_summary(tmp_path, data)
    assert json.loads((tmp_path / "data" / "rows.json").read_text()) == data.summary


def test_rows_that_became_one_example_are_counted_and_said(tmp_path, causal):
    write(tmp_path / "test.jsonl", [{"question": f"q{n % 9}", "answer": f"a{n}"} for n in range(24)])
    data = prepare(*with_text(planned(tmp_path), causal), training=True)
    counts = data.summary["splits"]["test"]["counts"]
    assert (counts["examples"], counts["references"], counts["rows"]) == (9, 24, 9)
    said = "test: 24 rows with answers became 9 examples: rows with equal prompts are one, and each of their answers "
    assert f"{said}counts as right" in data.notes
    apart = prepare(*with_text(planned(tmp_path, task={"metrics": ["accuracy"]}), causal), training=True)
    counts = apart.summary["splits"]["test"]["counts"]
    assert (counts["examples"], counts["references"], counts["rows"]) == (24, 24, 24)
    assert not any("became" in note for note in apart.notes)


def chats(tmp_path: Path, answer: dict):
    """A task of conversations whose answers have such fields."""
    for name, numbers in (("train", range(4)), ("test", range(4, 6))):
        asked = [{"role": "user", "content": f"Where is mill {number}?"} for number in numbers]
        draft = {"role": "assistant", "content": "Hm.", "weight": 0}
        write(tmp_path / f"{name}.jsonl", [{"messages": [one, draft, one, answer]} for one in asked])
    return planned(tmp_path, task={"prompt": None, "target": None, "messages": "messages", "metrics": ["rouge_l"]})


def test_an_answer_with_calls_is_compared_as_the_template_writes_it(tmp_path):
    text = TextSide(small_tokenizer(TOOLS), encoder_decoder=False)
    call = {"type": "function", "function": {"name": "find", "arguments": {"name": "mill"}}}
    task, run = chats(tmp_path, {"role": "assistant", "content": None, "tool_calls": [call]})
    first = prepare(task, text, run, training=True)
    assert {one.references for one in first.test} == {('<tool_call>find {"name": "mill"}</tool_call>',)}
    again = prepare(task, text, run, training=True)
    assert content(again) == content(first)
    counts = first.summary["splits"]["test"]["counts"]
    assert (counts["context_turns"], counts["unused_fields"]) == (2, {})
    assert "test: 2 turns of the assistant have weight 0: read, not learned" in first.notes


def test_fields_that_nothing_reads_are_counted_in_the_data_s_summary(tmp_path, causal):
    task, run = chats(tmp_path, {"role": "assistant", "content": "Here.", "name": "Ada"})
    data = prepare(task, causal, run, training=True)
    assert data.summary["splits"]["test"]["counts"]["unused_fields"] == {"name": 2}
    assert "test: 2 messages have a field 'name' that does not stand in what the model reads" in data.notes
    assert {one.references for one in data.test} == {("Here.",)}


def with_text(task_and_run, text):
    task, run = task_and_run
    return task, text, run
