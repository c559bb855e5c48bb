"""fp16 with a loss scale: torch's rule, gradients as in fp32, steps that overflow left out and counted."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from training_harness import Records, Stopped, make_session, run_training
from tunelab import catalogue
from tunelab.backends.torch.session import TorchSession
from tunelab.errors import Diverged
from tunelab.kernels.adapted_linear import adapted_layers
from tunelab.kernels.linear_cross_entropy import linear_cross_entropy
from tunelab.methods.galore import Galore
from tunelab.methods.lora import Lora
from tunelab.methods.peft_any import PeftAny
from tunelab.methods.q_galore import QGalore
from tunelab.methods.rosa import Rosa
from tunelab.study.executing.outcome import step_notes
from tunelab.study.planning.plan import build_method
from tunelab.training.narrow import loss_scale
from tunelab.training.narrow.loss_scale import LossScale
from tunelab.training.step import run_order, take_step

METHODS = [name for name in catalogue.names("methods") if catalogue.load("methods", name).trains]
RATE = 1e-2


def build(name: str) -> Any:
    return build_method(name, {"learning_rate": RATE, **catalogue.load("methods", name).example()})


def trained(method: Any, kind: str = "llama", *, precision: str = "fp16", **changes: Any) -> Any:
    rows = tiny.rows(18, pairs=kind == "t5")
    return run_training(method, tiny.model(kind), rows, precision=precision, **{"budget": {"steps": 8}, **changes})


def test_the_scale_moves_as_torchs_grad_scaler_does(monkeypatch):
    monkeypatch.setattr(loss_scale, "INTERVAL", 3)
    scaler = torch.amp.GradScaler("cpu", growth_interval=3)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer, ours = torch.optim.SGD([weight], lr=0.1), LossScale()
    overflows = np.random.default_rng(0).random(200) < 0.2
    assert (loss_scale.GROWTH, loss_scale.BACKOFF) == (scaler.get_growth_factor(), scaler.get_backoff_factor())
    assert torch.amp.GradScaler("cpu").get_growth_interval() == 2000
    for overflowed in overflows.tolist():
        assert ours.value == scaler.get_scale() or scaler._scale is None
        scaler.scale(torch.ones(1))
        weight.grad = torch.full((1,), math.inf if overflowed else 1.0)
        scaler.step(optimizer)
        scaler.update()
        ours.step(overflowed=overflowed)
    assert ours.value == scaler.get_scale() and overflows.any()
    assert LossScale().value == torch.amp.GradScaler("cpu").get_scale() == 2.0**16


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_what_it_learns_in_fp32(name, kind):
    narrow, wide = trained(build(name), kind), trained(build(name), kind, precision="fp32")
    assert narrow.records.losses[0] == pytest.approx(wide.records.losses[0], rel=2e-3)
    skipped = sum(record.grad_norm is None for record in narrow.records.steps)
    assert skipped == 0 or name == "peft_any"
    if not skipped:
        assert [record.loss_scale for record in narrow.records.steps] == [2.0**16] * 8
        assert narrow.records.losses == pytest.approx(wide.records.losses, rel=0.05)
        norms = [record.grad_norm for record in wide.records.steps[:2]]
        assert [record.grad_norm for record in narrow.records.steps[:2]] == pytest.approx(norms, rel=0.03)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_those_of_fp32_once_they_are_unscaled(name):
    """What the norm, the clip and the update see. Projections that are found turn by rounding: random ones here."""
    found = []
    for precision in ("fp16", "fp32"):
        session = make_session(build(name), tiny.model("llama"), precision=precision)
        rows = run_order(session.run, tiny.rows(18))
        seen: list[torch.Tensor] = []

        def kept(session=session, seen=seen, **settings: Any) -> None:
            seen.extend(gradient.flatten().clone() for gradient in session.updater.gradients())

        session.update = kept
        while not seen:  # RandLora's overflow at the first scale
            take_step(session, session.run, rows, 1, peak=RATE)
        found.append(torch.cat(seen))
    assert found[1].norm() > 0
    assert (found[0] - found[1]).norm() <= 0.02 * found[1].norm()


def overflowing(monkeypatch: pytest.MonkeyPatch, *, first: float = 2.0**40, interval: int = 2) -> None:
    """The first steps overflow; then the scale grows back to where they do, again and again."""
    monkeypatch.setattr(loss_scale, "INITIAL", first)
    monkeypatch.setattr(loss_scale, "INTERVAL", interval)


FOUND = {
    "galore": Galore(rank=8, update_gap=2, learning_rate=RATE),
    "galore svd 8 bit": Galore(rank=8, update_gap=2, learning_rate=RATE, projector="svd", optimizer="adamw8bit"),
    "q_galore": QGalore(rank=8, update_gap=2, learning_rate=RATE),
    "adalora": PeftAny(
        type="ADALORA", init_r=6, target_r=2, tinit=1, tfinal=1, deltaT=1, total_step=60, learning_rate=RATE
    ),
}


@pytest.mark.parametrize("max_tokens", [4096, 64])
@pytest.mark.parametrize("name", [*METHODS, *FOUND])
def test_a_step_that_overflows_changes_nothing_and_the_next_ones_learn(name, max_tokens, monkeypatch):
    overflowing(monkeypatch)
    method = FOUND.get(name) or build(name)
    session = make_session(
        method, tiny.model("llama"), precision="fp16", batch={"examples": 6, "max_tokens": max_tokens}
    )
    order = run_order(session.run, tiny.rows(18))
    before = {key: value.clone() for key, value in session.model.state_dict().items()}
    skipped = 0
    while (taken := take_step(session, session.run, order, 1 + skipped, peak=RATE)).grad_norm is None:
        skipped += 1
        assert session.loss_scale == taken.loss_scale / 2
        now = session.model.state_dict()
        assert all(value.equal(before[key]) for key, value in now.items()), f"step {skipped} moved something"
        assert session.updater.gradients() == []
        assert math.isfinite(taken.loss)
    assert skipped >= 3 and session.loss_scale == taken.loss_scale
    moved = [key for key, value in session.model.state_dict().items() if not value.equal(before[key])]
    assert moved, "the first good step trained nothing"
    assert all(value.isfinite().all() for value in session.model.state_dict().values())


@pytest.mark.slow
@pytest.mark.parametrize("stop", [2, 9, 12])
@pytest.mark.parametrize(
    "name", ["full", "lora", "rosa", "lisa", "galore", "q_galore", "adalora", "layerwise", "sequential"]
)
def test_resumed_equals_not_stopped_bit_for_bit(name, stop, tmp_path, monkeypatch):
    """Among steps that are skipped, and where the scale has grown again."""
    overflowing(monkeypatch, first=2.0**36)
    method = FOUND.get(name) or build(name)
    settings = {"checkpoint": {"seconds": 0}, "budget": {"steps": 16}}
    whole = trained(method, folder=tmp_path / "whole", **settings)
    records = Records()
    with pytest.raises(Stopped):
        trained(method, folder=tmp_path / "cut", records=records, stop_after=stop, **settings)
    resumed = trained(method, folder=tmp_path / "cut", records=records, **settings)
    kept = [
        [record.model_dump(exclude={"seconds", "tokens_per_second"}) for record in run.records.steps]
        for run in (resumed, whole)
    ]
    assert kept[0] == kept[1]
    assert sum(record["grad_norm"] is None for record in kept[0]) > 3
    assert len({record["loss_scale"] for record in kept[0]}) > 3
    theirs = whole.model.state_dict()
    assert all(value.equal(theirs[key]) for key, value in resumed.model.state_dict().items())


def test_skipped_steps_are_recorded_and_said(monkeypatch):
    overflowing(monkeypatch, interval=2000)
    done = trained(Lora(rank=4, learning_rate=RATE), budget={"steps": 40})
    steps = done.records.steps
    skipped = [record.step for record in steps if record.grad_norm is None]
    assert skipped[:20] == list(range(1, 21)) and len(skipped) < 30
    line = json.loads(steps[0].model_dump_json(exclude_none=True))
    assert "grad_norm" not in line and line["loss_scale"] == 2.0**40
    (note,) = step_notes(done.session.run, steps)
    assert note.startswith(f"fp16: {len(skipped)} of 40 steps were skipped (1, 2, 3, 4, 5, 6, 7, 8, ...)")
    assert note.endswith(f"the scale was {2.0 ** (40 - len(skipped)):g} at the end")
    wide = trained(Lora(rank=4, learning_rate=RATE), precision="fp32")
    assert step_notes(wide.session.run, wide.records.steps) == []
    assert "loss_scale" not in wide.records.steps[0].model_dump_json(exclude_none=True)


def test_below_the_lowest_scale_the_run_has_diverged():
    session = make_session(Lora(rank=4, learning_rate=RATE), tiny.model("llama"), precision="fp16")
    order = run_order(session.run, tiny.rows(6))
    layer = next(iter(adapted_layers(session.model).values()))
    layer.lora_A.register_hook(lambda gradient: gradient * math.inf)
    taken = [take_step(session, session.run, order, number, peak=RATE) for number in range(1, 17)]
    assert all(step.grad_norm is None for step in taken) and session.loss_scale == 1.0
    with pytest.raises(Diverged, match=r"step 17: loss \d.*with the loss scale at its lowest, 1; the run diverged"):
        take_step(session, session.run, order, 17, peak=RATE)


def test_a_loss_that_is_not_finite_is_no_matter_of_the_scale():
    model = tiny.model("llama")
    with torch.no_grad():
        model.lm_head.weight.mul_(1e6)
    session = make_session(Lora(rank=4, learning_rate=RATE), model, precision="fp16")
    with pytest.raises(Diverged, match=r"larger than fp16 holds \(65,504\), which precision fp32 or bf16 do"):
        take_step(session, session.run, run_order(session.run, tiny.rows(6)), 1, peak=RATE)


@pytest.mark.parametrize("scale", [1.0, 2.0**16])
def test_the_heads_gradients_are_scaled_before_they_are_rounded(scale):
    """With 50,000 words most entries of softmax - onehot are below fp16's smallest number over the tokens of a step."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(8, 16, generator=generator), 0.1 * torch.randn(50_000, 16, generator=generator)
    target, tokens, gradients = torch.arange(8), 4000, []
    for narrow in (True, False):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        factor = scale / tokens if narrow else 1.0
        with torch.autocast("cpu", torch.float16, enabled=narrow):
            loss = linear_cross_entropy(h, w, None, target, gradient_factor=factor)
        (loss * scale / tokens).backward()
        gradients.append([h.grad / scale, w.grad[8:] / scale])
    errors = [float((a - b).norm() / b.norm()) for a, b in zip(*gradients, strict=True)]
    if scale > 1:
        assert max(errors) < 5e-3, errors
    else:
        assert errors[1] > 0.5, "without a scale they are lost: this test sees nothing"


