"""Finished runs are scored again from what they stored, never by training again."""

import pytest

from tunelab.evaluation.evaluate import score
from tunelab.launch.scoring import score_alike
from tunelab.metrics.exact_match import ExactMatch
from tunelab.metrics.rouge_l import RougeL
from tunelab.records import Prediction, Provenance, RunResult
from tunelab.study.store import RunFolder

WHERE = Provenance(
    tunelab="0",
    python="3",
    packages={},
    threads=1,
    precision="fp32",
    device="cpu",
    hardware="",
    platform="",
    started="",
)


@pytest.fixture
def folders(tmp_path):
    made = []
    for name, text in (("one", "a cat"), ("other", "a dog")):
        folder = RunFolder(tmp_path / "runs" / name)
        folder.path.mkdir(parents=True)
        row = Prediction(id="test-000000", prompt="", prediction=text, references=("a cat",))
        scored = score([row], {"exact_match": ExactMatch()})
        folder.write_predictions(list(scored.predictions))
        folder.write_result(
            RunResult(
                run=name, method="lora", task="t", seed=0, backend="torch", learning_rate=1.0, scores=scored.scores,
                phases={}, trainable_parameters=1, total_parameters=1, provenance=WHERE,
            )
        )  # fmt: skip
        made.append(folder)
    return made


def scores(folder, name):
    return folder.read_result().scores[name]


def test_a_metric_named_later_is_added(folders):
    score_alike(folders, {"exact_match": ExactMatch(), "rouge_l": RougeL()})
    assert [scores(folder, "rouge_l").value for folder in folders] == [1.0, 0.5]
    assert all("rouge_l" in folder.read_predictions()[0].statistics for folder in folders)
    assert [scores(folder, "exact_match").value for folder in folders] == [1.0, 0.0]


def test_scores_of_two_signatures_become_scores_of_one(folders):
    result = folders[0].read_result()
    old = result.scores["exact_match"].model_copy(update={"signature": "another version", "value": 0.25})
    folders[0].write_result(result.model_copy(update={"scores": {"exact_match": old}}))
    score_alike(folders, {"exact_match": ExactMatch()})
    assert len({scores(folder, "exact_match").signature for folder in folders}) == 1
    assert scores(folders[0], "exact_match").value == 1.0


def test_scores_of_one_signature_are_left_as_they_are(folders):
    before = [(folder.path / "result.json").stat().st_mtime_ns for folder in folders]
    score_alike(folders, {"exact_match": ExactMatch()})
    assert [(folder.path / "result.json").stat().st_mtime_ns for folder in folders] == before


def test_a_metric_that_was_missing_is_computed_when_it_can_be(folders):
    result = folders[0].read_result()
    gone = result.scores["exact_match"].model_copy(update={"value": None, "missing": "no Java"})
    folders[0].write_result(result.model_copy(update={"scores": {"exact_match": gone}}))
    score_alike(folders, {"exact_match": ExactMatch()})
    assert scores(folders[0], "exact_match").value == 1.0 and not scores(folders[0], "exact_match").missing
