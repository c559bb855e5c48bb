"""LoRA on parts of a fused layer against microsoft/LoRA's MergedLinear, and each one's saved adapter in PEFT."""

import json
import math

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

import tiny
from contracts.test_tied_fused_shared import MODELS
from parity.test_lora import logits, reference_loss
from training_harness import Records, Stopped, run_training
from tunelab.data.tokens.batching import Order
from tunelab.errors import ConfigError, ModelError
from tunelab.kernels.adapted_linear import adapted_layers
from tunelab.methods.lora import Lora
from tunelab.methods.qlora import Qlora
from tunelab.models.reach import base_of, num_reached, reached
from tunelab.study.planning.plan import build_method, recognise

RATE, STEPS, RANK, ALPHA = 1e-2, 5, 4, 32.0
PAPER = Lora(rank=RANK, alpha=ALPHA, targets=("c_attn.q", "c_attn.v"), learning_rate=RATE)


# ------------------------------------------------------------------ MergedLinear


class Merged(nn.Module):
    """What MergedLinear(enable_lora=[True, False, True]) of loralib/layers.py computes, weights not merged."""

    def __init__(self, base: nn.Module, factors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.base = base
        self.factors = nn.ParameterDict({name: nn.Parameter(value.clone()) for name, value in factors.items()})

    def forward(self, x):
        own = self.factors
        query, value = x @ own["A_q"].T @ own["B_q"].T, x @ own["A_v"].T @ own["B_v"].T
        return self.base(x) + ALPHA / RANK * torch.cat([query, torch.zeros_like(query), value], dim=-1)


def factors_of(model) -> dict[str, dict[str, torch.Tensor]]:
    return {
        name: {f"{half}_{part}": getattr(own, f"lora_{half}") for part, own in layer.parts.items() for half in "AB"}
        for name, layer in adapted_layers(model).items()
    }


def reference_of(ours):
    reference = tiny.model("gpt2").requires_grad_(False)
    for name, factors in factors_of(ours).items():
        reference.set_submodule(name, Merged(reference.get_submodule(name), factors))
    return reference


def moved():
    """B is no longer zero."""
    model = PAPER.attach(tiny.model("gpt2"), seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for factors in factors_of(model).values():
            for name in ("B_q", "B_v"):
                factors[name].normal_(std=0.1)
    return model


def test_logits_and_gradients_are_merged_linears():
    model, rows = moved(), tiny.rows(6)
    reference = reference_of(model)
    assert (logits(model, "gpt2") - logits(tiny.model("gpt2"), "gpt2")).abs().max() > 0.1
    assert (logits(model, "gpt2") - logits(reference, "gpt2")).abs().max() < 1e-5
    for each in (model, reference):
        reference_loss(each, rows, pairs=False).backward()
    for name, factors in factors_of(model).items():
        for key, own in factors.items():
            theirs = reference.get_submodule(name).factors[key].grad
            assert theirs.abs().max() > 0, key
            assert (own.grad - theirs).abs().max() < 1e-6 * max(1.0, theirs.abs().max().item()), (name, key)


def test_steps_of_adamw_are_merged_linears():
    rows = tiny.rows(18)
    trained = run_training(PAPER, tiny.model("gpt2"), rows, budget={"steps": STEPS})
    reference = reference_of(PAPER.attach(tiny.model("gpt2"), seed=0))
    parameters = [parameter for parameter in reference.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0, foreach=False)
    order = Order(rows, seed=0, examples=6, budget=tiny.run_config(budget={"steps": STEPS}).budget)
    losses = []
    for step in range(1, STEPS + 1):
        loss = reference_loss(reference, order.step(step), pairs=False)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert max(abs(a - b) for a, b in zip(trained.records.losses, losses, strict=True)) < 1e-5
    for name, factors in factors_of(trained.model).items():
        for key, own in factors.items():
            assert (own - reference.get_submodule(name).factors[key]).abs().max() < 1e-4, (name, key)


def test_keys_and_biases_stay_and_queries_and_values_move():
    trained = run_training(PAPER, tiny.model("gpt2"), tiny.rows(12), budget={"steps": 3})
    before, after = tiny.model("gpt2"), PAPER.merged(trained.model)
    for index in range(2):
        old, new = (model.transformer.h[index].attn.c_attn for model in (before, after))
        query, key, value = (new.weight - old.weight).detach().split(32, dim=1)  # Conv1D's weight lies as (in, out)
        assert query.abs().max() > 1e-4 and value.abs().max() > 1e-4
        assert key.abs().max() == 0
        assert new.bias.equal(old.bias)


def test_a_part_starts_with_values_of_its_own_name():
    """The same in any back end and whatever else is adapted; torch's kaiming_uniform(a=sqrt(5)) is loralib's."""
    both = PAPER.attach(tiny.model("gpt2"), seed=3)
    alone = PAPER.model_copy(update={"targets": ("c_attn.v",)}).attach(tiny.model("gpt2"), seed=3)
    name = "transformer.h.1.attn.c_attn"
    query, value = (both.get_parameter(f"{name}.{part}.lora_A") for part in "qv")
    assert value.equal(alone.get_parameter(f"{name}.v.lora_A"))
    assert not value.equal(query)
    for half in (query, value):
        assert 0.9 / math.sqrt(32) < half.abs().max() <= 1 / math.sqrt(32)


# ------------------------------------------------------------------ counted


@pytest.mark.parametrize(
    ("options", "trained", "share"),
    [
        ({"targets": ("c_attn.q", "c_attn.v")}, 2 * 2 * 4 * (32 + 32), 2 * 2 * 32 * 32),
        ({"targets": ("c_attn.v",)}, 2 * 4 * (32 + 32), 2 * 32 * 32),
        ({"targets": ("c_attn.q", "mlp.c_proj")}, 2 * 4 * (64 + 128 + 32), 2 * (32 * 32 + 128 * 32)),
        ({"targets": ("c_attn.q", "c_attn.v"), "ranks": {"c_attn.v": 2}}, 2 * (4 + 2) * 64, 2 * 2 * 32 * 32),
        ({"targets": ("c_attn.q", "c_attn.v"), "ranks": {"c_attn": 2}}, 2 * 2 * 2 * 64, 2 * 2 * 32 * 32),
        ({"targets": ("c_attn.q", "c_attn.k", "c_attn.v")}, 2 * 3 * 4 * 64, 2 * 3 * 32 * 32),
    ],
)
def test_rows_that_are_adapted_are_counted_and_no_others(options, trained, share):
    method, start = Lora(rank=4, **options), tiny.model("gpt2")
    base = base_of(start)
    with torch.device("meta"):
        attached = method.attach(tiny.model("gpt2").to("meta"), seed=0)
    assert sum(p.numel() for p in attached.parameters() if p.requires_grad) == trained
    assert num_reached(base, reached(base, attached)) == share


# ------------------------------------------------------------------ saved

SAVED = {
    "paper": ("gpt2", PAPER),
    "rslora": ("gpt2", PAPER.model_copy(update={"scaling": "rslora"})),
    "beside whole layers": ("gpt2", PAPER.model_copy(update={"targets": ("mlp.c_proj", "c_attn.q", "c_attn.k")})),
    "one part": ("gpt2", PAPER.model_copy(update={"targets": ("c_attn.v",)})),
    "ranks": ("gpt2", PAPER.model_copy(update={"ranks": {"c_attn.v": 6, r".*\.0\..*": 3}, "alphas": {"c_attn.q": 5}})),
    "ranks, rslora": ("gpt2", PAPER.model_copy(update={"ranks": {"c_attn.v": 6}, "scaling": "rslora"})),
    "phi3": ("phi3", PAPER.model_copy(update={"targets": ("qkv_proj.q", "qkv_proj.v", "gate_up_proj.up", "o_proj")})),
    "b_rate": ("gpt2", PAPER.model_copy(update={"b_rate": 4.0})),
}  # fmt: skip


@pytest.mark.parametrize("case", SAVED)
def test_what_is_saved_computes_the_same_in_peft_again_and_merged(case, tmp_path):
    kind, method = SAVED[case]
    model = run_training(method, MODELS[kind](), tiny.rows(18), budget={"steps": 3}).model
    expected, untuned = logits(model, kind), logits(MODELS[kind](), kind)
    assert not torch.allclose(expected, untuned, atol=1e-2)
    method.save(model, tmp_path)

    with pytest.warns(UserWarning, match="tunelab_options"):
        by_peft = peft.PeftModel.from_pretrained(MODELS[kind](), tmp_path)
    assert torch.allclose(logits(by_peft, kind), expected, atol=1e-5)

    name, again = recognise(tmp_path)
    assert name == "lora"
    for field in ("rank", "alpha", "ranks", "alphas", "scaling", "targets", "dropout"):
        assert getattr(again, field) == getattr(method, field), field
    loaded = again.attach(MODELS[kind](), seed=9)
    again.load(loaded, tmp_path)
    assert torch.allclose(logits(loaded, kind), expected, atol=1e-6)
    assert torch.allclose(logits(method.merged(model), kind), expected, atol=1e-5)


def test_parts_of_one_scale_come_back_bit_for_bit(tmp_path):
    model = run_training(PAPER, tiny.model("gpt2"), tiny.rows(18), budget={"steps": 3}).model
    PAPER.save(model, tmp_path)
    loaded = PAPER.attach(tiny.model("gpt2"), seed=9)
    PAPER.load(loaded, tmp_path)
    for name, own in trained_values(model).items():
        assert own.equal(loaded.get_parameter(name)), name


def trained_values(model):
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def test_an_adapter_that_changes_other_rows_is_refused(tmp_path):
    model = moved()
    PAPER.save(model, tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors["base_model.model.transformer.h.1.attn.c_attn.lora_B.weight"][40, 2] = 1e-3
    save_file(tensors, file)
    with pytest.raises(ModelError) as told:
        PAPER.load(PAPER.attach(tiny.model("gpt2"), seed=0), tmp_path)
    assert "transformer.h.1.attn.c_attn: B is not zero outside q, v, the parts that are adapted" in str(told.value)


def test_an_adapter_of_pefts_own_keeps_its_meaning(tmp_path):
    """Whole layers, as ever: nothing in it names parts."""
    Lora(rank=4, targets=("c_attn",)).save(
        Lora(rank=4, targets=("c_attn",)).attach(tiny.model("gpt2"), seed=0), tmp_path
    )
    assert "tunelab_options" not in json.loads((tmp_path / "adapter_config.json").read_text())
    assert recognise(tmp_path)[1].targets == ("c_attn",)


# ------------------------------------------------------------------ options


def test_a_pattern_that_names_the_part_goes_before_its_layers():
    method = PAPER.model_copy(update={"ranks": {"c_attn": 2, "c_attn.v": 6}})
    layer = next(iter(adapted_layers(method.attach(tiny.model("gpt2"), seed=0)).values()))
    assert {part: len(own.lora_A) for part, own in layer.parts.items()} == {"q": 2, "v": 6}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"ranks": {"c_attn.k": 2}},
            "ranks: 'c_attn.k' matches no adapted layer; there are c_attn, c_attn.q, c_attn.v",
        ),
        ({"rank": 33}, "rank: 33 is larger than the matrix of transformer.h.0.attn.c_attn.q (32 x 32)"),
        (
            {"init": "pissa"},
            "init: pissa takes a part out of a layer's whole weight, and targets names c_attn.q; name whole layers, or "
            "use init: default",
        ),
    ],
)
def test_what_does_not_fit_is_said(changes, line):
    with pytest.raises(ConfigError) as told:
        PAPER.model_copy(update=changes).attach(tiny.model("gpt2"), seed=0)
    assert str(told.value) == line


