"""Names and shapes of weights, without Jittor: those of transformers."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from tunelab.backends.jittor.architecture import architecture, linear_layers, shapes
from tunelab.backends.jittor.weights import read_model, read_tensors
from tunelab.config.schema import ModelSource
from tunelab.errors import ConfigError, ModelError
from tunelab.methods.full import Full
from tunelab.methods.lora import Lora
from tunelab.models.configurations import read_known
from tunelab.models.load import skeleton
from tunelab.models.targets import linear_layers as of_torch
from tunelab.models.targets import outputs_and_inputs
from tunelab.study.planning.plan import load_backend

KNOWN = (
    "openai-community/gpt2-medium", "meta-llama/Llama-3.2-1B", "meta-llama/Llama-2-7b-hf", "mistralai/Mistral-7B-v0.1",
    "Qwen/Qwen2.5-0.5B", "HuggingFaceTB/SmolLM2-135M",
)  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_weights_are_named_and_shaped_as_transformers_has_them(name):
    configuration = read_known(name)
    each, model = architecture(ModelSource(name=name), configuration), skeleton(configuration)
    assert shapes(each) == {path: tuple(parameter.shape) for path, parameter in model.named_parameters()}
    layers = of_torch(model)
    assert list(linear_layers(each).items()) == [(path, outputs_and_inputs(layer)) for path, layer in layers.items()]


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize(
    "method",
    [
        Full(),
        Lora(rank=4),
        Lora(rank=4, targets="attention", ranks={"o_proj|c_proj": 2}),
        Lora(targets=r".*\.(1|2)\..*"),
    ],
)
def test_parameters_are_counted_as_torch_counts_them(name, method):
    source = ModelSource(name=name)
    theirs, ours = (load_backend(backend).count(source, method) for backend in ("torch", "jittor"))
    assert ours == theirs


def test_parts_are_counted_as_torch_counts_them():
    source, method = ModelSource(name=KNOWN[0]), Lora(rank=4, targets=("c_attn.q", "c_attn.v"))
    assert load_backend("jittor").count(source, method) == load_backend("torch").count(source, method)
    assert load_backend("jittor").count(source, method).trainable == 393_216


LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip


@pytest.mark.parametrize("rope", [LLAMA3, {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}])
def test_rotary_frequencies_are_transformers(rope):
    configuration = {**read_known("meta-llama/Llama-2-7b-hf"), "rope_parameters": rope}
    options = {key: value for key, value in configuration.items() if key != "model_type"}
    config = AutoConfig.for_model("llama", **options)
    wanted = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, torch.device("cpu"))[0]
    found = architecture(ModelSource(name="x"), configuration).frequencies
    assert len(found) == 64 and found == pytest.approx(wanted.tolist(), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("google/gemma-3-1b-pt", "its model_type is 'gemma3_text'"),
        ("google/flan-t5-small", "its model_type is 't5'"),
    ],
)
def test_another_architecture_is_refused_with_the_list(name, says):
    with pytest.raises(ModelError, match=rf"jittor computes pretrained gpt2, llama, mistral and qwen2.*{says}"):
        load_backend("jittor").count(ModelSource(name=name), None)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "rope_type is 'yarn'"),
    ],
)
def test_a_variant_is_refused(changes, says):
    with pytest.raises(ModelError, match=says):
        architecture(ModelSource(name="x"), {**read_known("meta-llama/Llama-2-7b-hf"), **changes})


def test_random_weights_are_refused():
    source = ModelSource(name=KNOWN[0], initialize="random")
    with pytest.raises(ModelError, match="initialize: random draws its weights by torch"):
        architecture(source, read_known(KNOWN[0]))


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (Lora(init="pissa"), "init: pissa needs torch"),
        (Full(optimizer="adafactor"), "optimizer: adafactor needs torch"),
        (Lora(targets=("c_attn.w",)), "c_attn has no part 'w'"),
        (Lora(rank=2000), "rank: 2000 is larger than the matrix"),
        (Lora(ranks={"nothing": 4}), "'nothing' matches no adapted layer"),
    ],
)
def test_options_that_it_has_not_are_refused(method, says):
    with pytest.raises(ConfigError, match=says):
        load_backend("jittor").count(ModelSource(name=KNOWN[0]), method)


def test_files_are_read_in_every_type_and_by_older_names(tmp_path):
    torch.manual_seed(0)
    configuration = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 4, "vocab_size": 12}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**configuration))
    types = [torch.float32, torch.bfloat16, torch.float16]
    tensors = {
        name.removeprefix("transformer."): value.detach().to(types[number % 3])
        for number, (name, value) in enumerate(model.named_parameters())
    }
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 4, 4)  # the mask that the hub's own files hold
    save_file(tensors, tmp_path / "model.safetensors")
    each = architecture(ModelSource(name="x"), configuration)
    found = read_model(tmp_path, each)
    assert set(found) == set(shapes(each))
    for name, value in found.items():
        assert np.array_equal(value, tensors[name.removeprefix("transformer.")].float().numpy()), name
    assert read_tensors(tmp_path / "model.safetensors")["wpe.weight"].dtype == np.float32


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tensors: tensors.pop("transformer.wpe.weight"), r"missing \['transformer.wpe.weight'\]"),
        (lambda tensors: tensors.update(other=torch.ones(2)), r"unexpected \['other'\]"),
        (lambda tensors: tensors.update({"transformer.wpe.weight": torch.ones(3, 8)}), r"has shape \(3, 8\)"),
        (
            lambda tensors: tensors.update({"transformer.wpe.weight": torch.ones(4, 8).int()}),
            "cannot be read as weights",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, says):
    configuration = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 4, "vocab_size": 12}
    each = architecture(ModelSource(name="x"), configuration)
    tensors = {name: torch.ones(shape) for name, shape in shapes(each).items()}
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=says):
        read_model(tmp_path, each)
