"""LoRA that starts from what its layers are given: EVA of one rank, against an SVD and against PEFT's."""

import numpy as np
import peft
import pytest
import torch

import tiny
from training_harness import Records, Stopped, make_session, run_training
from tunelab.data.tokens.batching import Order
from tunelab.errors import RunError
from tunelab.kernels.adapted_linear import adapted_layers
from tunelab.kernels.sparse import in_passes
from tunelab.methods.lora import Lora
from tunelab.methods.qlora import Qlora
from tunelab.records import TokenRow
from tunelab.training.starts import inputs_of_layers

RANK = 4


def build(**options):
    return Lora(rank=RANK, alpha=8.0, init="eva", learning_rate=1e-2, **options)


def prepared(method, model, rows=None):
    session = make_session(method, model)
    order = Order(rows or tiny.rows(), seed=0, examples=6, budget=session.run.budget)
    method.prepare(session, order, session.run)
    return session.model, order.step(1)


def inputs(model, rows):
    """Layer's name -> (tokens, I), of the model itself."""
    found = {}
    layers = {name: each for name, each in model.named_modules() if hasattr(each, "weight") and each.weight.ndim == 2}
    hooks = [
        layer.register_forward_pre_hook(lambda _, given, name=name: found.setdefault(name, []).append(given[0][0]))
        for name, layer in layers.items()
        if "Embedding" not in type(layer).__name__
    ]
    with torch.no_grad():
        for row in rows:
            model.eval()(input_ids=torch.tensor(row.ids, dtype=torch.long)[None])
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(each) for name, each in found.items()}


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_is_made_of_the_right_singular_vectors_of_the_layers_inputs(kind):
    model, rows = prepared(build(), tiny.model(kind))
    given = inputs(tiny.model(kind), rows)
    for name, layer in adapted_layers(model).items():
        inputs_NI = given[name].double()
        wanted = torch.linalg.svd(inputs_NI - inputs_NI.mean(0), full_matrices=False).Vh[:RANK]
        cosines = (layer.factors.a_RI.double() * wanted).sum(1).abs()
        assert torch.allclose(cosines, torch.ones(RANK, dtype=torch.float64), atol=1e-4), name
        assert layer.factors.b_OR.abs().max() == 0
        assert all(row[row.abs().argmax()] > 0 for row in layer.factors.a_RI)


def test_covariances_of_few_layers_at_a_time_are_the_same(monkeypatch):
    """What they take is a square of the inputs, whatever the outputs."""
    whole, _ = prepared(build(), tiny.model("llama"))
    passes = []
    monkeypatch.setattr(inputs_of_layers, "AT_ONCE", 2 * 32**2)
    monkeypatch.setattr(inputs_of_layers, "in_passes", lambda *a, **b: passes.append(in_passes(*a, **b)) or passes[0])
    cut, _ = prepared(build(), tiny.model("llama"))
    assert len(passes[0]) > 3
    for one, other in zip(adapted_layers(whole).values(), adapted_layers(cut).values(), strict=True):
        assert one.factors.a_RI.equal(other.factors.a_RI)


def test_it_is_pefts():
    """Of rho 1 and of all tokens, all in one batch. PEFT takes a randomised SVD, which finds the last one nearly."""
    ids = torch.arange(2, 98).reshape(6, 16) % tiny.VOCABULARY
    rows = [TokenRow(place, row.numpy().astype(np.int32), np.arange(16) > 3) for place, row in enumerate(ids)]
    model, _ = prepared(build(), tiny.model("llama"), rows)
    torch.manual_seed(0)
    settings = peft.EvaConfig(rho=1.0, tau=0.9999, use_label_mask=False)
    config = peft.LoraConfig(r=RANK, target_modules="all-linear", init_lora_weights="eva", eva_config=settings)
    theirs = peft.get_peft_model(tiny.model("llama"), config, low_cpu_mem_usage=True)
    peft.initialize_lora_eva_weights(theirs, [{"input_ids": ids}] * 3, show_progress_bar=False)
    given = inputs(tiny.model("llama"), rows)
    for name, layer in adapted_layers(model).items():
        other = theirs.get_submodule(f"base_model.model.{name}").lora_A["default"].weight.detach()
        own = layer.factors.a_RI.detach()
        cosines = torch.linalg.svdvals(own @ other.t())  # of the angles between the two spaces
        centred = given[name] - given[name].mean(0)
        explained, theirs_explained = ((centred @ vectors.t()).square().sum() for vectors in (own, other))
        assert float(cosines[:2].min()) > 0.99, (name, cosines)
        assert explained >= theirs_explained > 0.95 * explained, name


def test_resuming_is_exact_and_the_first_loss_is_the_models(tmp_path):
    settings = {"checkpoint": {"seconds": 0}, "budget": {"steps": 6}}
    whole = run_training(build(), tiny.model("llama"), tiny.rows(), folder=tmp_path / "whole", **settings)
    default = run_training(
        Lora(rank=RANK, alpha=8.0, learning_rate=1e-2), tiny.model("llama"), tiny.rows(), budget={"steps": 6}
    )
    assert whole.records.losses[0] == pytest.approx(default.records.losses[0], abs=1e-6)
    assert whole.records.losses[-1] != pytest.approx(default.records.losses[-1], abs=1e-6)
    records, folder = Records(), tmp_path / "cut"
    with pytest.raises(Stopped):
        run_training(
            build(), tiny.model("llama"), tiny.rows(), folder=folder, records=records, stop_after=3, **settings
        )
    resumed = run_training(build(), tiny.model("llama"), tiny.rows(), folder=folder, records=records, **settings)
    assert resumed.records.losses == whole.records.losses


def test_its_adapter_fits_the_untouched_base_in_peft(tmp_path):
    method = build()
    model = run_training(method, tiny.model("llama"), tiny.rows(), budget={"steps": 3}).model
    method.save(model, tmp_path)
    loaded = peft.PeftModel.from_pretrained(tiny.model("llama"), tmp_path)
    ids = torch.arange(2, 14).reshape(2, 6)
    with torch.no_grad():
        assert torch.allclose(loaded.eval()(input_ids=ids).logits, model.eval()(input_ids=ids).logits, atol=1e-5)
    assert Lora.saved_options(tmp_path)["rank"] == RANK


def test_encoder_decoders_and_bases_in_four_bits_have_it():
    model, _ = prepared(Qlora(rank=RANK, init="eva", learning_rate=1e-2), tiny.model("llama"))
    for layer in adapted_layers(model).values():
        assert torch.allclose(layer.factors.a_RI @ layer.factors.a_RI.t(), torch.eye(RANK), atol=1e-5)
    model, _ = prepared(build(), tiny.model("t5"), tiny.rows(pairs=True))
    for layer in adapted_layers(model).values():
        assert torch.allclose(layer.factors.a_RI @ layer.factors.a_RI.t(), torch.eye(RANK), atol=1e-5)


def test_what_cannot_be_is_said():
    rows = [row for row in tiny.rows() if len(row.ids) <= 12][:1]
    with pytest.raises(
        RunError, match=r"init: eva: .* was given \d+ tokens, too few for rank 16; give init_examples more"
    ):
        prepared(Lora(rank=16, init="eva", init_examples=1), tiny.model("llama"), rows)
    with pytest.raises(ValueError, match="init_gamma: of init: lora_ga and lora_one alone"):
        Lora(init="eva", init_gamma=3.0)
