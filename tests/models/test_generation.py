"""Texts against transformers' own `generate`, one prompt at a time, and what a batch may and may not change."""

import inspect
from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BloomConfig,
    Gemma3TextConfig,
    GenerationConfig,
    GPTNeoXConfig,
    MistralConfig,
    Qwen2Config,
)

import tiny
from tunelab import device
from tunelab.config.schema import Generation
from tunelab.errors import RunError
from tunelab.models.choosing import Chooser, Text, draw
from tunelab.models.growing_cache import cache_argument
from tunelab.models.inference import Prompts, generate
from tunelab.models.torch_rows import decodes
from tunelab.records import Decoded

IDS = dict(eos_token_id=1, pad_token_id=0, bos_token_id=1, vocab_size=tiny.VOCABULARY)
SIZES = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4)
GROUPED = dict(**SIZES, num_key_value_heads=2, max_position_embeddings=256)
ENDS = [1, *range(88, 96)]
OPTIONS = dict(ends=ENDS, pad=0)


def configurations():
    yield "llama", tiny.llama()
    yield "gpt2", tiny.gpt2()
    yield "t5", tiny.t5()
    yield "gpt_neox", GPTNeoXConfig(**SIZES, **IDS, max_position_embeddings=256)
    yield "gemma3", Gemma3TextConfig(**GROUPED, **IDS, head_dim=8, sliding_window=6, sliding_window_pattern=2)
    yield "mistral", MistralConfig(**GROUPED, **IDS, sliding_window=5)
    yield "qwen2", Qwen2Config(**GROUPED, **IDS)
    yield "bloom", BloomConfig(hidden_size=32, n_layer=2, n_head=4, **IDS)
    sides = dict(encoder_ffn_dim=64, decoder_ffn_dim=64, encoder_attention_heads=4, decoder_attention_heads=4)
    yield "bart", BartConfig(d_model=32, encoder_layers=2, decoder_layers=2, **sides, **IDS, decoder_start_token_id=0)


CONFIGURATIONS = dict(configurations())


def model_of(kind: str):
    """Random, with weights large enough, and a head of its own, for the next token to differ with all before it."""
    config = CONFIGURATIONS[kind]
    automatic = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    torch.manual_seed(0)
    model = automatic.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and parameter.std() < 0.5:
                parameter.mul_(0.25 / parameter.std())
    head = torch.nn.Linear(32, tiny.VOCABULARY, bias=False)
    torch.nn.init.normal_(head.weight, std=1.0)
    model.set_output_embeddings(head)
    model.generation_config = GenerationConfig()
    return model


def prompts(count: int = 11, *, longest: int = 20, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(2, 80, size=generator.integers(1, longest)).astype(np.int32) for _ in range(count)]


def reference(model, prompt: np.ndarray, **settings) -> list[int]:
    """transformers' own, this prompt alone."""
    config = GenerationConfig(**{"do_sample": False, "max_new_tokens": 24, "pad_token_id": 0, **settings})
    config.eos_token_id, config.decoder_start_token_id = ENDS, getattr(model.config, "decoder_start_token_id", None)
    ids = torch.from_numpy(prompt.astype(np.int64))[None]
    out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[0].tolist()
    new = out[1 if model.config.is_encoder_decoder else len(prompt) :]
    return new[: next((place for place, token in enumerate(new) if token in ENDS), len(new))]


@pytest.mark.parametrize("budget", [200, *(pytest.param(few, marks=pytest.mark.slow) for few in (60, 10_000))])
@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_greedy_texts_equal_transformers_token_by_token(kind, budget):
    model = model_of(kind)
    settings = Generation(max_new_tokens=24)
    ours = generate(model, Prompts(prompts()), settings, max_tokens=budget, **OPTIONS)
    assert ours == [reference(model, prompt) for prompt in prompts()]
    assert len({len(text) for text in ours}) > 1, "every text has the same length"
    assert max(len(set(text)) for text in ours) > 4, "the model says one thing only"


def test_which_models_take_the_loop():
    taken = {kind for kind in CONFIGURATIONS if decodes(model_of(kind))}
    assert taken == set(CONFIGURATIONS) - {"bloom"}, "bloom takes its positions from the mask alone"