def test_rosa_chooses_the_positions_that_fp32_does():
    """The scale is settled before gradients are collected, as they cannot be left out afterwards."""
    chosen = []
    for precision, first in (("fp16", 2.0**40), ("fp32", 2.0**16)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loss_scale, "INITIAL", first)
            method = Rosa(rank=4, density=0.05, learning_rate=RATE, warmup_steps=0)
            session = make_session(method, tiny.model("llama"), precision=precision)
            method.prepare(session, run_order(session.run, tiny.rows(18)), session.run)
            layers = adapted_layers(session.model)
            chosen.append({(name, int(place)) for name, layer in layers.items() for place in layer.sparse_index})
            if precision == "fp16":
                assert session.loss_scale == first, "what was tried is forgotten before step 1"
    assert len(chosen[0] & chosen[1]) >= 0.98 * len(chosen[1])


def test_rosa_says_how_many_warm_up_steps_were_skipped(monkeypatch):
    overflowing(monkeypatch)
    method = Rosa(rank=4, density=0.05, learning_rate=RATE, warmup_steps=4)
    session = make_session(method, tiny.model("llama"), precision="fp16")
    method.prepare(session, run_order(session.run, tiny.rows(18)), session.run)
    assert session.notes == ["fp16: 4 of 4 warm-up steps overflowed and were skipped"]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_evaluation_and_texts_are_those_of_fp32_up_to_rounding(kind):
    found = []
    prompts = [row.ids[:6] for row in tiny.rows(5, seed=3)]
    for precision in ("fp16", "fp32"):
        done = trained(Lora(rank=4, learning_rate=RATE), kind, precision=precision, budget={"steps": 4})
        session: TorchSession = done.session
        assert session.fast and session.plain_head
        batch = tiny.rows(9, seed=5, pairs=kind == "t5")
        from tunelab.records import Batch

        losses = [loss.loss_sum for loss in session.evaluate([Batch(tuple(batch))])]
        settings = session.run.generation.model_copy(update={"max_new_tokens": 8})
        texts = session.generate(prompts, settings, progress=lambda decoded: None)
        assert all(parameter.dtype == torch.float32 for parameter in session.plain_model().parameters())
        found.append((losses, texts))
    assert found[0][0] == pytest.approx(found[1][0], rel=0.02)
    assert len(found[0][1]) == 5


def test_frozen_matrices_are_held_in_fp16_and_what_is_trained_in_fp32():
    session = make_session(Lora(rank=4), tiny.model("llama"), precision="fp16")
    kinds = {(p.requires_grad, p.ndim >= 2): p.dtype for p in session.model.parameters()}
    assert kinds == {(False, True): torch.float16, (False, False): torch.float32, (True, True): torch.float32}
