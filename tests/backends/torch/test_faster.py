"""The fast path's own layers and rows against the model's: what is equal, what is put back, where a fault leads to."""

import numpy as np
import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

import tiny
from training_harness import make_session
from tunelab.backends.torch import faster
from tunelab.backends.torch.faster import NAME, Faster
from tunelab.kernels import attention, documents
from tunelab.methods.full import Full
from tunelab.methods.lora import Lora
from tunelab.models import replaced_parts
from tunelab.records import Batch, TokenRow

KINDS = ["llama", "gpt2", "t5"]


def verified(model, rows, method=None, **changes):
    session = make_session(method or Full(), model, **changes)
    session.verify(Batch(tuple(rows[:2])))
    return session


def learned(session, batch):
    """Loss, gradient, and token losses by example."""
    loss = float(session.accumulate(batch, denominator=batch.num_supervised, last=True))
    gradient = torch.cat([p.grad.flatten() for p in session.model.parameters() if p.grad is not None])
    return loss, gradient, [each.loss_sum for each in session.evaluate([batch])]


@pytest.mark.parametrize("method", [Full(), Lora(rank=2)], ids=["full", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_the_step_of_the_models_own_forward(kind, method):
    rows = tiny.rows(9, pairs=kind == "t5")
    session = verified(tiny.model(kind), rows, method)
    assert session.notes == [] and session.faster and not session.pads
    other = make_session(method, tiny.model(kind))
    other.fast = False
    (loss, gradient, each), (own_loss, own_gradient, own_each) = (
        learned(one, Batch(tuple(rows))) for one in (session, other)
    )
    assert loss == pytest.approx(own_loss, rel=1e-6) and each == pytest.approx(own_each, rel=1e-6)
    assert (gradient - own_gradient).norm() <= 2e-6 * own_gradient.norm()


def test_the_models_own_layers_are_back_after_each_pass_and_after_an_error():
    session, rows = verified(tiny.model("gpt2"), tiny.rows(4)), tiny.rows(4)
    activations = [part for part in session.model.modules() if type(part).__name__ == "NewGELUActivation"]
    assert activations

    def own():
        return session.model.config._attn_implementation == "sdpa" and not any(
            "forward" in a.__dict__ for a in activations
        )

    learned(session, Batch(tuple(rows)))
    assert own()
    with pytest.raises(ZeroDivisionError), session.faster.at(None):
        assert session.model.config._attn_implementation == NAME and not own()
        raise ZeroDivisionError
    assert own()


def test_a_document_longer_than_a_window_lies_in_a_padded_row():
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, head_dim=8)
    rest = dict(num_key_value_heads=2, vocab_size=tiny.VOCABULARY, pad_token_id=0, sliding_window=8)
    windows = dict(layer_types=["sliding_attention", "full_attention", "sliding_attention"])
    model = Gemma3ForCausalLM(Gemma3TextConfig(**sizes, **rest, **windows))
    long = np.arange(2, 22).astype(np.int32)
    rows = [TokenRow(0, long[:6], np.arange(6) > 0), TokenRow(1, long[:7], np.arange(7) > 0)]
    session = verified(model, rows)
    assert session.faster.longest == 8 and not session.pads
    batch = Batch((TokenRow(0, long, np.arange(20) > 3), *rows))
    assert session._inputs(batch).groups is None and session._inputs(Batch(tuple(rows))).groups is not None
    loss, gradient, _ = learned(session, batch)
    other = make_session(Full(), model)
    other.fast = False
    session.forget()
    own_loss, own_gradient, _ = learned(other, batch)
    assert loss == pytest.approx(own_loss, rel=1e-6) and (gradient - own_gradient).norm() <= 2e-6 * own_gradient.norm()


def test_documents_that_are_not_kept_apart_are_padded(monkeypatch):
    def together(q, k, v, bias, groups, rule):
        return attention.attention(q[None], k[None], v[None], None, None, rule)[0]

    monkeypatch.setattr(faster, "document_attention", together)
    session = verified(tiny.model("llama"), tiny.rows(4))
    (note,) = session.notes
    assert note.startswith(
        "reference path: rows are padded, because documents in one row are not kept apart; they differ"
    )
    assert session.pads and session.faster is not None and session.fast and session.plain_head


def test_layers_that_compute_something_else_are_not_used(monkeypatch):
    monkeypatch.setattr(replaced_parts, "_gelu_tanh", torch.nn.functional.relu)
    session = verified(tiny.model("gpt2"), tiny.rows(4))
    (note,) = session.notes
    assert "the model's own layers, because with faster ones" in note
    assert session.pads and session.faster is None and session.fast and session.plain_head


@pytest.mark.parametrize("factor", [2.0, float("nan")])
@pytest.mark.parametrize("method", [Full(), Lora(rank=2)], ids=["full", "lora"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_wrong_gradient_is_found_where_the_logits_are_right(monkeypatch, kind, method, factor):
    gradients = documents.gradients

    def doubled(*arguments):
        return tuple(factor * gradient for gradient in gradients(*arguments))

    for kernel in (attention, documents):
        monkeypatch.setattr(kernel, "gradients", doubled)
    depth = {"num_hidden_layers": 8} if kind == "llama" else {"n_layer": 8}  # LoRA's factors: every other one is zero
    session = verified(tiny.model(kind, **depth), tiny.rows(4), method)
    (note,) = session.notes
    assert "the model's own layers" in note and "gradients differ by" in note
    assert session.faster is None and session.fast
    assert all(parameter.grad is None for parameter in session.model.parameters())


def test_dropout_of_the_models_own_is_a_function_of_the_seed():
    rows = tiny.rows(6)
    session = verified(tiny.model("gpt2", attn_pdrop=0.2), rows)
    losses = []
    for key in (1, 1, 2):
        session.seed(key)
        losses.append(float(session.accumulate(Batch(tuple(rows)), denominator=1, last=True)))
    assert session.notes == [] and losses[0] == losses[1] != losses[2]


def test_a_model_of_another_attention_has_no_row_of_several_documents():
    model = tiny.model("gpt2", activation_function="relu")
    model.set_attn_implementation("eager")
    assert Faster(model).longest == 0 and not Faster(model)
    session = verified(model, tiny.rows(4))
    assert session.pads and session.notes == []
