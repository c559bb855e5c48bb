"""Each example scored alone: by which metric, and what is said where that is not the run's own score."""

import numpy as np
import pytest

from tunelab.evaluation.alone import scored_alone
from tunelab.evaluation.evaluate import score
from tunelab.records import Prediction
from tunelab.study.planning.plan import metric_of

TEXTS = ("the cat sat on the mat", "a dog ran far away from home", "birds sing")
WRITTEN = ("the cat sat on the mat", "a dog sat on the mat", "")


def predictions(*names, losses=False):
    rows = [
        Prediction(
            id=str(place), prompt="p", prediction=written, references=(text,),
            **({"loss_sum": 2.0 * place, "num_tokens": 4} if losses else {}),
        )
        for place, (text, written) in enumerate(zip(TEXTS, WRITTEN, strict=True))
    ]  # fmt: skip
    return score(rows, {name: metric_of(name) for name in names}, resamples=10).predictions


def alone(runs, *names):
    return scored_alone(runs, names, {name: metric_of(name) for name in names})


def test_a_mean_is_the_mean_of_its_examples():
    found = alone([predictions("rouge_l")], "rouge_l")
    assert found.metric == "rouge_l" and found.higher_is_better
    assert found.runs[0][0] == 1 and found.runs[0][2] == 0 and 0 < found.runs[0][1] < 1
    assert found.words == "rouge_l of each example alone"


def test_of_a_score_of_all_texts_together_it_is_said_that_the_examples_are_not_its_parts():
    found = alone([predictions("bleu")], "bleu")
    assert found.runs[0][0] == pytest.approx(100) and found.runs[0][2] == 0
    assert "the bleu of a run is of all examples together, and not the mean of these" in found.words


def test_another_metric_stands_in_and_that_is_said():
    found = scored_alone([predictions("rouge_l")], ["bleu", "rouge_l"], {"rouge_l": metric_of("rouge_l")})
    assert found.metric == "rouge_l"
    assert found.words == "rouge_l of each example alone; bleu has no score of single examples here"


def test_the_loss_stands_in_where_there_is_no_metric():
    found = scored_alone([predictions(losses=True)], ["bleu"], {"bleu": metric_of("bleu")})
    assert found.metric == "loss" and not found.higher_is_better and found.runs[0].tolist() == [0.0, 0.5, 1.0]
    assert "bleu has no score" in found.words


def test_a_run_without_statistics_has_none_beside_one_that_has():
    found = alone([predictions("rouge_l"), predictions()], "rouge_l")
    assert found.runs[0] is not None and found.runs[1] is None
    assert alone([predictions()], "rouge_l") is None and alone([[]], "rouge_l") is None


def test_what_is_computed_of_general_text_orders_no_test_example():
    assert scored_alone([predictions("rouge_l")], ["forgetting"], {"forgetting": metric_of("forgetting")}) is None


def test_an_example_without_a_score_is_not_a_number():
    rows = [row.model_copy(update={"statistics": {"perplexity": (0.0, 0.0)}}) for row in predictions()]
    assert np.isnan(alone([rows], "perplexity").runs[0]).all()
