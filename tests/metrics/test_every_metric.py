"""The contract of a metric, tested on every file in metrics/: a new one is tested the moment it exists."""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import tunelab.metrics
from tunelab.contracts import Metric
from tunelab.evaluation.sacre import PACKAGES
from tunelab.records import Prediction

FILES = [module.name for module in pkgutil.iter_modules(tunelab.metrics.__path__)]


def metric_classes(name: str) -> list[type[Metric]]:
    module = importlib.import_module(f"tunelab.metrics.{name}")
    classes = inspect.getmembers(module, inspect.isclass)
    return [found for _, found in classes if issubclass(found, Metric) and found.__module__ == module.__name__]


JAVA = {"cider", "meteor", "rouge_l:coco"}


def parameters(found: type[Metric], variant: str, *, name: str):
    own = f"{name}:{variant}" if variant else name
    return pytest.param(found, variant, id=own, marks=[pytest.mark.slow] if own in JAVA else [])


METRICS = [
    parameters(found, variant, name=name)
    for name in FILES
    for found in metric_classes(name)
    for variant in found.variants
]

# Every example has a reference with "#### N", which gsm8k_exact_match:openai asks for.
TEXTS = [
    (
        "The Eagle is a cheap pub near the river.",
        ("#### 1. The Eagle is a cheap pub by the river.", "A cheap pub: The Eagle."),
    ),
    ("", ("An answer was expected here. #### 1,000",)),
    ("Yes. #### 5", ("Yes. #### 5", "No.", "Maybe, if it is open.")),
    ("prices are high , at  £30 &amp; more", ("Prices are high, at £30 & more.", "It costs #### 1,000.50 dollars")),
    ("The Eagle is a cheap pub near the river #### 2", ("The Eagle is a cheap pub near the river #### 2",)),
]


@pytest.fixture(autouse=True)
def java_or_a_stand_in_where_it_is_needed(request):
    name = request.node.callspec.id if hasattr(request.node, "callspec") else ""
    if name in JAVA:
        request.getfixturevalue("java")
    if name.partition(":")[2] in PACKAGES:
        request.getfixturevalue("letters_for_tokens")
    if name == "bertscore":  # its model is 1.4 GB; the package itself: test_bertscore.py
        request.getfixturevalue("bert_score")


@pytest.fixture
def predictions() -> list[Prediction]:
    return [
        Prediction(
            id=str(row),
            prompt=f"prompt {row}",
            prediction=text,
            references=references,
            loss_sum=3.5 + row,
            num_tokens=4 + row,
            num_bytes=20 + row,
            base_loss_sum=3.0 + 0.1 * row,
        )
        for row, (text, references) in enumerate(TEXTS)
    ]


@pytest.mark.parametrize("name", FILES)
def test_a_file_holds_one_metric_and_says_what_it_is(name):
    assert len(metric_classes(name)) == 1
    first_line = importlib.import_module(f"tunelab.metrics.{name}").__doc__.splitlines()[0]
    assert 20 <= len(first_line) <= 120 and first_line.endswith(".")


@pytest.mark.parametrize(("metric_class", "variant"), METRICS)
def test_statistics_of_a_concatenation_are_the_concatenated_statistics(metric_class, variant, predictions):
    if metric_class.corpus_weights:
        return  # they weigh words by the references of the whole corpus; see below
    apart = [metric_class(variant).statistics(part) for part in (predictions[:2], predictions[2:])]
    whole = metric_class(variant).statistics(predictions)
    assert whole.dtype == np.float64 and whole.ndim == 2 and len(whole) == len(predictions)
    assert np.array_equal(np.concatenate(apart), whole)
    aggregate = metric_class(variant).aggregate
    assert aggregate(sum(part.sum(axis=0) for part in apart)) == pytest.approx(aggregate(whole.sum(axis=0)), rel=1e-12)


@pytest.mark.parametrize(("metric_class", "variant"), METRICS)
def test_an_examples_statistics_do_not_depend_on_the_order_of_examples(metric_class, variant, predictions):
    order = np.random.default_rng(0).permutation(len(predictions))
    straight = metric_class(variant).statistics(predictions)
    shuffled = metric_class(variant).statistics([predictions[row] for row in order])
    assert np.allclose(shuffled, straight[order], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("metric_class", "variant"), METRICS)
def test_corpus_weights_are_declared_and_come_from_references_alone(metric_class, variant, predictions):
    """With other outputs beside it an example's statistics stay; with other references only where that is declared."""
    if metric_class.reads == "likelihood":
        return
    straight = metric_class(variant).statistics(predictions)[0]
    silent = [predictions[0], *(row.model_copy(update={"prediction": "the river"}) for row in predictions[1:])]
    assert np.allclose(metric_class(variant).statistics(silent)[0], straight, rtol=1e-12)
    same = [predictions[0], *(row.model_copy(update={"references": ("the river #### 1",)}) for row in predictions[1:])]
    moved = not np.allclose(metric_class(variant).statistics(same)[0], straight, rtol=1e-12)
    assert moved == metric_class.corpus_weights


@pytest.mark.parametrize(("metric_class", "variant"), METRICS)
def test_aggregate_over_leading_axes_equals_a_loop(metric_class, variant, predictions):
    metric = metric_class(variant)
    statistics = metric.statistics(predictions)
    weights = np.random.default_rng(0).integers(1, 4, size=(2, 3, len(predictions)))
    totals = weights @ statistics
    scores = metric.aggregate(totals)
    assert scores.shape == (2, 3)
    loop = [[float(metric.aggregate(totals[i, j])) for j in range(3)] for i in range(2)]
    assert np.allclose(scores, loop, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("metric_class", "variant"), METRICS)
def test_signature_is_there_before_and_after_data(metric_class, variant, predictions):
    metric = metric_class(variant)
    assert metric.signature()
    metric.statistics(predictions)
    assert metric.signature() and "\n" not in metric.signature()


@pytest.mark.parametrize(("metric_class", "variant"), METRICS)
def test_no_examples_give_no_rows(metric_class, variant, predictions):
    metric = metric_class(variant)
    assert metric.statistics([]).shape == (0, metric.statistics(predictions).shape[1])


@pytest.mark.parametrize(("metric_class", "variant"), METRICS)
def test_a_prediction_without_what_the_metric_reads_is_a_defect(metric_class, variant, predictions):
    missing = {"prediction": None} if metric_class.reads == "text" else {"loss_sum": None}
    with pytest.raises(AssertionError):
        metric_class(variant).statistics([predictions[0].model_copy(update=missing)])
