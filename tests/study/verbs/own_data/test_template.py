"""What `tunelab init` writes reads back, and its guesses are said."""

import csv
import json

import pytest

from tunelab.config.read import read_study
from tunelab.data.reading.rows import read_rows
from tunelab.errors import DataError
from tunelab.evaluation import sacre
from tunelab.study.verbs.own_data.template import Part, study_template
from tunelab.tasks.files import Files


def written(tmp_path, row: dict, *, name: str = "train.jsonl", model: str = "tunelab/tiny", **options):
    for file in (name, "test.jsonl"):
        (tmp_path / file).write_text(json.dumps(row) + "\n")
    train, test = (Part(tmp_path / file, read_rows(tmp_path / file)) for file in (name, "test.jsonl"))
    text = study_template(train=train, test=test, model=model, folder=tmp_path, **options).text
    return text, read_study(text=text, base_folder=tmp_path).config


@pytest.mark.parametrize(
    ("columns", "prompt", "target"),
    [
        (["id", "question", "answer"], "{question}\n", "{answer}"),
        (["instruction", "input", "output"], "{instruction}\n{input}\n", "{output}"),
        (["Prompt", "Completion"], "{Prompt}\n", "{Completion}"),
        (["mr", "ref"], "{mr}\n", "{ref}"),
        (["article", "highlights"], "{article}\n", "{highlights}"),
    ],
)
def test_known_columns_are_guessed(tmp_path, columns, prompt, target):
    text, config = written(tmp_path, dict.fromkeys(columns, "x"))
    task = config.tasks[0]
    assert (task["prompt"], task["target"]) == (prompt, target)
    assert (task["train"], task["test"]) == ("train.jsonl", "test.jsonl")
    assert "# Guessed from the names: the model reads " in text
    Files(**{**task, "train": tmp_path / task["train"], "test": tmp_path / task["test"]}).examples("train")


def test_an_embedded_model_gets_rates_that_it_learns_at(tmp_path):
    row = {"question": "x", "answer": "y"}
    assert written(tmp_path, row, model="tunelab/tiny")[1].methods[0]["full"]["learning_rate"] == 1e-3
    assert written(tmp_path, row, model="owner/name")[1].methods[0] == {"full": {}}


def test_unknown_columns_are_guessed_by_order_and_marked(tmp_path):
    text, config = written(tmp_path, {"number": 3, "left": "a", "right": "b"})
    assert config.tasks[0]["target"] == "{right}"
    assert "# A GUESS from the order of the columns, please check: the model reads left" in text


def test_one_column_is_plain_text(tmp_path):
    _, config = written(tmp_path, {"id": 3, "text": "a"})
    assert config.tasks[0]["text"] == "{text}"
    assert config.tasks[0]["metrics"] == ["perplexity", "bits_per_token"]


