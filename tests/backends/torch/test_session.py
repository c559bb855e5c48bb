"""Fast path against the models' own forward: head on supervised positions, padding, odd heads, likelihoods."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, CohereConfig, Gemma2Config

import tiny
from training_harness import make_session
from tunelab.config.schema import Generation
from tunelab.kernels import attention, documents, linear_cross_entropy
from tunelab.methods.full import Full
from tunelab.models.choosing import completing
from tunelab.models.inference import Prompts, generate
from tunelab.records import Batch

KINDS = ["llama", "gpt2", "t5"]


def session_for(kind: str, **changes):
    return make_session(Full(), tiny.model(kind), **changes)


@pytest.mark.parametrize("kind", KINDS)
def test_supervised_head_equals_full_logits(kind):
    session, batch = session_for(kind), Batch(tuple(tiny.rows(6, pairs=kind == "t5")))
    inputs = session._collate(batch)
    fast, reference = session._fast_logits(inputs), session._reference_logits(inputs)
    assert fast.shape == reference.shape == (batch.num_supervised, tiny.VOCABULARY)
    assert (fast - reference).abs().max() < 1e-5


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_the_head_in_blocks_gives_the_loss_and_gradients_of_full_logits(kind, smoothing, monkeypatch):
    monkeypatch.setattr(linear_cross_entropy, "BLOCK_NUMBERS", 7 * tiny.VOCABULARY)
    batch, found = Batch(tuple(tiny.rows(6, pairs=kind == "t5"))), []
    for blocks in (True, False):
        session = session_for(kind, loss={"label_smoothing": smoothing})
        session.verify(batch)
        assert session.plain_head
        session.plain_head = blocks
        loss = float(session.accumulate(batch, denominator=batch.num_supervised, last=True))
        gradient = torch.cat([p.grad.flatten() for p in session.model.parameters() if p.grad is not None])
        found.append((loss, gradient, [each.loss_sum for each in session.evaluate([batch])]))
    (loss, gradient, each), (full_loss, full_gradient, full_each) = found
    assert loss == pytest.approx(full_loss, rel=1e-6) and each == pytest.approx(full_each, rel=1e-6)
    assert (gradient - full_gradient).norm() <= 1e-6 * full_gradient.norm()


def odd_heads():
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    rest = dict(num_key_value_heads=2, vocab_size=tiny.VOCABULARY, eos_token_id=1, pad_token_id=0, bos_token_id=1)
    yield "capped", Gemma2Config(**sizes, **rest, head_dim=8, final_logit_softcapping=0.05)
    yield "hardly capped", Gemma2Config(**sizes, **rest, head_dim=8, final_logit_softcapping=30.0)
    yield "scaled", CohereConfig(**sizes, **rest, logit_scale=0.25)


@pytest.mark.parametrize(
    ("what", "config"), list(odd_heads()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_capped_and_scaled_heads_keep_their_formula(what, config):
    torch.manual_seed(0)
    session = make_session(Full(), AutoModelForCausalLM.from_config(config).eval())
    batch = Batch(tuple(tiny.rows(4)))
    session.verify(batch)
    assert session.fast and session.notes == []
    assert not session.plain_head, "what stands behind the head would be left out"
    inputs = session._collate(batch)
    plain = F.linear(session.model.model(**inputs.forward).last_hidden_state, session.model.lm_head.weight)
    plain = plain.reshape(-1, tiny.VOCABULARY)[inputs.index_S]
    least = 0.0 if what == "hardly capped" else 1e-4
    assert (plain - session._logits(inputs)).abs().max() > least, f"the {what} head is not seen by this test"


def test_a_head_that_mixes_positions_is_noticed_and_takes_the_reference_path():
    class Mixing(nn.Linear):
        def forward(self, hidden):
            return super().forward(hidden + hidden.mean(dim=1, keepdim=True))

    model = tiny.model("llama", tie_word_embeddings=False)
    mixing = Mixing(32, tiny.VOCABULARY, bias=False)
    mixing.weight = model.lm_head.weight
    model.lm_head = mixing
    session = make_session(Full(), model)
    batch = Batch(tuple(tiny.rows(4)))
    session.verify(batch)
    assert not session.fast
    assert "reference path" in session.notes[0]
    losses = session.evaluate([batch])
    inputs = session._collate(batch)
    expected = F.cross_entropy(session._reference_logits(inputs), inputs.target_S, reduction="sum")
    assert sum(loss.loss_sum for loss in losses) == pytest.approx(expected.item(), rel=1e-5)


class Leaking(nn.Linear):
    """A head whose logits have a share of the row's mean in them."""

    share = 0.0

    def forward(self, hidden):
        return super().forward(hidden + self.share * hidden.mean(dim=-2, keepdim=True))


