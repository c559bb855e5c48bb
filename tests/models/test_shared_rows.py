"""Beams that share their prompt's keys and values: the texts of beams that do not, and models that cannot."""

import pytest
import torch

from models.test_generation import CONFIGURATIONS, ENDS, OPTIONS, model_of, prompts
from tunelab.config.schema import Generation
from tunelab.models import beams, shared_attention
from tunelab.models.choosing import Chooser, Text
from tunelab.models.inference import Prompts, generate
from tunelab.models.replaced_parts import NotReplaced
from tunelab.models.shared_rows import shared_rows
from tunelab.models.torch_rows import rows_of

SETTINGS = Generation(beams=3, max_new_tokens=8)


def searched(rows, asked, settings=SETTINGS) -> list[list[int]]:
    texts = [Text(number, prompt, settings=settings, seed=(0, number)) for number, prompt in enumerate(asked)]
    longest_first = sorted(texts, key=lambda text: -len(text.prompt))
    beams.search(rows, longest_first, Chooser(settings, ENDS), max_tokens=3 * 28 * 4, told=lambda done, count: None)
    return [text.new for text in texts]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "qwen2", "t5", "bart"])
def test_texts_are_those_of_beams_that_share_nothing(kind):
    model, asked = model_of(kind), prompts(13)
    shared = shared_rows(model, 0)
    assert searched(shared, asked) == searched(rows_of(model, 0), asked)
    assert shared.checked
    assert model.config._attn_implementation == "sdpa"


def test_a_prompts_keys_are_held_once_and_leave_with_it(monkeypatch):
    model, sizes = model_of("llama"), []
    rows = shared_rows(model, 0)
    step = rows.step

    def stepped():
        scores = step()
        sizes.append((len(rows.prompts.keys[0]), len(rows.texts), rows.cache.layers[0].keys.shape[2]))
        assert all(len(held) == len(rows.prompts) for held in (*rows.prompts.keys, *rows.prompts.values))
        return scores

    rows.step = stepped
    searched(rows, prompts(13))
    assert all(num_rows == 3 * num_prompts for num_prompts, num_rows, _ in sizes)
    assert max(width for _, _, width in sizes) == SETTINGS.max_new_tokens - 1
    assert len({num_prompts for num_prompts, _, _ in sizes}) > 1


def test_an_encoder_decoders_sources_are_held_once():
    rows, sizes = shared_rows(model_of("t5"), 0), []
    step = rows.step

    def stepped():
        scores = step()
        cross = rows.cache.cross_attention_cache.layers[0]
        sizes.append((len(cross.keys), len(rows.encoded_BTH), len(rows.texts)))
        return scores

    rows.step = stepped
    searched(rows, prompts(8))
    assert all(3 * keys == 3 * read == num_rows for keys, read, num_rows in sizes)


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_a_model_that_attends_otherwise_is_found_and_its_texts_are_right(kind, monkeypatch):
    expected, notes = generate(model_of(kind), Prompts(prompts()), SETTINGS, max_tokens=400, **OPTIONS), []
    beside = shared_attention._beside
    monkeypatch.setattr(shared_attention, "_joint", lambda query, *rest: torch.zeros_like(query.transpose(1, 2)))
    monkeypatch.setattr(shared_attention, "_beside", lambda query, beams: beside(query, beams).flip(2) * 2)
    model = model_of(kind)
    found = generate(model, Prompts(prompts()), SETTINGS, max_tokens=400, note=notes.append, **OPTIONS)
    assert found == expected
    assert len(notes) == 1 and "which is slower: scores differ by" in notes[0]
    assert model.config._attn_implementation == "sdpa"


def test_a_model_that_fails_when_shared_says_why_and_goes_on(monkeypatch):
    expected, notes = generate(model_of("gpt2"), Prompts(prompts()), SETTINGS, max_tokens=400, **OPTIONS), []

    def failing(*args):
        raise RuntimeError("shapes\nof no use")

    monkeypatch.setattr(shared_attention, "_joint", failing)
    assert (
        generate(model_of("gpt2"), Prompts(prompts()), SETTINGS, max_tokens=400, note=notes.append, **OPTIONS)
        == expected
    )
    assert notes == ["beam search keeps each prompt's keys and values once a beam, which is slower: shapes"]


def test_layers_that_do_not_ask_the_interface_are_found(monkeypatch):
    notes, model = [], model_of("llama")
    attention = type(model.model.layers[0].self_attn)
    forward = attention.forward

    def around(self, *args, **given):
        self.config._attn_implementation = "sdpa"
        return forward(self, *args, **given)

    expected = generate(model_of("llama"), Prompts(prompts()), SETTINGS, max_tokens=400, **OPTIONS)
    monkeypatch.setattr(attention, "forward", around)
    assert generate(model, Prompts(prompts()), SETTINGS, max_tokens=400, note=notes.append, **OPTIONS) == expected
    assert len(notes) == 2 and all("do not ask transformers' registry" in note for note in notes)


@pytest.mark.parametrize("option", shared_attention.UNLIKE)
def test_what_attention_does_not_know_is_refused(option):
    held = shared_attention.SharedKeys([torch.ones(1, 2, 3, 4)], [torch.ones(1, 2, 3, 4)], torch.ones(1, 3).bool())
    token = shared_attention._PROMPTS.set(held)
    try:
        with pytest.raises(NotReplaced, match=f"has a {option}"):
            one = torch.ones(3, 2, 1, 4)
            shared_attention._attention(None, one, one, one, torch.ones(3, 1, 1, 1).bool(), **{option: 4})
    finally:
        shared_attention._PROMPTS.reset(token)


@pytest.mark.parametrize("kind", ["mistral", "gemma3"])
def test_sliding_windows_are_not_shared(kind):
    assert CONFIGURATIONS[kind].sliding_window
    with pytest.raises(NotReplaced, match="sliding windows"):
        shared_rows(model_of(kind), 0)


def test_prompts_of_different_lengths_are_aligned_on_the_right():
    def held(count, length, value):
        keys = [torch.full((count, 1, length, 2), value)]
        return shared_attention.SharedKeys(keys, [-keys[0]], torch.ones(count, length).bool())

    both = held(2, 3, 1.0)
    both.append(held(1, 5, 2.0))
    assert both.mask_GP.tolist() == [[False] * 2 + [True] * 3] * 2 + [[True] * 5]
    assert both.keys[0][0, 0, :, 0].tolist() == [0, 0, 1, 1, 1] and both.values[0][2].min() == -2
    both.select([1])
    both.keep(3)
    assert both.mask_GP.tolist() == [[True] * 3] and both.keys[0].shape == (1, 1, 3, 2)
