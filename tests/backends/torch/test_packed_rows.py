"""Packed documents against each document alone: logits, losses, gradients, and what happens where they disagree."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, BloomConfig

import tiny
import tunelab
from training_harness import make_session
from tunelab.data.tokens.encoded import Encoded
from tunelab.data.tokens.overlong import windows
from tunelab.data.tokens.packing import Packer, documents
from tunelab.methods.full import Full
from tunelab.records import Batch, TokenRow
from tunelab.study.executing.verified import verified_rows

KNOWN = [json.loads(path.read_text()) for path in Path(tunelab.__file__).parent.glob("models/known/*.json")]
CAUSAL = {facts["model_type"]: facts for facts in KNOWN if not facts.get("is_encoder_decoder")}
WIDTHS = dict(hidden_size=32, n_embd=32, intermediate_size=64, head_dim=8, query_pre_attn_scalar=8)
COUNTS = dict(num_hidden_layers=3, n_layer=3, num_attention_heads=4, n_head=4, num_key_value_heads=2)
REST = dict(vocab_size=tiny.VOCABULARY, sliding_window=8, sliding_window_pattern=2)


def toy(family: str):
    facts = {
        key: value for key, value in CAUSAL[family].items() if key not in ("layer_types", "architectures", "dtype")
    }
    changes = {**WIDTHS, **COUNTS, **REST}
    facts |= {key: value for key, value in changes.items() if key in facts or key == "sliding_window_pattern"}
    facts |= {key: 1 for key in facts if key.endswith("token_id")}
    del facts["model_type"]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **facts)).float().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def texts(count: int = 12, longest: int = 30) -> list[TokenRow]:
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        ids = np.append(generator.integers(2, tiny.VOCABULARY, size=generator.integers(2, longest)), 1)
        rows.append(TokenRow(number, ids.astype(np.int32), np.arange(len(ids)) > 0))
    return rows


def packed(rows: list[TokenRow], max_length: int = 50) -> list[TokenRow]:
    packer = Packer(max_length)
    return [*(full for row in rows for full in packer.add(row)), *packer.rest()]


def alone(rows: list[TokenRow]) -> list[TokenRow]:
    pieces = [piece for row in rows for piece in documents(row)]
    return [piece._replace(example=number) for number, piece in enumerate(pieces)]


def logits(session, rows: list[TokenRow]) -> torch.Tensor:
    with torch.no_grad():
        return session._reference_logits(session._collate(Batch(tuple(rows))))


@pytest.mark.parametrize("family", sorted(CAUSAL))
def test_packed_logits_equal_those_of_each_document_alone(family):
    session, rows = make_session(Full(), toy(family)), packed(texts())
    assert len(rows[0].starts) > 1
    together = logits(session, [*rows, alone(rows)[0]])
    each = torch.cat([logits(session, [row]) for row in [*alone(rows), alone(rows)[0]]])
    assert together.shape == each.shape and (together - each).abs().max() < 1e-5
    session.verify(verified_rows(rows))
    assert session.packs and session.fast and session.notes == []


def test_the_sliding_window_of_gemma_is_shorter_than_a_document_and_mixed_with_full_attention():
    config = toy("gemma3_text").config
    assert config.sliding_window < max(len(row.ids) for row in texts())
    assert {"sliding_attention", "full_attention"} == set(config.layer_types)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_step_of_packed_rows_has_the_loss_and_gradients_of_the_documents(family):
    found = []
    whole = texts()
    short = packed(whole, max_length=sum(len(row.ids) for row in whole))
    assert len(short) == 1, "no document is cut"
    for rows in (short, whole):
        session = make_session(Full(), toy(family))
        batch = Batch(tuple(rows))
        session.verify(verified_rows(rows))
        loss = float(session.accumulate(batch, denominator=batch.num_supervised, last=True))
        gradient = torch.cat([p.grad.flatten() for p in session.model.parameters() if p.grad is not None])
        found.append((loss, batch.num_supervised, gradient))
    assert found[0][:2] == pytest.approx(found[1][:2], rel=1e-6)
    assert (found[0][2] - found[1][2]).norm() < 1e-5 * found[1][2].norm()


def forgetful():
    """A model that takes positions and does not use them."""
    model = toy("llama")
    forward = model.forward

    def without(input_ids=None, attention_mask=None, position_ids=None, **rest):
        return forward(input_ids=input_ids, attention_mask=attention_mask, **rest)

    model.forward = without
    return model


def without_positions():
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, n_layer=2, n_head=4, vocab_size=tiny.VOCABULARY)
    return AutoModelForCausalLM.from_config(BloomConfig(**sizes, pad_token_id=0, eos_token_id=1)).eval()


@pytest.mark.parametrize("made", [without_positions, forgetful])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_architecture_that_mixes_documents_is_noticed_and_computes_them_apart(made, precision):
    session, rows = make_session(Full(), made(), precision=precision), packed(texts())
    session.verify(verified_rows(rows))
    assert not session.packs and session.fast
    assert len(session.notes) == 1 and "computed as a row of its own" in session.notes[0]
    losses = session.evaluate([Batch((row._replace(example=number),)) for number, row in enumerate(rows)])
    each = session.evaluate([Batch((row,)) for row in alone(rows)])
    total, expected = (sum(loss.loss_sum for loss in some) for some in (losses, each))
    assert total == pytest.approx(expected, rel=1e-5 if precision == "fp32" else 1e-2)
    assert [loss.num_tokens for loss in losses] == [row.num_supervised for row in rows]


def test_rows_with_nothing_to_compare_are_not_chosen_for_it():
    empty = TokenRow(0, np.array([1], dtype=np.int32), np.array([False]))
    assert all(row.num_supervised for row in verified_rows([empty, *tiny.rows(3), empty]).rows)
    session = make_session(Full(), toy("llama"))
    assert [loss.num_tokens for loss in session.evaluate([Batch((empty,))])] == [0]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_long_document_s_loss_equals_a_per_token_reference(family):
    """Every token given what stands before it in the window where it is first seen, one forward pass each."""
    model, length = toy(family), 16
    ids = np.random.default_rng(1).integers(2, tiny.VOCABULARY, size=45).astype(np.int32)
    encoded = Encoded([], ids, np.ones(45, dtype=bool), 0)
    rows = windows(encoded, 0, max_length=length)
    (loss,) = make_session(Full(), model).evaluate([Batch((row,)) for row in rows])
    expected = 0.0
    for place in range(1, 45):
        window = 0 if place < length else (place - length) // (length // 2) + 1
        context = torch.from_numpy(ids[window * (length // 2) : place].astype(np.int64))[None]
        with torch.no_grad():
            expected -= model(context).logits[0, -1].double().log_softmax(-1)[ids[place]].item()
    assert loss.num_tokens == 44
    assert loss.loss_sum == pytest.approx(expected, rel=1e-6)