@pytest.mark.parametrize("is_trained", [True, False])
@pytest.mark.parametrize(("share", "is_fast"), [(0.0, True), (1e-2, False), (1e-1, False)])
def test_in_fp32_a_head_that_mixes_a_hundredth_takes_the_reference_path(share, is_fast, is_trained):
    """Also where nothing is trained, so that no gradient tells."""
    model = tiny.model("llama", tie_word_embeddings=False)
    head = Leaking(32, tiny.VOCABULARY, bias=False)
    head.weight, head.share = model.lm_head.weight, share
    model.lm_head = head
    session = make_session(Full(), model)
    model.requires_grad_(is_trained)
    session.verify(Batch(tuple(tiny.rows(4))))
    assert session.fast == is_fast and bool(session.notes) != is_fast


@pytest.mark.parametrize(("factor", "is_kept"), [(1.0, True), (1.01, False), (0.99, False)])
def test_in_fp32_gradients_that_are_off_by_a_hundredth_are_not_taken(factor, is_kept, monkeypatch):
    """The logits are right: only the gradients of the faster layers tell."""
    gradients = documents.gradients

    def scaled(*arguments):
        return tuple(factor * gradient for gradient in gradients(*arguments))

    for kernel in (attention, documents):
        monkeypatch.setattr(kernel, "gradients", scaled)
    session = session_for("llama")
    session.verify(Batch(tuple(tiny.rows(4))))
    assert (session.faster is not None) == is_kept and bool(session.notes) != is_kept


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_evaluation_drops_nothing_also_after_a_step_of_training(kind):
    """Losses and logits are those of a model that has no dropout at all, and the same each time."""
    drops = {"gpt2": {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5}, "t5": {"dropout_rate": 0.5}}
    batch = Batch(tuple(tiny.rows(5, pairs=kind == "t5")))
    plain, dropping = session_for(kind), make_session(Full(), tiny.model(kind, **drops[kind]))
    for session in (plain, dropping):
        session.accumulate(batch, denominator=10, last=True)
    wanted = [each.loss_sum for each in plain.evaluate([batch])]
    assert [each.loss_sum for each in dropping.evaluate([batch])] == pytest.approx(wanted, rel=1e-6)
    assert dropping.model.training is False
    dropping.accumulate(batch, denominator=10, last=True)
    assert dropping.model.training is True, "a step after it drops again"
    torch.testing.assert_close(dropping.logits(batch), plain.logits(batch))


def test_draws_follow_every_part_of_their_key():
    session, drawn = session_for("llama"), {}
    for key in [(0, 1, 0), (0, 1, 1), (0, 2, 0), (1, 1, 0), (1, 0, 0)]:
        session.seed(*key)
        drawn[key] = torch.rand(4)
        session.seed(*key)
        assert drawn[key].equal(torch.rand(4)), "a resumed run would draw otherwise"
    assert len({tuple(values.tolist()) for values in drawn.values()}) == len(drawn)


