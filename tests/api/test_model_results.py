"""What a model gives back in Python: a list stays a list, a dict a dict, and each prints as a table."""

import json

import pytest

import tiny
import tunelab
from api.tags import Tags
from tunelab.api.model_results import Evaluations, ExportedModel, Scores, Texts
from tunelab.errors import ConfigError
from tunelab.records import Score

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Base and lora after two steps on a random model, from a dict."""
    folder = tmp_path_factory.mktemp("small")
    model = tiny.model_folder(folder / "model")
    sizes = {"train_rows": 24, "validation_rows": 4, "test_rows": 6, "metrics": ["rouge_l", "perplexity"]}
    study = {
        "name": "small",
        "model": model,
        "tasks": [{"name": "restaurants", **sizes}],
        "methods": [{"lora": {"rank": 2, "targets": "attention"}}],
        "seeds": [0],
        "budget": {"steps": 2},
        "precision": "fp32",
        "threads": 1,
        "generation": {"max_new_tokens": 4},
    }
    return tunelab.run(study, out=folder / "out", cluster="in-process")


def test_a_study_from_a_dict_runs_and_is_read_again_from_its_folder(small):
    assert small.num_failed == 0
    again = tunelab.report(small.folder)
    assert again.to_pandas().equals(small.to_pandas())
    assert tunelab.plan(small.folder / "study.yaml").study == "small"


def test_generated_texts_are_a_list_that_shows_its_prompts(small):
    texts = tunelab.generate(small.run_folder("lora"), [EVIL, "b"], max_new_tokens=4)
    assert isinstance(texts, list) and texts == list(texts) and len(texts) == 2
    assert repr(texts) == repr(list(texts))
    tags = Tags(texts._repr_html_())
    assert "script" not in tags.opened and EVIL in tags.text
    assert texts.to_pandas().to_dict("list") == {"prompt": [EVIL, "b"], "text": list(texts)}


def test_a_row_as_a_prompt_is_shown_by_its_columns():
    assert "question: why?" in Tags(Texts(["so"], [{"question": "why?"}])._repr_html_()).text


def test_what_is_said_of_prompts_stands_below_the_texts():
    texts = Texts(["a"], ["b"], [f"1 prompt was cut {EVIL}"])
    assert repr(texts) == f"['a']\nnote: 1 prompt was cut {EVIL}"
    tags = Tags(texts._repr_html_())
    assert "script" not in tags.opened and f"1 prompt was cut {EVIL}" in tags.text


def test_temperature_draws_and_the_same_call_draws_the_same(small):
    run, prompts = small.run_folder("lora"), ["a", "b", "c"]
    greedy, drawn, again = (
        tunelab.generate(run, prompts, max_new_tokens=12, temperature=temperature) for temperature in (None, 2.0, 2.0)
    )
    assert drawn == again != greedy
    one = tunelab.generate(run, prompts, max_new_tokens=12, temperature=2.0, top_p=1e-6)
    assert one == greedy, "the likeliest token alone is drawn"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"temperature": -1.0}, "temperature.*-1"),
        ({"top_p": 0.5}, "top_p.*temperature"),
        ({"temperature": 1.0, "beams": 2}, "temperature 1 draws and beams 2 search"),
    ],
)
def test_settings_that_cannot_be_are_told(small, settings, problem):
    with pytest.raises(ConfigError, match=problem):
        tunelab.generate(small.run_folder("lora"), ["a"], **settings)


def test_scores_are_a_dict_and_a_table():
    scores = tunelab.score(["The Eagle is cheap."], ["The Eagle is a cheap pub."], metrics=["rouge_1", "bleu"])
    assert isinstance(scores, dict) and list(scores) == ["rouge_1", "bleu"]
    assert repr(scores).startswith("rouge_1  0.")
    tags = Tags(scores._repr_html_())
    assert "rouge_1 ↑" in tags.text and tags.opened.count("tr") == 3
    assert list(scores.to_pandas()["metric"]) == ["rouge_1", "bleu"]


def test_a_missing_score_says_why():
    why = Score(value=None, n=3, signature="s", higher_is_better=True, missing=f"no Java {EVIL}")
    tags = Tags(Scores({"meteor": why})._repr_html_())
    assert f"missing: no Java {EVIL}" in tags.text and "script" not in tags.opened


def test_an_evaluation_is_a_list_of_results_and_a_table_each(small, tmp_path):
    found = tunelab.evaluate(small.run_folder("lora"), out=tmp_path / "there")
    assert isinstance(found, Evaluations) and found[0].scores["rouge_l"].value is not None
    assert (tmp_path / "there" / "result.json").exists()
    assert repr(found).startswith("lora on restaurants, seed 0\n  rouge_l")
    assert "lora on restaurants, seed 0" in Tags(found._repr_html_()).text
    assert list(found.to_pandas()["metric"]) == ["rouge_l", "perplexity"]


def test_an_export_says_what_was_compared(small, tmp_path):
    exported = tunelab.export(small.run_folder("lora"), tmp_path / "merged", merge=True, dtype="fp32")
    assert isinstance(exported, ExportedModel) and exported.folder == tmp_path / "merged"
    assert "read again, largest difference of logits" in repr(exported)
    assert "read again, largest difference of logits" in Tags(exported._repr_html_()).text
    assert exported.to_pandas()["dtype"][0] == "fp32"
    assert len(tunelab.generate(exported.folder, ["a"], max_new_tokens=2)) == 1


def test_a_study_is_shown_with_what_is_learned_marked(small):
    shown = tunelab.show(small.folder / "study.yaml", examples=2)
    assert "[[" in repr(shown) and "what is learned stands in [[ ]]" in repr(shown)
    tags = Tags(shown._repr_html_())
    assert tags.opened.count("mark") == 2 and "what is learned is marked" in tags.text and "[[" not in tags.text
    frame = shown.to_pandas()
    assert all(
        learned and text.endswith(learned) for text, learned in zip(frame["text"], frame["learned"], strict=True)
    )


def test_a_run_is_shown_with_its_settings_and_result(small):
    shown = tunelab.show(small.run_folder("lora"))
    assert "effective optimizer:" in str(shown) and "effective optimizer:" in Tags(shown._repr_html_()).text


def test_a_file_is_shown_by_its_columns(tmp_path):
    rows = [{"question": EVIL, "answer": None}, {"question": "b", "answer": 3}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = tunelab.show(rows=tmp_path / "rows.jsonl")
    assert "rows.jsonl: 2 rows" in repr(shown) and "answer: nothing or number" in repr(shown)
    tags = Tags(shown._repr_html_())
    assert "script" not in tags.opened and EVIL in tags.text and "answer (nothing or number)" in tags.text
    assert list(shown.to_pandas()["question"]) == [EVIL, "b"]


def test_init_gives_the_study_it_has_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"{number}?", "answer": f"{number}"} for number in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    written = tunelab.init("rows.jsonl", out="mine.yaml")
    lines = repr(written).splitlines()
    assert lines[-3:] == ["wrote rows.train.jsonl", "wrote rows.test.jsonl", "wrote mine.yaml"]
    assert lines[:-3] == [f"note: {note}" for note in written.notes] and len(written.notes) > 1
    assert "methods:" in written._repr_html_()
    assert {run.task for run in tunelab.plan(written.study).runs} == {"rows"}
    with pytest.raises(ConfigError, match="already there"):
        tunelab.init("rows.jsonl", out="mine.yaml")


def test_init_reads_several_files_without_header_in_the_encoding_that_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "test"):
        (tmp_path / f"{name}.csv").write_text("".join(f"{name}é{n},x{n}\n" for n in range(9)), encoding="cp1252")
    written = tunelab.init(["a.csv", "b.csv"], test="test.csv", out="both.yaml", encoding="cp1252", header=False)
    (train,) = [path for path in written.files if ".train." in path.name]
    assert len(train.read_text(encoding="utf-8").splitlines()) == 18 and "aé8" in train.read_text(encoding="utf-8")