@pytest.mark.slow
@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
def test_beam_texts_equal_transformers(kind, length_penalty, early_stopping):
    model = model_of(kind)
    asked = dict(length_penalty=length_penalty, early_stopping=early_stopping, max_new_tokens=12)
    ours = generate(model, Prompts(prompts(6)), Generation(beams=3, **asked), max_tokens=300, **OPTIONS)
    assert ours == [reference(model, prompt, num_beams=3, **asked) for prompt in prompts(6)]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_least_length_equals_transformers(kind, beams):
    model = model_of(kind)
    asked = dict(min_new_tokens=9, max_new_tokens=12)
    ours = generate(model, Prompts(prompts(6)), Generation(beams=beams, **asked), max_tokens=300, **OPTIONS)
    assert ours == [reference(model, prompt, num_beams=beams, **asked) for prompt in prompts(6)]
    free = generate(model, Prompts(prompts(6)), Generation(beams=beams, max_new_tokens=12), max_tokens=300, **OPTIONS)
    assert min(map(len, free)) < 9 <= min(map(len, ours))


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("kind", ["gpt2", "bloom", "t5"])
def test_no_pair_comes_twice_in_any_way_of_generating(kind, beams):
    settings = Generation(beams=beams, max_new_tokens=24, min_new_tokens=24, no_repeat_ngram=2)
    for text in generate(model_of(kind), Prompts(prompts(4)), settings, max_tokens=500, **OPTIONS):
        assert len(text) == 24
        assert len(set(pairwise(text))) == 23


@pytest.mark.parametrize("kind", ["llama", "t5", "bloom"])
def test_the_models_own_generation_settings_change_nothing(kind):
    model = model_of(kind)
    before = generate(model, Prompts(prompts(3)), Generation(max_new_tokens=8), max_tokens=500, **OPTIONS)
    own = GenerationConfig(repetition_penalty=5.0, suppress_tokens=before[0][:1], do_sample=True, temperature=9.0)
    model.generation_config = own
    assert generate(model, Prompts(prompts(3)), Generation(max_new_tokens=8), max_tokens=500, **OPTIONS) == before
    beams = Generation(beams=2, max_new_tokens=8)
    found = generate(model, Prompts(prompts(3)), beams, max_tokens=500, **OPTIONS)
    assert model.generation_config is own
    model.generation_config = GenerationConfig()
    assert found == generate(model, Prompts(prompts(3)), beams, max_tokens=500, **OPTIONS)


# ------------------------------------------------------------------ drawn texts


DRAWN = Generation(max_new_tokens=16, temperature=0.8, top_k=20, top_p=0.9)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5", "bloom"])
def test_what_is_drawn_depends_on_seed_and_example_and_not_on_the_batch(kind):
    model, asked = model_of(kind), prompts(7)
    together = generate(model, Prompts(asked, 5), DRAWN, max_tokens=10_000, **OPTIONS)
    alone = [
        generate(model, Prompts([one], 5, [place]), DRAWN, max_tokens=50, **OPTIONS)[0]
        for place, one in enumerate(asked)
    ]
    assert together == alone
    later = generate(model, Prompts(asked[4:], 5, [4, 5, 6]), DRAWN, max_tokens=100, **OPTIONS)
    assert together[4:] == later
    assert together != generate(model, Prompts(asked, 6), DRAWN, max_tokens=10_000, **OPTIONS)
    same = generate(model, Prompts([asked[0]] * 4, 5), DRAWN, max_tokens=10_000, **OPTIONS)
    assert len({tuple(text) for text in same}) > 1, "two examples with one prompt are drawn apart"


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{}, {"top_k": 5}, {"top_p": 0.6}, {"temperature": 0.5, "top_k": 7, "top_p": 0.8}], ids=str
)
def test_drawn_tokens_come_as_often_as_transformers_says(settings):
    """20,000 draws from one distribution against its probabilities: six standard errors for each token."""
    settings = Generation(**{"temperature": 1.3, **settings})
    scores = torch.randn(1, 50, generator=torch.Generator().manual_seed(1)) * 2
    expected = _transformers_probabilities(scores, settings)
    choose, count = Chooser(settings, [1]), 20_000
    texts = [Text(place, np.array([2]), settings=settings, seed=(0, place)) for place in range(count)]
    drawn = np.bincount(choose(scores.repeat(count, 1), texts), minlength=50) / count
    error = np.sqrt(expected * (1 - expected) / count)
    assert (np.abs(drawn - expected) <= 6 * error + 1e-12).all()
    assert (drawn[expected == 0] == 0).all()


def _transformers_probabilities(scores: torch.Tensor, settings: Generation) -> np.ndarray:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    warped = TemperatureLogitsWarper(settings.temperature)(None, scores)
    warped = TopKLogitsWarper(settings.top_k)(None, warped) if settings.top_k else warped
    warped = TopPLogitsWarper(settings.top_p)(None, warped) if settings.top_p < 1 else warped
    return warped.double().softmax(-1)[0].numpy()


def test_a_token_without_probability_is_never_drawn():
    scores = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    assert [draw(scores, [number])[0] for number in (0.0, 0.4999, 0.5, 1 - 1e-16)] == [1, 1, 3, 3]


