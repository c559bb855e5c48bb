"""Stand-ins have the names and the form of the models they stand in for."""

import json
import re

import pytest

from hub_server import NOWHERE, Repositories, run_against, serving
from tunelab.config.schema import ModelSource
from tunelab.errors import ModelError
from tunelab.models import stand_in as maker
from tunelab.models.configurations import known_names
from tunelab.models.load import load_model, load_text, locate, read_configuration, skeleton
from tunelab.models.stand_in import stand_in


def layer_names(model) -> set[str]:
    """Module paths, the number of a layer left out."""
    return {re.sub(r"\.\d+", ".N", name) for name, _ in model.named_modules()}


def loaded(name: str, folder):
    made = stand_in(ModelSource(name=name), folder)
    source = ModelSource(name=made.name)
    located = locate(source)
    return load_model(source, located, seed=0), load_text(source, located).tokenizer


@pytest.mark.slow
@pytest.mark.parametrize("name", known_names())
def test_a_stand_in_is_small_and_has_its_models_names_ties_and_kinds_of_layers(name, tmp_path):
    model, tokenizer = loaded(name, tmp_path)
    real = skeleton(read_configuration(ModelSource(name=name)))
    assert layer_names(model) == layer_names(real)
    assert sum(parameter.numel() for parameter in model.parameters()) < 6_000_000
    tied = [each.get_output_embeddings().weight is each.get_input_embeddings().weight for each in (model, real)]
    assert tied[0] == tied[1]
    assert set(getattr(model.config, "layer_types", None) or ()) == set(getattr(real.config, "layer_types", None) or ())
    assert min(min(weight.shape) for weight in model.parameters() if weight.ndim == 2 and min(weight.shape) > 32) >= 128
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.eos_token_id == model.config.eos_token_id
    assert tokenizer.decode(tokenizer("Ünïcode, 12 ok\n")["input_ids"], skip_special_tokens=True) == "Ünïcode, 12 ok\n"


def test_counts_without_weights_are_those_of_the_stand_in(tmp_path):
    model, _ = loaded("google/flan-t5-small", tmp_path)  # whose head is its own, which transformers would tie
    counted = skeleton(read_configuration(ModelSource(name=str(tmp_path))))
    assert sum(each.numel() for each in counted.parameters()) == sum(each.numel() for each in model.parameters())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("google/gemma-3-1b-it", "<bos><start_of_turn>user\nBe kind\n\nhi<end_of_turn>\n<start_of_turn>model\n"),
        (
            "Qwen/Qwen2.5-0.5B-Instruct",
            "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
        ),
    ],
)
def test_an_instruction_model_keeps_the_form_of_its_conversations(name, text, tmp_path):
    _, tokenizer = loaded(name, tmp_path)
    messages = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "hi"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == text
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids).count(re.findall(r"<[^>]*end[^>]*>", text)[0]) == text.count("end")


def test_only_instruction_models_have_a_chat_template(tmp_path):
    assert loaded("google/gemma-3-1b-pt", tmp_path)[1].chat_template is None


def test_special_tokens_are_the_familys(tmp_path):
    marks = {}
    for name in ("openai-community/gpt2", "google/flan-t5-small", "google/gemma-3-1b-pt", "meta-llama/Llama-2-7b-hf"):
        tokenizer = loaded(name, tmp_path / name)[1]
        marks[name] = tokenizer.convert_ids_to_tokens(tokenizer("a")["input_ids"])
    assert [(words[0], words[-1]) for words in marks.values()] == [
        ("a", "a"),
        ("a", "</s>"),
        ("<bos>", "a"),
        ("<s>", "a"),
    ]


def test_a_seed_makes_the_same_weights_and_leaves_the_callers_random_state(tmp_path):
    import torch

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    weights = [(loaded("openai-community/gpt2", tmp_path / name)[0].lm_head.weight) for name in ("a", "b")]
    assert torch.equal(*weights)
    torch.manual_seed(5)
    stand_in(ModelSource(name="openai-community/gpt2"), tmp_path / "c")
    assert torch.equal(torch.rand(1), expected)


def test_tiny_models_stand_for_themselves_and_large_local_ones_do_not(tmp_path, monkeypatch):
    assert stand_in(ModelSource(name="tunelab/tiny"), tmp_path / "x").name == "tunelab/tiny"
    local = stand_in(ModelSource(name="openai-community/gpt2"), tmp_path / "local").name
    assert stand_in(ModelSource(name=local), tmp_path / "x").name == local
    monkeypatch.setattr(maker, "TINY_MIB", 1.0)
    made = stand_in(ModelSource(name=local), tmp_path / "x")
    assert made.name == str(tmp_path / "x")
    assert json.loads((tmp_path / "x" / "config.json").read_text())["model_type"] == "gpt2"


def test_an_architecture_that_cannot_be_known_is_said_and_becomes_a_llama(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(maker, "fetch_configuration", lambda source: None)
    made = stand_in(ModelSource(name="nobody/unknown-7b"), tmp_path)
    assert not made.same_family
    assert made.said.startswith("nobody/unknown-7b: a llama of 2 layers")
    assert made.said.endswith("its own architecture cannot be read without the hub")


def test_a_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match="there is no such folder"):
        stand_in(ModelSource(name="./nowhere"), tmp_path / "x")


STAND_IN = """
import json, sys
from pathlib import Path
from tunelab.config.schema import ModelSource
from tunelab.models.stand_in import stand_in
try:
    name, folder = json.loads(sys.argv[1])
    made = stand_in(ModelSource(name=name), Path(folder))
    print(json.dumps({"same_family": made.same_family, "said": made.said}))
except Exception as error:
    print(json.dumps({"error": str(error), "kind": type(error).__name__}))
"""


@pytest.mark.slow
def test_an_architecture_that_is_not_here_is_asked_of_the_hub(tmp_path):
    served = Repositories()
    served.files["models/owner/model"] = {"config.json": (maker.EMBEDDED["tunelab/tiny"] / "config.json").read_bytes()}
    served.refused["models/gated/model"] = (403, "GatedRepo")
    with serving(served) as endpoint:
        there = run_against(endpoint, tmp_path, STAND_IN, "owner/model", str(tmp_path / "made"))
        gated = run_against(endpoint, tmp_path, STAND_IN, "gated/model", str(tmp_path / "made"))
    nowhere = run_against(NOWHERE, tmp_path, STAND_IN, "another/model", str(tmp_path / "made"))
    assert there["same_family"] is True
    assert (gated["kind"], "accept its terms" in gated["error"]) == ("ModelError", True)
    assert (nowhere["same_family"], "cannot be read without the hub" in nowhere["said"]) == (False, True)
