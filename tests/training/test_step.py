"""A step that memory runs out for begins again in smaller micro-batches; a step waits for its device once."""

import sys
from functools import partial
from typing import Any

import pytest
import torch

import tiny
from training_harness import Records, Stopped, make_session, run_training
from tunelab.backends.torch.session import TorchSession
from tunelab.errors import RunError
from tunelab.methods.apollo import Apollo
from tunelab.methods.full import Full
from tunelab.methods.galore import Galore
from tunelab.methods.lisa import Lisa
from tunelab.methods.lora import Lora
from tunelab.methods.peft_any import PeftAny
from tunelab.methods.q_galore import QGalore
from tunelab.methods.rosa import Rosa
from tunelab.study.executing.outcome import step_notes
from tunelab.study.planning.plan import build_method
from tunelab.training.step import run_order, take_step

RATE = 1e-2
GALORE = {"rank": 8, "update_gap": 2, "learning_rate": RATE}
ADALORA = {"init_r": 6, "target_r": 2, "tinit": 1, "tfinal": 1, "deltaT": 1, "learning_rate": RATE}
METHODS: dict[str, Any] = {
    "full": Full(learning_rate=RATE),
    "lora": Lora(rank=4, learning_rate=RATE),
    "rosa": Rosa(rank=4, density=0.05, learning_rate=RATE, warmup_steps=2),
    "galore": Galore(**GALORE),
    "galore svd": Galore(**GALORE, projector="svd"),
    "galore random, 8 bits": Galore(**GALORE, projector="random", optimizer="adamw8bit"),
    "q_galore": QGalore(**GALORE, projector="random"),
    "apollo": Apollo(rank=8, update_gap=2, learning_rate=RATE),
    "lisa": Lisa(layers=1, period=1, learning_rate=RATE),
    "adalora": PeftAny(type="ADALORA", **ADALORA),
    "layerwise": build_method(
        "layerwise", {"learning_rate": RATE, "parts": [{"galore": {"rank": 8}}, {"lisa": {"layers": 1, "period": 1}}]}
    ),
}
SETTINGS = {"batch": {"examples": 24, "max_tokens": 800}, "budget": {"steps": 4}}
MOST = 200
"""Tokens of a micro-batch that fit, padding counted where there is any."""


def short_of_memory(session: TorchSession, *, most: int = MOST, error: type[Exception] = RuntimeError) -> TorchSession:
    """A session on a device that computes micro-batches of at most so many tokens: of a larger one memory runs
    out in the middle of the backward pass, when some gradients are there."""
    parameters = [parameter for parameter in session.model.parameters() if parameter.requires_grad]
    accumulate = session.accumulate

    def limited(batch: Any, *, denominator: float, last: bool) -> Any:
        lengths = [row.num_tokens for row in batch.rows]
        size = max(lengths) * len(lengths) if session.pads else sum(lengths)
        seen = []

        def hook(gradient: torch.Tensor) -> None:
            seen.append(1)
            if len(seen) > 3:
                raise error("CUDA out of memory. Tried to allocate 20.00 MiB")

        handles = [each.register_hook(hook) for each in parameters if each.requires_grad] if size > most else []
        try:
            return accumulate(batch, denominator=denominator, last=last)
        finally:
            for handle in handles:
                handle.remove()

    session.accumulate = limited
    return session


def trained(method: Any, kind: str = "llama", *, over: Any = lambda session: session, **changes: Any) -> Any:
    rows = tiny.rows(24, pairs=kind == "t5")
    return run_training(method, tiny.model(kind), rows, over=over, **{**SETTINGS, **changes})


@pytest.mark.parametrize("name", METHODS)
def test_the_step_begins_again_in_halves_and_learns_the_same(name):
    """Weights after four steps; where rounding turns a basis that is found, what it stands for is compared."""
    whole, cut = trained(METHODS[name]), trained(METHODS[name], over=short_of_memory)
    assert [record.max_tokens for record in cut.records.steps] == [200] * 4
    assert [record.max_tokens for record in whole.records.steps] == [None] * 4
    assert cut.records.losses == pytest.approx(whole.records.losses, abs=2e-5 if "8 bits" not in name else 1e-3)
    norms = [record.grad_norm for record in whole.records.steps]
    assert [record.grad_norm for record in cut.records.steps] == pytest.approx(norms, rel=2e-3)
    assert [record.num_tokens for record in cut.records.steps] == [r.num_tokens for r in whole.records.steps]


