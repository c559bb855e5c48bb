"""Families x methods: losses, texts, saved and exported models are those of transformers and PEFT on the same text.

Every family has a tiny random model, a tokenizer and a template in its style (families.py); a study trains it by the
public call (studies.py); by_transformers.py says what is right without any of tunelab's code.
"""

import os

import pytest
import torch

import bitsandbytes_as_meant
import tunelab
from parity.zoo import by_transformers
from parity.zoo.families import ALL
from parity.zoo.studies import PAIRS, TEST, prepared
from tunelab.export.export import export

pytestmark = pytest.mark.slow  # seconds a family

METHODS = ("full", "lora", "qlora", "peft_any")
TRAINED = [(name, method) for name, animal in ALL.items() for method in METHODS if method not in animal.without]
SCORED = [one for name in ALL for one in [(name, "base"), *(one for one in TRAINED if one[0] == name)]]


@pytest.fixture(scope="session")
def shared_by_processes(tmp_path_factory):
    """One folder for all test processes of a session: the first that needs a family's study runs it."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder) / "zoo"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def bitsandbytes_on_every_cpu(monkeypatch):
    bitsandbytes_as_meant.mend(monkeypatch)


@pytest.fixture
def study(request, shared_by_processes):
    return prepared(request.getfixturevalue("name"), shared_by_processes)


@pytest.mark.parametrize(("name", "method"), SCORED)
def test_losses_and_texts_are_transformers_own(study, name, method):
    model, tokenizer = by_transformers.trained(study, method), by_transformers.tokenizer_of(study)
    found, rows = study.predictions(method), by_transformers.rows(study, TEST)
    assert [one["num_tokens"] for one in found] == [row.num_learned for row in rows]
    losses = [by_transformers.loss_sum(model, row) for row in rows]
    assert [one["loss_sum"] for one in found] == pytest.approx(losses, rel=1e-4 if method == "qlora" else 2e-5)
    told = by_transformers.family_facts(rows[0], model, tokenizer)
    assert [one["prediction"] for one in found] == [by_transformers.text(model, row, tokenizer, **told) for row in rows]


@pytest.mark.parametrize("name", ALL)
def test_the_first_step_has_transformers_loss_and_gradient(study, name):
    rows, model = by_transformers.rows(study, PAIRS), by_transformers.plain(study, study.base)
    total = sum(row.num_learned for row in rows)
    losses = [model(**row.inputs).loss * (row.num_learned / total) for row in rows]
    sum(losses).backward()
    fixed = getattr(model, "_keys_to_ignore_on_save", None) or ()
    gradients = [one.grad for key, one in model.named_parameters() if one.grad is not None and key not in fixed]
    first = study.first_step("full")
    assert first["num_supervised_tokens"] == total
    assert first["loss"] == pytest.approx(float(sum(losses)), rel=2e-5)
    assert first["grad_norm"] == pytest.approx(float(torch.nn.utils.get_total_norm(gradients)), rel=1e-4)


@pytest.mark.parametrize(("name", "method"), TRAINED)
def test_the_merged_export_is_the_trained_model_and_ends_its_texts_by_itself(study, name, method, tmp_path):
    """Of its texts a user tells `generate` nothing but how long one may be."""
    export(study.run(method), tmp_path / "merged", merge=True, dtype="fp32")
    merged, own = by_transformers.plain(study, tmp_path / "merged"), by_transformers.trained(study, method)
    rows, base = by_transformers.rows(study, TEST), by_transformers.plain(study, study.base)
    for row in rows:
        expected = by_transformers.logits(own, row)
        difference = float((by_transformers.logits(merged, row) - expected).abs().max())
        change = float((by_transformers.logits(base, row) - expected).abs().max())
        assert difference < 1e-4 * float(expected.abs().max()) < 1e-2 * change, "and training changed it visibly"
    tokenizer = by_transformers.tokenizer_of(study)
    texts = [by_transformers.text(merged, row, tokenizer) for row in rows]
    assert [one["prediction"] for one in study.predictions(method)] == texts


@pytest.mark.parametrize("name", ALL)
def test_generate_gives_the_texts_of_the_records(study, name):
    """A question alone, asked of the run's folder: in a conversation's study, those without an earlier turn."""
    alone = slice(0, None, 2) if study.animal.template else slice(None)
    texts = tunelab.generate(study.run("lora"), [question for question, _ in TEST[alone]])
    assert texts == [one["prediction"] for one in study.predictions("lora")[alone]]
