import math
import random

import pytest

from tunelab.errors import DataError, RunError
from tunelab.evaluation.evaluate import score, score_from_statistics, stored_statistics
from tunelab.metrics.bleu import Bleu
from tunelab.metrics.exact_match import ExactMatch
from tunelab.metrics.gsm8k_exact_match import Gsm8kExactMatch
from tunelab.metrics.perplexity import Perplexity
from tunelab.metrics.rouge_l import RougeL
from tunelab.records import Prediction

WORDS = "the eagle is a cheap pub near river and serves good food".split()


def generated(*, count, seed=0):
    draw = random.Random(seed)
    rows = []
    for row in range(count):
        reference = draw.choices(WORDS, k=8)
        prediction = [word if draw.random() < 0.7 else draw.choice(WORDS) for word in reference]
        rows.append(
            Prediction(
                id=str(row),
                prompt=f"prompt {row}",
                prediction=" ".join(prediction),
                references=(" ".join(reference), " ".join(draw.choices(WORDS, k=6))),
                loss_sum=draw.uniform(5, 20),
                num_tokens=draw.randint(5, 12),
            )
        )
    return rows


def test_statistics_travel_with_the_predictions_and_survive_json():
    rows = generated(count=12)
    rows[0] = rows[0].model_copy(update={"statistics": {"earlier": (1.0,)}})
    metrics = {"bleu": Bleu(), "rouge_l:stem": RougeL("stem"), "perplexity": Perplexity()}
    scored = score(rows, metrics, resamples=50)
    assert [row.id for row in scored.predictions] == [row.id for row in rows]
    assert rows[1].statistics == {}, "the given predictions stay as they are"
    assert scored.predictions[0].statistics["earlier"] == (1.0,)
    read_back = [Prediction.model_validate_json(row.model_dump_json()) for row in scored.predictions]
    assert read_back == scored.predictions
    for name, metric in metrics.items():
        statistics = stored_statistics([read_back], name)
        again = score_from_statistics(statistics, metric, signature=scored.scores[name].signature, resamples=50)
        assert again == scored.scores[name]


def test_equal_input_gives_equal_scores_and_another_seed_another_interval():
    rows = generated(count=30)
    first, second, other = (score(rows, {"bleu": Bleu()}, seed=seed).scores["bleu"] for seed in (0, 0, 1))
    assert first == second
    assert other.value == first.value and other.low != first.low


def test_interval_agrees_with_a_bootstrap_written_out():
    rows = generated(count=40)
    found = score(rows, {"perplexity": Perplexity()}, resamples=4000).scores["perplexity"]
    draw = random.Random(1)
    replicates = []
    for _ in range(4000):
        chosen = draw.choices(rows, k=len(rows))
        replicates.append(math.exp(sum(row.loss_sum for row in chosen) / sum(row.num_tokens for row in chosen)))
    replicates.sort()
    width = replicates[3900] - replicates[100]
    assert found.low == pytest.approx(replicates[100], abs=0.04 * width)
    assert found.high == pytest.approx(replicates[3900], abs=0.04 * width)
    assert found.n == 40 and not found.higher_is_better


def test_several_seeds_score_their_mean():
    runs = [score(generated(count=20, seed=seed), {"bleu": Bleu()}, resamples=20) for seed in (0, 1, 2)]
    statistics = stored_statistics([run.predictions for run in runs], "bleu")
    assert statistics.shape == (3, 20, 10)
    found = score_from_statistics(statistics, Bleu(), signature="stored")
    assert found.value == pytest.approx(sum(run.scores["bleu"].value for run in runs) / 3, rel=1e-12)
    assert found.low < found.value < found.high
    assert (found.n, found.signature) == (20, "stored")


def test_nothing_to_score_is_missing_not_zero():
    found = score([], {"exact_match": ExactMatch(), "bleu": Bleu()}).scores
    assert all((one.value, one.low, one.high, one.n) == (None, None, None, 0) for one in found.values())


def test_one_example_has_a_value_and_no_interval():
    found = score(generated(count=1), {"exact_match": ExactMatch()}).scores["exact_match"]
    assert found.value is not None and found.low is None and found.high is None


def test_examples_without_supervised_tokens_alone_have_no_perplexity():
    rows = [Prediction(id=str(row), prompt="", loss_sum=0.0, num_tokens=0) for row in range(3)]
    assert score(rows, {"perplexity": Perplexity()}).scores["perplexity"].value is None


def test_a_loss_that_is_not_finite_is_an_error_that_names_the_example():
    rows = [*generated(count=2), Prediction(id="broken", prompt="", loss_sum=math.inf, num_tokens=3)]
    with pytest.raises(RunError, match="perplexity of example broken"):
        score(rows, {"perplexity": Perplexity()})


def test_runs_on_other_examples_are_refused_and_a_missing_metric_is_missing():
    rows = score(generated(count=4), {"bleu": Bleu()}, resamples=5).predictions
    assert stored_statistics([rows], "nist") is None
    assert stored_statistics([], "bleu") is None
    with pytest.raises(DataError, match="run 2 of 2"):
        stored_statistics([rows, rows[::-1]], "bleu")


def test_a_metric_that_cannot_be_computed_is_missing_with_its_reason_and_the_others_are_there():
    metrics = {"gsm8k_exact_match:openai": Gsm8kExactMatch("openai"), "bleu": Bleu()}
    scored = score(generated(count=3), metrics, resamples=10)
    missing = scored.scores["gsm8k_exact_match:openai"]
    assert missing.value is None and missing.low is None and missing.n == 3
    assert "'#### N'" in missing.missing
    assert scored.scores["bleu"].value > 0 and not scored.scores["bleu"].missing
    assert set(scored.predictions[0].statistics) == {"bleu"}