def test_one_mask_is_drawn_for_all_parts():
    """As loralib, which drops from the input once."""
    dropping = PAPER.model_copy(update={"dropout": 0.5}).attach(tiny.model("gpt2"), seed=0)
    layer = adapted_layers(dropping)["transformer.h.0.attn.c_attn"]
    with torch.no_grad():
        for own in layer.parts.values():
            own.lora_A.copy_(torch.eye(32)[:4])
            own.lora_B.copy_(F.pad(torch.eye(4), (0, 0, 0, 28)))
    layer.train()
    change = layer(torch.ones(64, 32)) - layer.base(torch.ones(64, 32))
    query, key, value = change.detach().split(32, dim=1)
    assert query.allclose(value, atol=1e-5) and key.abs().max() == 0
    assert 0.3 < (query[:, :4].abs() < 1e-5).float().mean() < 0.7


def test_qlora_adapts_parts_of_a_quantised_layer(tmp_path):
    method = Qlora(rank=4, targets=("c_attn.q", "c_attn.v"), learning_rate=RATE)
    model = run_training(method, tiny.model("gpt2"), tiny.rows(12), budget={"steps": 3}).model
    method.save(model, tmp_path)
    name, again = recognise(tmp_path)
    assert (name, again.targets) == ("qlora", method.targets)
    loaded = again.attach(tiny.model("gpt2"), seed=9)
    again.load(loaded, tmp_path)
    assert logits(loaded, "gpt2").equal(logits(model, "gpt2"))
    assert torch.allclose(logits(method.merged(model), "gpt2"), logits(model, "gpt2"), atol=1e-5)


