"""Rows that attend in less time than the model's own attention: that they are taken, what they hold, and models where
they would give other scores."""

import numpy as np
import pytest
import torch
from transformers import FalconConfig, FalconForCausalLM

from models.test_generation import OPTIONS, model_of, prompts
from tunelab.config.schema import Generation
from tunelab.models import inference, shared_attention, torch_rows, torch_scores
from tunelab.models.growing_cache import GrowingLayer
from tunelab.models.inference import Prompts, generate

SETTINGS = Generation(max_new_tokens=24)


def inputs_of(model, part):
    seen = []
    part.register_forward_pre_hook(lambda module, args, given: seen.append(args[0] if args else given["input_ids"]),
                                   with_kwargs=True)  # fmt: skip
    return seen


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral", "gemma3", "t5", "bart"])
@pytest.mark.parametrize("settings", [SETTINGS, Generation(max_new_tokens=12, temperature=0.8, top_k=20)], ids=str)
def test_texts_are_those_of_the_models_own_attention(kind, settings, monkeypatch):
    calls, few = [], shared_attention.few_queries_attention
    monkeypatch.setattr(shared_attention, "few_queries_attention", lambda *args: calls.append(1) or few(*args))
    found = generate(model_of(kind), Prompts(prompts(), seed=3), settings, max_tokens=400, **OPTIONS)
    assert calls
    monkeypatch.setattr(inference, "quick_rows", torch_rows.rows_of)
    assert generate(model_of(kind), Prompts(prompts(), seed=3), settings, max_tokens=400, **OPTIONS) == found


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_a_model_that_attends_otherwise_is_found_and_its_texts_are_right(kind, monkeypatch):
    expected, notes = generate(model_of(kind), Prompts(prompts()), SETTINGS, max_tokens=400, **OPTIONS), []
    few = shared_attention.few_queries_attention
    monkeypatch.setattr(shared_attention, "few_queries_attention", lambda *args: few(*args) * 1.5)
    model = model_of(kind)
    assert generate(model, Prompts(prompts()), SETTINGS, max_tokens=400, note=notes.append, **OPTIONS) == expected
    assert len(notes) == 1 and "the model's own attention, which is slower: scores differ by" in notes[0]
    assert model.config._attn_implementation == "sdpa"


def test_an_attention_that_fails_says_why_and_the_models_own_goes_on(monkeypatch):
    expected, notes = generate(model_of("gpt2"), Prompts(prompts()), SETTINGS, max_tokens=400, **OPTIONS), []

    def failing(*args):
        raise RuntimeError("shapes\nof no use")

    monkeypatch.setattr(shared_attention, "few_queries_attention", failing)
    asked = Prompts(prompts())
    assert generate(model_of("gpt2"), asked, SETTINGS, max_tokens=400, note=notes.append, **OPTIONS) == expected
    assert notes == ["text is generated with the model's own attention, which is slower: shapes"]


def test_an_eager_model_takes_its_own_attention_and_says_so(monkeypatch):
    model, notes = model_of("llama"), []
    expected = generate(model, Prompts(prompts()), SETTINGS, max_tokens=400, **OPTIONS)
    monkeypatch.setattr(model.config, "_attn_implementation", "eager")  # other tests have the same configuration
    assert generate(model, Prompts(prompts()), SETTINGS, max_tokens=400, note=notes.append, **OPTIONS) == expected
    assert notes == [
        "text is generated with the model's own attention, which is slower: its attention is not transformers' sdpa"
    ]


@pytest.mark.parametrize("beams", [1, 3])
def test_a_model_that_does_not_ask_the_registry_is_found_before_its_first_token(beams):
    """Falcon goes another way where its attention is not called sdpa, to which masks are numbers."""
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=1000)
    model = FalconForCausalLM(FalconConfig(**sizes, multi_query=False, bos_token_id=1, eos_token_id=1)).eval()
    settings, notes = Generation(max_new_tokens=6, min_new_tokens=6, beams=beams), []
    found = generate(model, Prompts(prompts()), settings, max_tokens=2000, note=notes.append, **OPTIONS)
    assert len(notes) == beams // 3 + 1 and "its layers do not ask transformers' registry" in notes[-1]
    alone = [generate(model, Prompts([one]), settings, max_tokens=60, **OPTIONS)[0] for one in prompts()]
    assert found == alone


