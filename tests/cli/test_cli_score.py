"""tunelab score: text files in, official numbers out."""

import json
import subprocess
import sys

import pytest

import tunelab
from tunelab.errors import ConfigError, DataError


@pytest.fixture
def files(tmp_path):
    hypotheses, references = tmp_path / "out.txt", tmp_path / "ref.txt"
    hypotheses.write_text("the pub is cheap and near the river\n\na pub\n")
    references.write_text("the pub is cheap and near the river\nit is near\n\nthe pub\n\na pub\n")
    return hypotheses, references


def test_json_is_one_object_with_value_interval_number_and_signature(command, files):
    done = command("score", *files, "--metrics", "bleu:e2e, nist,rouge_1:stem", "--json")
    assert done.status == 0, done.err
    scores = json.loads(done.out)["scores"]
    assert list(scores) == ["bleu:e2e", "nist", "rouge_1:stem"]
    for name, cell in scores.items():
        assert set(cell) == {"value", "low", "high", "n", "signature"}
        assert cell["n"] == 3 and cell["low"] <= cell["value"] <= cell["high"], name
    assert scores["rouge_1:stem"]["value"] == pytest.approx(2 / 3)


def test_text_is_a_line_a_metric(command, files):
    done = command("score", *files)
    assert done.status == 0, done.err
    names = [line.split()[0] for line in done.out.splitlines()]
    assert names == ["bleu", "rouge_l"] and "n=3" in done.out


@pytest.fixture
def chinese(tmp_path):
    for name in ("out.txt", "ref.txt"):
        (tmp_path / name).write_text("我们去公园散步。\n北京是首都。\n", encoding="utf-8")
    return tmp_path / "out.txt", tmp_path / "ref.txt"


NOTE = (
    "rouge_l: its tokeniser throws away 100 % of the references' letters (Han): a word is a run of a-z and 0-9; "
    "use rouge_l:unicode"
)


def test_what_a_tokeniser_throws_away_is_said_on_stderr_and_what_it_reads_is_not(command, chinese):
    done = command("score", *chinese, "--metrics", "rouge_l,rouge_l:unicode")
    assert done.status == 0 and done.err == f"note: {NOTE}\n"
    assert [line.split()[:2] for line in done.out.splitlines()] == [
        ["rouge_l", "0.0000"],
        ["rouge_l:unicode", "1.0000"],
    ]


def test_json_has_the_note_where_there_is_one(command, chinese):
    done = command("score", *chinese, "--metrics", "rouge_l,chrf", "--json")
    scores = json.loads(done.out)["scores"]
    assert f"rouge_l: {scores['rouge_l']['note']}" == NOTE and "note" not in scores["chrf"]
    assert done.err == f"note: {NOTE}\n"


def test_unequal_lengths_are_told_with_both_counts(command, files):
    hypotheses, references = files
    hypotheses.write_text("one\ntwo\n")
    done = command("score", hypotheses, references, "--metrics", "bleu")
    assert done.status == 2 and done.out == ""
    assert "out.txt has 2 outputs and" in done.err and "ref.txt references for 3 examples" in done.err
    assert done.err.count("\n") == 1


def test_every_wrong_metric_is_told_at_once(command, files):
    done = command("score", *files, "--metrics", "blue,bleu:e3e,loss")
    assert done.status == 2
    for said in ("Did you mean 'bleu'?", "has no variant 'e3e'", "metric 'loss' needs a model's losses"):
        assert said in done.err


@pytest.mark.slow
def test_scoring_imports_no_torch(files):
    code = (
        "import sys, tunelab; tunelab.score(['a'], ['a'], metrics=['bleu', 'nist']); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_api_takes_texts_as_well_as_files(files):
    lists = tunelab.score(["a pub", "x"], [["a pub", "pub"], "y"], metrics=["rouge_1"])["rouge_1"]
    assert lists.value == 0.5 and lists.n == 2
    assert tunelab.score(*files, metrics=["rouge_1"])["rouge_1"].value == pytest.approx(2 / 3)
    with pytest.raises(DataError, match="no reference for example 1"):
        tunelab.score(["a"], [[]], metrics=["bleu"])
    with pytest.raises(DataError, match="the list has 1 outputs and the list references for 0 examples"):
        tunelab.score(["a"], [], metrics=["bleu"])
    with pytest.raises(ConfigError, match="no metric given"):
        tunelab.score(["a"], ["a"], metrics=[])


def test_a_metric_that_needs_java_is_missing_with_the_reason_and_the_others_are_there(monkeypatch):
    from tunelab.evaluation import coco

    coco.ptb_lines.cache_clear()
    monkeypatch.setenv("PATH", "/nonexistent")
    scores = tunelab.score(["a pub"], ["a pub"], metrics=["meteor", "rouge_1"])
    assert scores["meteor"].value is None and "needs Java" in scores["meteor"].missing
    assert scores["rouge_1"].value == 1.0
    from tunelab.study.verbs.score import as_json, scores_text

    assert as_json(scores)["meteor"]["missing"] == scores["meteor"].missing
    assert "missing: the PTB tokeniser needs Java" in scores_text(scores)


def test_a_score_that_the_official_tool_cannot_give_is_missing_too():
    scores = tunelab.score(["pub"], ["pub"], metrics=["nist:e2e-python"])
    assert scores["nist:e2e-python"].value is None