@pytest.mark.parametrize("name", ["dora", "rosa", "galore", "q_galore", "apollo"])
def test_methods_of_whole_layers_refuse_parts(name):
    with pytest.raises(ConfigError, match="only lora and qlora adapt parts; name c_attn as a whole"):
        build_method(name, {"rank": 4, "targets": ("c_attn.q",)}).attach(tiny.model("gpt2"), seed=0)


def part_of_hybrid(*targets: str) -> dict:
    return {"lora": {"rank": 4, "learning_rate": RATE, "targets": targets or "all-linear"}}


HYBRIDS = {
    "sequential": [part_of_hybrid("c_attn.q"), part_of_hybrid("c_attn.q", "c_attn.v")],
    "layerwise": [part_of_hybrid("c_attn.q", "c_attn.v"), part_of_hybrid()],
}


@pytest.mark.parametrize("name", HYBRIDS)
def test_parts_are_adapted_within_hybrids(name, tmp_path):
    method = build_method(name, {"parts": HYBRIDS[name], "learning_rate": RATE})
    model = run_training(method, tiny.model("gpt2"), tiny.rows(12), budget={"steps": 4}).model
    before, merged = tiny.model("gpt2"), method.merged(model)
    for index in range(2):
        old, new = (each.transformer.h[index].attn.c_attn.weight.detach() for each in (before, merged))
        query, key, value = (new - old).split(32, dim=1)
        assert query.abs().max() > 1e-4 and value.abs().max() > 1e-4 and key.abs().max() == 0
    method.save(model, tmp_path)
    loaded = method.attach(tiny.model("gpt2"), seed=9)
    method.load(loaded, tmp_path)
    assert torch.allclose(logits(loaded, "gpt2"), logits(model, "gpt2"), atol=1e-6)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    method = PAPER.model_copy(update={"dropout": 0.1, "ranks": {"c_attn.v": 6}})
    settings = {"budget": {"steps": 8}, "checkpoint": {"seconds": 0}}
    whole = run_training(method, tiny.model("gpt2"), tiny.rows(18), folder=tmp_path / "whole", **settings)
    records = Records()
    with pytest.raises(Stopped):
        run_training(
            method,
            tiny.model("gpt2"),
            tiny.rows(18),
            folder=tmp_path / "cut",
            records=records,
            stop_after=5,
            **settings,
        )
    again = run_training(
        method, tiny.model("gpt2"), tiny.rows(18), folder=tmp_path / "cut", records=records, **settings
    )
    assert again.records.losses == whole.records.losses
    for name, value in trained_values(whole.model).items():
        assert value.equal(again.model.get_parameter(name)), name