@pytest.mark.parametrize("beams", [1, 3])
def test_the_head_sees_one_position_of_a_row_and_no_view_of_several(beams):
    model = model_of("llama")
    seen = inputs_of(model, model.get_output_embeddings())
    settings = Generation(max_new_tokens=6, beams=beams)
    generate(model, Prompts(prompts()), settings, max_tokens=2000, **OPTIONS)
    assert seen and all(hidden.shape[1] == 1 and hidden.is_contiguous() for hidden in seen)


def test_prompts_join_in_passes_of_few_tokens_and_few_shapes(monkeypatch):
    monkeypatch.setattr(torch_rows, "PASS_TOKENS", 64)
    model = model_of("llama")
    seen = inputs_of(model, model.model)
    texts = generate(model, Prompts(prompts(60)), SETTINGS, max_tokens=44 * 16, **OPTIONS)
    shapes = [tuple(ids.shape) for ids in seen]
    passes = [shape for shape in shapes if shape[1] > 1]
    assert max(rows * (width - 7) for rows, width in passes) <= 64 and all(width % 8 == 0 for _, width in passes)
    assert len(set(passes)) < len(passes) / 2
    steps = [rows for rows, width in shapes if width == 1]
    assert max(steps) <= 24 and len(set(steps)) <= 12
    assert texts == generate(model_of("llama"), Prompts(prompts(60)), SETTINGS, max_tokens=10_000, **OPTIONS)


def test_the_cache_is_allocated_a_few_times_and_holds_no_more_than_the_budget(monkeypatch):
    held, settle = [], GrowingLayer._settle

    def settled(self, *args, **given):
        settle(self, *args, **given)
        held.append(self._room[0].shape)

    monkeypatch.setattr(GrowingLayer, "_settle", settled)
    budget, layers = 44 * 16, model_of("llama").config.num_hidden_layers
    asked = [ids for ids in prompts(300) if len(ids) > 8]
    generate(model_of("llama"), Prompts(asked), SETTINGS, max_tokens=budget, **OPTIONS)
    rows = {shape[0] for shape in held if shape[0] >= 16}
    assert len(rows) <= 4
    whole = [shape for shape in held if shape[0] >= 16]
    assert len(whole) <= 10 * layers, f"{len(whole)} allocations for {len(asked)} prompts"
    assert max(shape[0] * shape[2] for shape in held) <= 4 * budget


def test_the_cache_moves_in_its_room_and_gets_rows():
    layer, generator = GrowingLayer(), torch.Generator().manual_seed(0)
    every = torch.randn(20, 2, 200, 4, generator=generator)
    layer.update(every[:12, :, :10], -every[:12, :, :10])
    layer.reserve(20)
    rooms = layer._room
    layer.add_rows(8)
    assert layer._room is rooms and layer.keys.shape == (20, 2, 10, 4) and not layer.keys[12:].any()
    layer.keys[12:], layer.values[12:] = every[12:, :, :10], -every[12:, :, :10]
    first, kept = 0, []
    for place in range(10, 200):
        layer.update(every[:, :, place : place + 1], -every[:, :, place : place + 1])
        if layer.keys.shape[2] > 12:
            layer.drop_left(1)
            first += 1
        assert layer.keys.equal(every[:, :, first : place + 1]) and layer.values.equal(-layer.keys)
        kept.append(layer._room[0].data_ptr())
    assert len(set(kept)) <= 2, "what is dropped on the left makes room"


@pytest.mark.parametrize(("vocabulary", "count"), [(6000, 20), (6016, 1), (700, 5), (640, 5), (100, 20)])
def test_the_highest_scores_are_those_of_topk(vocabulary, count):
    scores = torch.from_numpy(np.random.default_rng(0).permutation(7 * vocabulary).astype(np.float32))
    scores = scores.view(7, vocabulary)
    scores[0, -1], scores[1, 0] = 1e6, torch.inf
    scores[2, : vocabulary // 2] = -torch.inf
    values, tokens = torch_scores._highest(scores, count)
    expected = scores.topk(count)
    assert values.equal(expected.values) and tokens.equal(expected.indices)
