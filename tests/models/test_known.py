"""Dimensions of well-known models give the totals that their authors publish (safetensors index or paper)."""

import pytest

from tunelab.backends.torch.storage import parameter_count
from tunelab.config.schema import ModelSource
from tunelab.models.configurations import SHORT_NAMES, doubt, known_names, read_known
from tunelab.models.load import read_configuration, skeleton

TOTALS = {
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "allenai/OLMoE-1B-7B-0924": 6_919_161_856,
    "mistralai/Mixtral-8x7B-v0.1": 46_702_792_704,
    "EleutherAI/pythia-160m": 162_322_944,
    "EleutherAI/pythia-70m": 70_426_624,
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M": 361_821_120,
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1_100_048_384,
    "google-t5/t5-small": 60_506_624,
    "google/flan-t5-base": 247_577_856,
    "google/flan-t5-large": 783_150_080,
    "google/flan-t5-small": 76_961_152,
    "google/gemma-3-1b-it": 999_885_952,
    "google/gemma-3-1b-pt": 999_885_952,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "mistralai/Mistral-7B-v0.1": 7_241_732_096,
    "openai-community/gpt2": 124_439_808,
    "openai-community/gpt2-large": 774_030_080,
    "openai-community/gpt2-medium": 354_823_168,
    "openai-community/gpt2-xl": 1_557_611_200,
}


def test_every_shipped_configuration_has_a_published_total():
    assert known_names() == sorted(TOTALS)


@pytest.mark.parametrize("name", known_names())
def test_total_is_the_published_one(name):
    assert parameter_count(skeleton(read_known(name))).total == TOTALS[name]


@pytest.mark.parametrize("short", SHORT_NAMES)
def test_a_short_name_is_its_owners_model(short):
    assert read_configuration(ModelSource(name=short)) == read_known(SHORT_NAMES[short])


def test_any_other_name_has_no_configuration_here():
    assert read_configuration(ModelSource(name="somebody/unheard-of")) is None


def test_names_without_an_owner_are_doubted_but_for_those_from_before_there_were_owners():
    for name in ("gpt2", "gpt2-large", "distilgpt2", "bert-base-uncased", "t5-11b", "owner/name"):
        assert doubt(name) == ""
    assert doubt("Qwen2.5-0.5b") == "no folder here, and a hub id is owner/name. Did you mean 'Qwen/Qwen2.5-0.5B'?"
    assert doubt("xyzzy") == "no folder here, and a hub id is owner/name."