def test_nothing_of_the_failed_pass_is_left_in_the_gradients():
    session = short_of_memory(make_session(Full(learning_rate=RATE), tiny.model("llama"), **SETTINGS), most=60)
    other = make_session(Full(learning_rate=RATE), tiny.model("llama"), **SETTINGS)
    rows = tiny.rows(24)
    found = []
    for each in (session, other):
        gradients: list[torch.Tensor] = []

        def kept(each=each, gradients=gradients, **settings: Any) -> None:
            gradients.extend(parameter.grad.clone() for parameter in each.model.parameters())

        each.update = kept
        take_step(each, each.run, run_order(each.run, rows), 1, peak=RATE)
        found.append(torch.cat([gradient.flatten() for gradient in gradients]))
    assert session.most_tokens is not None and other.most_tokens is None
    assert (found[0] - found[1]).norm() <= 1e-6 * found[1].norm()


def test_it_is_said_once_with_what_fits():
    cut = trained(METHODS["lora"], over=short_of_memory)
    notes = step_notes(cut.session.run, cut.records.steps)
    assert notes == [
        "memory ran out: micro-batches of at most 200 from step 1, not 800 tokens; the same gradients up to the "
        "order of sums"
    ]
    assert step_notes(cut.session.run, trained(METHODS["lora"]).records.steps) == []


def test_one_row_that_does_not_fit_is_an_error_with_the_way_out():
    with pytest.raises(RunError, match=r"while one row of \d+ tokens was trained; lower batch.max_length"):
        trained(METHODS["lora"], over=partial(short_of_memory, most=5), batch={"examples": 24, "max_tokens": 100})


def test_another_error_is_not_tried_again():
    def broken(session: TorchSession) -> TorchSession:
        def accumulate(*arguments: Any, **options: Any) -> None:
            raise RuntimeError("shape mismatch")

        session.accumulate = accumulate
        return session

    with pytest.raises(RuntimeError, match="shape mismatch"):
        trained(METHODS["lora"], over=broken)


def test_memory_that_runs_out_in_the_update_is_said_as_that():
    def broken(session: TorchSession) -> TorchSession:
        def update(**settings: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        session.updater.update = update
        return session

    with pytest.raises(RunError, match="while the optimizer moved the weights: smaller batches do not help"):
        trained(METHODS["full"], over=broken)


def test_a_resumed_run_goes_on_with_the_smaller_micro_batches(tmp_path):
    settings = {"folder": tmp_path / "cut", "checkpoint": {"seconds": 0}}
    with pytest.raises(Stopped):
        trained(METHODS["galore"], over=short_of_memory, stop_after=3, records=Records(), **settings)
    resumed = trained(METHODS["galore"], **settings)  # on a device with more memory
    whole = trained(METHODS["galore"], over=short_of_memory, folder=tmp_path / "whole", checkpoint={"seconds": 0})
    assert [record.max_tokens for record in resumed.records.steps] == [200] * 2
    assert resumed.records.losses == whole.records.losses[2:]
    for (key, one), (_, other) in zip(
        resumed.model.state_dict().items(), whole.model.state_dict().items(), strict=True
    ):
        assert one.equal(other), key


def test_a_step_reads_its_device_after_its_last_micro_batch(monkeypatch):
    """Every way in which a number leaves a tensor waits for a GPU: there is none before the gradient norm but for
    transformers', which looks at the positions of each forward pass for packed rows."""
    session, waits = make_session(METHODS["lora"], tiny.model("llama"), batch={"examples": 24, "max_tokens": 64}), []
    rows = tiny.rows(24)
    for name in ("item", "tolist", "__float__", "__int__", "__bool__", "numpy"):
        real = getattr(torch.Tensor, name)

        def counted(self: torch.Tensor, *arguments: Any, real: Any = real, name: str = name, **options: Any) -> Any:
            if "transformers" not in sys._getframe(1).f_code.co_filename:
                waits.append(name)
            return real(self, *arguments, **options)

        monkeypatch.setattr(torch.Tensor, name, counted)
    gradient_norm = session.gradient_norm

    def norm() -> float:
        assert not waits, "a micro-batch waited for its device"
        return gradient_norm()

    session.gradient_norm = norm
    take_step(session, session.run, run_order(session.run, rows), 1, peak=RATE)
    assert waits == ["__float__", "__float__"], "the norm, and the loss that is there by then"
