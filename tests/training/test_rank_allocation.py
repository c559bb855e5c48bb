"""AdaLoRA through the shared loop: the same losses and ranks as PEFT driven by hand, resumed bit for bit."""

import peft
import pytest
import torch

import tiny
from parity.test_lora import logits, reference_loss
from training_harness import Records, Stopped, make_session, run_training
from tunelab.data.tokens.batching import Order
from tunelab.errors import ConfigError
from tunelab.methods.peft_any import PeftAny
from tunelab.models import peft_tuners

STEPS, RATE = 14, 2e-2
OPTIONS = {"init_r": 6, "target_r": 2, "tinit": 2, "tfinal": 4, "deltaT": 2}


def method(**changes) -> PeftAny:
    return PeftAny(**{"type": "ADALORA", "learning_rate": RATE, "total_step": STEPS, **OPTIONS, **changes})


def kept_ranks(model) -> list[int]:
    """Singular values that are not masked, a layer each."""
    values = [value for name, value in model.named_parameters() if ".lora_E." in name]
    return [int((value != 0).sum()) for value in values]


@pytest.mark.slow
def test_losses_and_ranks_equal_pefts():
    rows = tiny.rows(18)
    trained = run_training(method(), tiny.model("llama"), rows, budget={"steps": STEPS})
    start = peft_tuners.wrapper_of(method().attach(tiny.model("llama"), seed=0))
    config = peft.AdaLoraConfig(
        target_modules=sorted(start.peft_config["default"].target_modules), total_step=STEPS, task_type="CAUSAL_LM",
        **OPTIONS,
    )  # fmt: skip
    reference = peft.get_peft_model(tiny.model("llama"), config)
    reference.load_state_dict(start.state_dict())
    optimizer = torch.optim.AdamW(reference.parameters(), lr=RATE, weight_decay=0.0, foreach=False)
    order = Order(rows, seed=0, examples=6, budget=tiny.run_config(budget={"steps": STEPS}).budget)
    losses = []
    for step in range(1, STEPS + 1):
        loss = reference_loss(reference, order.step(step), pairs=False)
        (loss + 0.5 * orthogonality(reference)).backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        optimizer.step()
        reference.base_model.update_and_allocate(step)
        optimizer.zero_grad()
        losses.append(loss.item())
    assert max(abs(a - b) for a, b in zip(trained.records.losses, losses, strict=True)) < 1e-5
    assert kept_ranks(trained.model) == kept_ranks(reference)
    assert sum(kept_ranks(trained.model)) == 2 * len(kept_ranks(trained.model))
    assert len(set(kept_ranks(trained.model))) > 1, "every layer has the same rank: nothing was re-allocated"


def orthogonality(model) -> torch.Tensor:
    norms = []
    for name, factor in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            gram = factor @ factor.T if "lora_A" in name else factor.T @ factor
            norms.append(torch.linalg.norm(gram - torch.eye(gram.shape[0])))
    return sum(norms) / len(norms)


def test_the_penalty_is_the_one_that_peft_adds_to_a_loss():
    session = make_session(method(), tiny.model("llama"))
    wrapper = peft_tuners.wrapper_of(session.model)
    ids = torch.arange(2, 14).reshape(2, 6)
    with torch.no_grad():
        added = wrapper(input_ids=ids, labels=ids).loss - session.model(input_ids=ids, labels=ids).loss
    assert added.item() == pytest.approx(0.5 * session.updater.penalty().item(), abs=1e-5)
    assert added.item() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 7, 12])
def test_resumed_equals_not_stopped_bit_for_bit(stop, tmp_path):
    """Before, while and after ranks are re-allocated."""
    rows, settings = tiny.rows(20), {"checkpoint": {"seconds": 0}, "budget": {"steps": STEPS}}
    whole = run_training(method(), tiny.model("llama"), rows, folder=tmp_path / "whole", **settings)
    records, cut = Records(), tmp_path / "cut"
    with pytest.raises(Stopped):
        run_training(method(), tiny.model("llama"), rows, folder=cut, records=records, stop_after=stop, **settings)
    resumed = run_training(method(), tiny.model("llama"), rows, folder=cut, records=records, **settings)
    assert resumed.records.losses == whole.records.losses
    for (key, value), (_, other) in zip(
        whole.model.state_dict().items(), resumed.model.state_dict().items(), strict=True
    ):
        assert value.equal(other), key


def test_the_schedule_takes_the_steps_of_the_run(tmp_path):
    given = method(total_step=40).model_dump(mode="json")
    del given["total_step"]
    without = PeftAny(**given)
    session = make_session(without, tiny.model("llama"), budget={"steps": STEPS})
    order = Order(tiny.rows(18), seed=0, examples=6, budget=session.run.budget)
    without.prepare(session, order, session.run)
    assert session.optimizer()[0]["rank_allocation"]["total_step"] == STEPS
    session.save(tmp_path)
    again = make_session(without, tiny.model("llama"), budget={"steps": STEPS})
    again.load(tmp_path)
    assert again.optimizer()[0]["rank_allocation"]["total_step"] == STEPS
    short = Order(tiny.rows(18), seed=0, examples=6, budget=tiny.run_config(budget={"steps": 6}).budget)
    with pytest.raises(ConfigError, match="leave none of the run's 6 steps"):
        without.prepare(session, short, session.run)


def test_the_saved_adapter_holds_the_ranks_that_are_left(tmp_path):
    trained = run_training(method(), tiny.model("llama"), tiny.rows(18), budget={"steps": STEPS})
    method().save(trained.model, tmp_path)
    from safetensors.torch import load_file

    saved = load_file(tmp_path / "adapter_model.safetensors")
    sizes = [len(value) for name, value in saved.items() if name.endswith("lora_E")]
    assert sorted(sizes) == sorted(kept_ranks(trained.model))
    loaded = method().attach(tiny.model("llama"), seed=1)
    method().load(loaded, tmp_path)
    assert torch.allclose(logits(loaded, "llama"), logits(trained.model, "llama"), atol=1e-6)
