"""LoRA against PEFT: the same starting values, losses over 20 steps, and each one's saved adapter in the other."""

import math

import peft
import pytest
import torch
from torch.nn import functional as F

import tiny
from training_harness import run_training
from tunelab.data.tokens.batching import Order
from tunelab.methods.lora import Lora

TARGETS = {"llama": ("q_proj", "v_proj", "down_proj"), "gpt2": ("c_attn", "c_proj"), "t5": ("q", "v", "wo")}
STEPS, RATE = 20, 1e-2


def peft_model(kind: str, method: Lora):
    config = peft.LoraConfig(
        r=method.rank,
        lora_alpha=method.alpha,
        target_modules=list(method.targets),
        lora_dropout=0.0,
        fan_in_fan_out=kind == "gpt2",
        task_type="SEQ_2_SEQ_LM" if kind == "t5" else "CAUSAL_LM",
    )
    return peft.get_peft_model(tiny.model(kind), config)


def copy_start(reference, ours) -> None:
    """Our initial values into PEFT's adapter."""
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if parameter.requires_grad:
                module, half = name.rsplit(".", 1)
                reference.get_submodule(f"base_model.model.{module}.{half}.default").weight.copy_(parameter)


def peft_losses(kind: str, method: Lora, rows: list) -> list[float]:
    """A loop that shares nothing with ours: padded labels, the model's own logits, torch's plain AdamW."""
    reference = peft_model(kind, method)
    copy_start(reference, method.attach(tiny.model(kind), seed=0))
    optimizer = torch.optim.AdamW(reference.parameters(), lr=RATE, weight_decay=0.0, foreach=False)
    order = Order(rows, seed=0, examples=6, budget=tiny.run_config(budget={"steps": STEPS}).budget)
    losses = []
    for step in range(1, STEPS + 1):
        loss = reference_loss(reference, order.step(step), pairs=kind == "t5")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def reference_loss(model, rows: list, *, pairs: bool) -> torch.Tensor:
    total, count = 0.0, 0
    for row in rows:  # one by one: no padding at all
        ids = torch.tensor(row.ids, dtype=torch.long)[None]
        if pairs:
            start = torch.cat([torch.zeros(1, 1, dtype=torch.long), ids[:, :-1]], dim=1)
            source = torch.tensor(row.source, dtype=torch.long)[None]
            logits = model(input_ids=source, decoder_input_ids=start).logits[0]
        else:
            logits = model(input_ids=ids).logits[0, :-1]
            ids = ids[:, 1:]
        keep = torch.tensor(row.supervised if pairs else row.supervised[1:])
        total = total + F.cross_entropy(logits[keep], ids[0][keep], reduction="sum")
        count += int(keep.sum())
    return total / count


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(TARGETS))
def test_losses_equal_pefts(kind):
    method = Lora(rank=4, alpha=8.0, targets=TARGETS[kind], learning_rate=RATE)
    rows = tiny.rows(18, pairs=kind == "t5")
    ours = run_training(method, tiny.model(kind), rows, budget={"steps": STEPS}).records.losses
    theirs = peft_losses(kind, method, rows)
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 1e-5
    assert ours[-1] < ours[0]


def logits(model, kind: str) -> torch.Tensor:
    ids = torch.arange(2, 14).reshape(2, 6)
    extra = {"decoder_input_ids": ids} if kind == "t5" else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **extra).logits


@pytest.mark.parametrize("targets", ["all-linear", "attention", "named"])
@pytest.mark.parametrize("kind", list(TARGETS))
def test_our_adapter_loads_in_peft(kind, targets, tmp_path):
    wanted = TARGETS[kind] if targets == "named" else targets
    method = Lora(rank=4, alpha=8.0, targets=wanted, learning_rate=RATE)
    rows = tiny.rows(18, pairs=kind == "t5")
    model = run_training(method, tiny.model(kind), rows, budget={"steps": 3}).model
    method.save(model, tmp_path)
    loaded = peft.PeftModel.from_pretrained(tiny.model(kind), tmp_path)
    assert torch.allclose(logits(model, kind), logits(loaded, kind), atol=1e-6)
    untuned = logits(tiny.model(kind), kind)
    assert not torch.allclose(logits(loaded, kind), untuned, atol=1e-4), "the adapter changed nothing"


@pytest.mark.parametrize("kind", list(TARGETS))
def test_pefts_adapter_loads_in_ours(kind, tmp_path):
    method = Lora(rank=4, alpha=8.0, targets=TARGETS[kind])
    reference = peft_model(kind, method)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    reference.save_pretrained(tmp_path)
    ours = method.attach(tiny.model(kind), seed=9)
    method.load(ours, tmp_path)
    assert torch.allclose(logits(ours, kind), logits(reference, kind), atol=1e-6)


def test_initial_values_have_the_published_spread():
    """PEFT and microsoft/LoRA draw A by kaiming_uniform(a=sqrt(5)): uniform in +-1/sqrt(inputs); B is zero."""
    model = Lora(rank=8).attach(tiny.model("llama", hidden_size=64), seed=0)
    layer = model.model.layers[0].self_attn.q_proj
    bound = 1 / math.sqrt(64)
    assert layer.lora_A.abs().max() <= bound
    assert layer.lora_A.detach().std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert layer.lora_B.abs().max() == 0