@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_conversations_are_read_by_their_column(tmp_path, column):
    row = {"id": "a", "prompt": "b", column: [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}
    text, config = written(tmp_path, row)
    task = config.tasks[0]
    assert (task["messages"], "prompt" in task, "text" in task) == (column, False, False)
    assert f"# Conversations: written as the model's chat template says; every answer in {column} is learned." in text
    Files(**{**task, "train": tmp_path / task["train"], "test": tmp_path / task["test"]}).examples("train")


def test_names_avoid_bundled_tasks_and_yaml_words(tmp_path):
    row = {"prompt": "a", "completion": "b"}
    assert written(tmp_path, row, name="support replies_train.jsonl")[1].name == "support-replies"
    assert written(tmp_path, row, name="headlines.jsonl", taken_names=["headlines"])[1].name == "my-headlines"
    assert written(tmp_path, row, name="null.jsonl")[1].name == "my-null"


def test_odd_column_and_model_names_survive(tmp_path):
    _, config = written(tmp_path, {"the: question #1": "a", "é '": "b"}, model="a: #b")
    assert config.tasks[0]["prompt"] == "{the: question #1}\n"
    assert config.tasks[0]["target"] == "{é '}"
    assert config.model.name == "a: #b"


def test_no_column_of_text(tmp_path):
    with pytest.raises(DataError, match=r"train\.jsonl: no column of text to learn from\. Columns: a, b"):
        written(tmp_path, {"a": 1, "b": [2]})


TARGETS = {
    "我们去公园散步。": ("Han", "bleu:zh"),
    "今日は公園を散歩します。": ("Japanese", "bleu:char"),
    "오늘은 공원을 산책합니다.": ("Hangul", "bleu:char"),
    "วันนี้อากาศดีมาก": ("Thai", "bleu:char"),
    "Сегодня хорошая погода.": ("Cyrillic", "bleu"),
    "आज मौसम अच्छा है।": ("Devanagari", "bleu"),
    "Il a été très bien reçu.": ("Latin", "bleu"),
    "Open 你好，我们去公园 please": ("Han", "bleu:zh"),
}


@pytest.mark.parametrize("target", TARGETS)
def test_metrics_are_chosen_by_the_script_of_the_targets_and_the_study_says_why(tmp_path, monkeypatch, target):
    monkeypatch.setattr(sacre, "find_spec", lambda name: None)
    script, bleu = TARGETS[target]
    text, config = written(tmp_path, {"question": "What?", "answer": target})
    assert config.tasks[0]["metrics"] == ["rouge_l:unicode", bleu]
    assert f"    # Metrics chosen for the script of the targets ({script}), not rouge_l" in text
    assert "    # rouge_l: its tokeniser throws away " in text
    assert ("pip install 'tunelab[" in text) == (bleu == "bleu:char")


def test_where_a_tokeniser_of_words_is_here_it_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr("tunelab.study.verbs.own_data.metric_choice.lacking", lambda tokenizer: "")
    for target, bleu in (("散歩します", "bleu:ja-mecab"), ("산책합니다", "bleu:ko-mecab"), ("อากาศ", "bleu:flores200")):
        assert written(tmp_path, {"question": "What?", "answer": target})[1].tasks[0]["metrics"][1] == bleu


def test_answers_of_conversations_choose_too_and_questions_do_not(tmp_path):
    turns = [{"role": "user", "content": "What is the capital?"}, {"role": "assistant", "content": "北京是首都。"}]
    assert written(tmp_path, {"messages": turns})[1].tasks[0]["metrics"] == ["rouge_l:unicode", "bleu:zh"]
    turns = [{"role": "user", "content": "首都是哪里？"}, {"role": "assistant", "content": "It is Peking."}]
    text, config = written(tmp_path, {"messages": turns})
    assert config.tasks[0]["metrics"] == ["rouge_l", "bleu"] and "chosen for the script" not in text


def test_test_file_without_the_guessed_columns(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"question": "x", "answer": "y"}\n')
    with open(tmp_path / "b.csv", "w", newline="") as file:
        csv.writer(file).writerows([["question", "reply"], ["x", "y"]])
    with pytest.raises(
        DataError, match=r"b\.csv: has no column 'answer', which train has; .* Columns: question, reply"
    ):
        train, test = (Part(tmp_path / file, read_rows(tmp_path / file)) for file in ("a.jsonl", "b.csv"))
        study_template(train=train, test=test, model="m", folder=tmp_path)


def test_labels_are_scored_by_accuracy_and_the_study_says_so(tmp_path):
    rows = [{"text": f"Text number {n}.", "label": ("good", "bad")[n % 3 == 0]} for n in range(60)]
    part = Part(tmp_path / "train.jsonl", rows)
    written = study_template(train=part, test=part, model="m", folder=tmp_path)
    config = read_study(text=written.text, base_folder=tmp_path).config
    said = "The targets are 2 labels (good, bad): accuracy is the share of rows whose label is right."
    assert config.tasks[0]["metrics"] == ["accuracy"] and f"# {said}" in written.text and said in written.notes
    assert config.generation.max_new_tokens == 32


def test_validation_and_encoding_stand_in_the_study(tmp_path):
    rows = [{"question": "x", "answer": "y"}]
    parts = {name: Part(tmp_path / f"{name}.csv", rows, "cp1252") for name in ("train", "test", "validation")}
    text = study_template(**parts, model="m", folder=tmp_path).text
    task = read_study(text=text, base_folder=tmp_path).config.tasks[0]
    assert (task["validation"], task["encoding"]) == ("validation.csv", "cp1252")


def test_odd_columns_stand_in_the_study_as_comments(tmp_path):
    rows = [{"question": f"What is {n}?", "answer": f"It is {n}.", "note": ""} for n in range(6)]
    part = Part(tmp_path / "train.jsonl", rows)
    written = study_template(train=part, test=part, model="m", folder=tmp_path)
    assert "    # column 'note': empty in every row" in written.text.splitlines()
    assert written.notes[-1] == "column 'note': empty in every row"
