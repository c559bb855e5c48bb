"""Some layers by one method, the others by another: who moves what, one clip over both, each at its own rate."""

import pytest
import torch

import tiny
from training_harness import make_session, run_training
from tunelab.data.tokens.batching import micro_batches
from tunelab.errors import ConfigError
from tunelab.kernels.adapted_linear import AdaptedLinear
from tunelab.models.hiding import hidden
from tunelab.models.targets import linear_layers
from tunelab.study.planning.plan import build_method


def layerwise(first_part: str, second_part: str, *, rates=(1e-2, 1e-2), **options):
    parts = [{name: {"learning_rate": rate}} for name, rate in zip((first_part, second_part), rates, strict=True)]
    return build_method("layerwise", {"parts": parts, "learning_rate": rates[0], **options})


def moved(method, kind: str = "llama") -> set[str]:
    """Names of the plain weights that two steps have changed."""
    start = {name: value.detach().clone() for name, value in tiny.model(kind).named_parameters()}
    rows = tiny.rows(20, pairs=kind == "t5")
    trained = run_training(method, tiny.model(kind), rows, budget={"steps": 3})
    merged = trained.session.method.merged(trained.model)
    return {name for name, value in merged.named_parameters() if not value.equal(start[name])}


def test_full_attention_and_lora_elsewhere():
    method = layerwise("full", "lora")
    session = make_session(method, tiny.model("llama"))
    layers = dict(session.model.named_modules())
    assert not isinstance(layers["model.layers.0.self_attn.q_proj"], AdaptedLinear)
    assert isinstance(layers["model.layers.0.mlp.up_proj"], AdaptedLinear)
    trained = {name for name, value in session.model.named_parameters() if value.requires_grad}
    assert all("self_attn" in name or "lora_" in name for name in trained)
    assert moved(method) == {name for name in plain_names() if "_proj.weight" in name}


def test_what_is_no_linear_layer_belongs_to_the_second():
    names = plain_names()
    assert moved(layerwise("lora", "full")) == names, "full trains embeddings and norms too"
    assert "model.embed_tokens.weight" not in moved(layerwise("full", "lora"))


def plain_names() -> set[str]:
    return {name for name, _ in tiny.model("llama").named_parameters()}


def test_two_adapters_of_different_rank():
    parts = [{"lora": {"rank": 2}}, {"lora": {"rank": 5}}]
    method = build_method("layerwise", {"parts": parts, "first": r".*mlp.*"})
    model = make_session(method, tiny.model("llama")).model
    ranks = {name: len(layer.lora_A) for name, layer in model.named_modules() if isinstance(layer, AdaptedLinear)}
    assert {name: rank for name, rank in ranks.items() if "mlp" in name} and set(ranks.values()) == {2, 5}
    assert all(rank == (2 if "mlp" in name else 5) for name, rank in ranks.items())


def test_one_norm_and_one_clip_over_both():
    """Equal to one optimizer over all of it: full everywhere, cut in two."""
    rows = tiny.rows(20)
    settings = {"budget": {"steps": 6}, "optimizer": {"clip": 0.05}}
    whole = run_training(build_method("full", {"learning_rate": 1e-2}), tiny.model("llama"), rows, **settings)
    cut = run_training(layerwise("full", "full"), tiny.model("llama"), rows, **settings)
    norms = [step.grad_norm for step in whole.records.steps]
    assert min(norms) > 0.1, "every step is clipped"
    assert [step.grad_norm for step in cut.records.steps] == pytest.approx(norms, rel=1e-4)
    assert cut.records.losses == pytest.approx(whole.records.losses, rel=1e-5)


def test_each_part_learns_at_its_own_rate():
    """AdamW's first step moves a weight by the learning rate, whatever its gradient."""
    session = make_session(layerwise("full", "full", rates=(1e-3, 1e-2)), tiny.model("llama"))
    start = {name: value.detach().clone() for name, value in session.model.named_parameters()}
    (batch,) = micro_batches(tiny.rows(6), max_tokens=4096)
    session.accumulate(batch, denominator=1, last=True)
    session.update(learning_rate=2e-3, max_norm=None)
    steps = {name: (value - start[name]).abs().max().item() for name, value in session.model.named_parameters()}
    assert steps["model.layers.0.self_attn.q_proj.weight"] == pytest.approx(2e-3, rel=1e-3)
    assert steps["model.layers.0.mlp.up_proj.weight"] == pytest.approx(2e-2, rel=1e-3)
    described = session.optimizer()
    assert {group["group"].split(":")[0] for group in described} == {"full"}
    assert any("rate x 10" in group["group"] for group in described)


def test_a_hidden_layer_computes_and_is_no_linear_layer():
    model = tiny.model("llama")
    ids, name = torch.arange(2, 8).reshape(1, 6), "model.layers.0.mlp.up_proj"
    layer, parameters = model.get_submodule(name), len(list(model.parameters()))
    layer.quantised_weights = 3
    with torch.no_grad():
        before = model(input_ids=ids).logits
        with hidden(model, [name]):
            assert name not in linear_layers(model) and not hasattr(model.get_submodule(name), "quantised_weights")
            assert len(list(model.parameters())) == parameters - 1
            assert model(input_ids=ids).logits.equal(before)
    assert model.get_submodule(name) is layer


def test_the_model_is_whole_after_every_call(tmp_path):
    """Hidden layers are back: forward, names and types are those of the attached model."""
    method = layerwise("full", "lora")
    session = make_session(method, tiny.model("t5"))
    names = [name for name, _ in session.model.named_parameters()]
    method.save(session.model, tmp_path)
    method.merged(session.model)
    method.state(session.model)
    assert [name for name, _ in session.model.named_parameters()] == names
    with torch.no_grad():
        ids = torch.arange(2, 8).reshape(1, 6)
        assert session.model(input_ids=ids, decoder_input_ids=ids).logits.isfinite().all()


def test_nothing_left_for_the_second_and_nothing_for_the_first():
    with pytest.raises(ConfigError, match="second method has none left"):
        layerwise("full", "lora", first=".*").attach(tiny.model("llama"), seed=0)
    with pytest.raises(ConfigError, match="matches no linear layer"):
        layerwise("full", "lora", first="nothing").attach(tiny.model("llama"), seed=0)
