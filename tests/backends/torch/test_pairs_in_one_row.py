"""Encoder-decoders without padding: a step is the step of padded rows, whatever the family; who cannot is padded."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    LongT5Config,
    M2M100Config,
    MarianConfig,
    MBartConfig,
    PegasusConfig,
    UMT5Config,
)

import tiny
from training_harness import make_session
from tunelab.backends.torch import pairs_in_one_row as module
from tunelab.backends.torch.pairs_in_one_row import pairs_in_one_row
from tunelab.config.schema import Generation
from tunelab.kernels import documents
from tunelab.methods.full import Full
from tunelab.methods.lora import Lora
from tunelab.records import Batch, TokenRow

SIZES = {
    "vocab_size": tiny.VOCABULARY, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
    "max_position_embeddings": 256, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "dropout": 0.0,
    "decoder_start_token_id": 1,
}  # fmt: skip
FAMILIES = {
    "bart": BartConfig(**SIZES),
    "mbart": MBartConfig(**SIZES),
    "pegasus": PegasusConfig(**SIZES),
    "marian": MarianConfig(**SIZES),
    "umt5": UMT5Config(
        vocab_size=tiny.VOCABULARY, d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2, dropout_rate=0.0,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    ),
}  # fmt: skip


def family(name: str):
    if name == "t5":
        return tiny.model("t5")
    torch.manual_seed(0)
    return AutoModelForSeq2SeqLM.from_config(FAMILIES[name]).eval()


def row(number: int, source: int, target: int) -> TokenRow:
    drawn = np.random.default_rng(number)
    ids = [drawn.integers(2, tiny.VOCABULARY, size=size).astype(np.int32) for size in (target, source)]
    supervised = np.arange(target) != 1  # one is given
    return TokenRow(number, ids[0], supervised, ids[1])


MIXED = [row(number, *lengths) for number, lengths in enumerate([(150, 9), (16, 140), (3, 2), (5, 4), (5, 4), (1, 1)])]
"""Long ones that are computed alone, and short ones beside each other."""


def verified(model, method=None, **changes):
    session = make_session(method or Full(), model, **changes)
    session.verify(Batch(tuple(tiny.rows(2, pairs=True))))
    return session


def learned(session, rows=MIXED):
    session.forget()
    batch = Batch(tuple(rows))
    loss = float(session.accumulate(batch, denominator=batch.num_supervised, last=True))
    gradient = torch.cat([p.grad.flatten() for p in session.model.parameters() if p.grad is not None])
    return loss, gradient, [each.loss_sum for each in session.evaluate([batch])]


def are_equal(found, reference):
    assert found[0] == pytest.approx(reference[0], rel=1e-6) and found[2] == pytest.approx(reference[2], rel=1e-5)
    assert (found[1] - reference[1]).norm() <= 1e-5 * reference[1].norm()


@pytest.mark.parametrize("method", [Full(), Lora(rank=2)], ids=["full", "lora"])
@pytest.mark.parametrize("name", ["t5", *FAMILIES])
def test_a_step_is_that_of_padded_rows(name, method):
    session = verified(family(name), method)
    assert session.notes == [] and not session.pads
    assert len(session._inputs(Batch(tuple(MIXED))).forward["input_ids"]) == 1
    other = make_session(method, family(name))
    other.fast = False
    assert other._inputs(Batch(tuple(MIXED))).groups is None
    are_equal(learned(session), learned(other))


def test_rows_of_an_encoder_and_a_decoder_are_never_equally_long():
    model = tiny.model("t5")
    inputs = pairs_in_one_row(Batch((row(0, 40, 60), row(1, 24, 4))), model, pad=0)
    assert [inputs.forward[name].shape for name in ("input_ids", "decoder_input_ids")] == [(1, 64), (1, 80)]
    assert inputs.forward["decoder_input_ids"][0, [0, 60]].tolist() == [0, 0], "each target begins with the start token"
    assert inputs.groups.between(64, 64).causal is False and inputs.groups.between(80, 80).causal is True
    assert inputs.groups.between(80, 64) is inputs.groups.across and inputs.groups.between(64, 80) is None


def test_recomputed_activations_change_nothing():
    session = verified(tiny.model("t5"))
    plain = learned(session)
    session.model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    are_equal(learned(session), plain)
    assert not session.pads


def test_dropout_is_a_function_of_the_seed():
    session, losses = verified(tiny.model("t5", dropout_rate=0.2)), []
    for key in (1, 1, 2):
        session.seed(key)
        session.forget()
        losses.append(float(session.accumulate(Batch(tuple(MIXED)), denominator=1, last=True)))
    assert not session.pads and losses[0] == losses[1] != losses[2]


def test_bf16_is_verified_too():
    session = verified(tiny.model("t5"), Lora(rank=2), precision="bf16")
    assert session.notes == [] and not session.pads


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_texts_and_the_models_own_parts_are_as_before(name):
    prompts = [one.source for one in MIXED]
    session, other = verified(family(name)), make_session(Full(), family(name))
    texts = [one.generate(prompts, Generation(max_new_tokens=6), progress=lambda _: None) for one in (session, other)]
    assert texts[0] == texts[1]
    learned(session)
    assert not any({"compute_bias", "forward"} & set(part.__dict__) for part in session.model.modules())


@pytest.mark.parametrize("name", ["m2m_100", "longt5"])
def test_positions_that_cannot_be_told_are_padded_without_a_word(name):
    long = LongT5Config(**FAMILIES["umt5"].to_diff_dict() | {"model_type": "longt5", "local_radius": 4})
    config = long if name == "longt5" else M2M100Config(**SIZES)
    session = verified(AutoModelForSeq2SeqLM.from_config(config).eval())
    assert session.pads and session.notes == [] and session.fast


def test_a_long_or_an_empty_source_is_padded():
    session = verified(tiny.model("t5"))
    for batch in (Batch((row(0, 1030, 4), row(1, 3, 3))), Batch((row(0, 0, 4), row(1, 3, 3)))):
        assert session._inputs(batch).groups is None
    assert session._inputs(Batch((row(0, 1024, 4), row(1, 3, 3)))).groups is not None


@pytest.mark.parametrize("fault", ["bias of the row", "positions of the row", "gradient"])
def test_what_is_another_model_is_padded_with_one_line(fault, monkeypatch):
    if fault == "gradient":
        gradients = documents.gradients
        monkeypatch.setattr(documents, "gradients", lambda *given: tuple(2 * one for one in gradients(*given)))
    else:
        name = "_bias_of_widest" if fault == "bias of the row" else "_at_positions"
        monkeypatch.setattr(module, name, lambda own, now: own)
    session = verified(family("bart" if fault == "positions of the row" else "t5"))
    (note,) = session.notes
    assert note.startswith("reference path: rows are padded, because documents in one row are not kept apart; ")
    assert session.pads and session.faster is not None and session.plain_head