@pytest.mark.parametrize("kind", KINDS)
def test_token_losses_equal_one_row_at_a_time(kind):
    session, rows = session_for(kind), tiny.rows(7, pairs=kind == "t5")
    together = session.evaluate([Batch(tuple(rows[3:])), Batch(tuple(rows[:3]))])
    assert len(together) == 7
    for row, loss in zip(rows, together, strict=True):
        alone = session.evaluate([Batch((row,))])[0]
        assert loss.loss_sum == pytest.approx(alone.loss_sum, rel=1e-5)
        assert loss.num_tokens == row.num_supervised


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_gradients_do_not_depend_on_the_padding_side(kind):
    """Ours pads on the right without a mask; the reference pads on the left with mask and positions."""
    session, rows = session_for(kind), tiny.rows(5)
    session.accumulate(Batch(tuple(rows)), denominator=10, last=True)
    ours = {name: parameter.grad.clone() for name, parameter in session.model.named_parameters()}
    other = tiny.model(kind)
    width = max(len(row.ids) for row in rows)
    ids, mask = np.zeros((5, width), dtype=np.int64), np.zeros((5, width), dtype=np.int64)
    labels = np.full((5, width), -100)
    for number, row in enumerate(rows):
        ids[number, width - len(row.ids) :] = row.ids
        mask[number, width - len(row.ids) :] = 1
        labels[number, width - len(row.ids) :] = np.where(row.supervised, row.ids, -100)
    ids, mask, labels = (torch.from_numpy(value) for value in (ids, mask, labels))
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = other.train()(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    flat = logits[:, :-1].reshape(-1, tiny.VOCABULARY)
    (F.cross_entropy(flat, labels[:, 1:].reshape(-1), ignore_index=-100, reduction="sum") / 10).backward()
    norm = torch.stack([parameter.grad.norm() for parameter in other.parameters()]).norm()
    difference = torch.stack([(p.grad - ours[name]).norm() for name, p in other.named_parameters()]).norm()
    assert difference <= 1e-6 * norm + 1e-7


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beams", [1, 3])
def test_batched_generation_equals_one_prompt_at_a_time(kind, beams):
    model = tiny.model(kind)
    generator = np.random.default_rng(0)
    prompts = [generator.integers(2, 90, size=size).astype(np.int32) for size in (3, 9, 5, 12)]
    settings = Generation(beams=beams, max_new_tokens=8)
    options = dict(ends=[1], pad=0)
    together = generate(model, Prompts(prompts), settings, max_tokens=10_000, **options)
    alone = [generate(model, Prompts([prompt]), settings, max_tokens=20, **options)[0] for prompt in prompts]
    assert together == alone


def test_label_smoothing_is_in_the_training_loss_only():
    plain, smooth = session_for("llama"), session_for("llama", loss={"label_smoothing": 0.1})
    batch = Batch(tuple(tiny.rows(4)))
    with torch.no_grad():
        logits = plain._logits(plain._collate(batch)).log_softmax(-1)
    target = plain._collate(batch).target_S
    expected = -(0.9 * logits.gather(1, target[:, None]).sum() + 0.1 * logits.mean(1).sum())
    assert float(smooth.accumulate(batch, denominator=1, last=True)) == pytest.approx(expected.item(), rel=1e-5)
    assert smooth.evaluate([batch]) == plain.evaluate([batch])


def test_no_ngram_comes_twice_among_the_generated_tokens_but_the_prompt_may_be_copied():
    model = tiny.model("llama").eval()
    prompt = np.array([5, 6, 7, 8, 5, 6, 7, 8], dtype=np.int32)
    options = dict(ends=[1], pad=0, max_tokens=400)
    free, bound = (
        generate(model, Prompts([prompt]), Generation(max_new_tokens=40, no_repeat_ngram=size), **options)[0]
        for size in (0, 2)
    )
    pairs = list(pairwise(bound))
    assert len(set(pairs)) == len(pairs) > 10
    assert len(set(pairwise(free))) < len(free) - 1, "nothing was repeated without the rule"
    assert completing([2, 9, 4, 5, 4], 2) == [5], "the pair 4 5 is there"
    assert completing([9, 4, 5], 2) == [], "5 was followed by nothing yet"