# ------------------------------------------------------------------ batches and memory


def test_finished_rows_leave_and_waiting_prompts_take_their_places():
    model, widths = model_of("llama"), []
    handle = model.model.register_forward_pre_hook(
        lambda module, args, given: widths.append(given["input_ids"].shape), with_kwargs=True
    )
    texts = generate(model, Prompts(prompts(40)), Generation(max_new_tokens=24), max_tokens=400, **OPTIONS)
    handle.remove()
    steps = [rows for rows, length in widths if length == 1]
    work = sum(steps)
    assert work < 1.35 * sum(map(len, texts)), f"{work} row steps for {sum(map(len, texts))} tokens"
    assert steps[-1] < max(steps), "the last rows are alone at the end"


def test_progress_tells_every_text_once_and_counts_tokens():
    told: list[Decoded] = []
    texts = generate(
        model_of("llama"),
        Prompts(prompts()),
        Generation(max_new_tokens=24),
        max_tokens=200,
        progress=told.append,
        **OPTIONS,
    )
    assert [len(each.texts) for each in told].count(1) > 3
    found = [pair for each in told for pair in each.texts.items()]
    assert len(found) == len(texts) and dict(found) == dict(enumerate(texts))
    counts = [each.num_tokens for each in told]
    assert counts == sorted(counts)
    assert counts[-1] == sum(len(text) + (len(text) < 24) for text in texts), "ends are tokens too"


class Limited:
    """Lets a model fail as an allocator does when a batch holds more than so many padded tokens."""

    def __init__(self, model, limit: int, error: Exception) -> None:
        self.model, self.limit, self.error, self.failures = model, limit, error, 0
        model.forward, self.forward = self, model.forward
        self.__signature__ = inspect.signature(self.forward)

    def __call__(self, *args, **given):
        rows, new = given.get("decoder_input_ids", given.get("input_ids")).shape
        if rows * (new + given[cache_argument(self.forward)].get_seq_length()) > self.limit:
            self.failures += 1
            raise self.error
        return self.forward(*args, **given)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: not enough memory: you tried to allocate"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes"),
    MemoryError(),
]


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_budget_is_halved_when_memory_runs_out_and_nothing_else_changes(error, beams):
    settings = Generation(beams=beams, max_new_tokens=24)
    expected = generate(model_of("llama"), Prompts(prompts()), settings, max_tokens=10_000, **OPTIONS)
    limited, notes = Limited(model_of("llama"), 150, error), []
    found = generate(limited.model, Prompts(prompts()), settings, max_tokens=800, note=notes.append, **OPTIONS)
    assert found == expected
    assert limited.failures in (1, 2, 3)
    assert len(notes) == 1 and "instead of 800" in notes[0]


def test_texts_that_were_finished_before_memory_ran_out_are_told_once():
    limited, told = Limited(model_of("t5"), 60, MemoryError()), []
    asked = prompts(12)[::-1]
    found = generate(
        limited.model, Prompts(asked), Generation(max_new_tokens=6), max_tokens=400, progress=told.append, **OPTIONS
    )
    numbers = [number for each in told for number in each.texts]
    assert limited.failures and sorted(numbers) == list(range(len(found)))


@pytest.mark.slow
def test_no_memory_for_one_text_is_an_error_with_the_way_out():
    limited = Limited(model_of("llama"), 3, MemoryError())
    with pytest.raises(RunError, match=r"lower generation\.max_new_tokens"):
        generate(limited.model, Prompts(prompts()), Generation(max_new_tokens=24), max_tokens=800, **OPTIONS)


def test_an_error_that_is_not_about_memory_is_not_tried_again():
    limited = Limited(model_of("llama"), 3, RuntimeError("index out of range"))
    with pytest.raises(RuntimeError, match="index out of range"):
        generate(limited.model, Prompts(prompts()), Generation(max_new_tokens=24), max_tokens=800, **OPTIONS)
    assert limited.failures == 1


@pytest.mark.parametrize(
    "settings",
    [{"beams": 2, "temperature": 1.0}, {"top_p": 0.5}, {"top_k": 3}, {"min_new_tokens": 9, "max_new_tokens": 8}],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(settings):
    with pytest.raises(ValueError, match="give|above"):
        Generation(**settings)


def test_nothing_to_generate_is_nothing():
    assert generate(model_of("llama"), Prompts([]), Generation(), max_tokens=100, **OPTIONS) == []


def test_out_of_memory_is_told_by_its_words():
    assert all(device.out_of_memory(error) for error in ERRORS)
    assert not device.out_of_memory(RuntimeError("shape mismatch"))
