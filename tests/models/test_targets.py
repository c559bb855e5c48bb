"""Which layers all-linear means where a model reads a layer's weight in place of calling it."""

import torch
from transformers import MambaConfig, MambaForCausalLM

import tiny
from tunelab.models.targets import linear_layers, select


def test_of_a_mamba_mixer_only_called_layers_are_linear_layers():
    torch.manual_seed(0)
    config = MambaConfig(hidden_size=16, state_size=4, num_hidden_layers=1, vocab_size=32, time_step_rank=2)
    names = {name.rpartition(".")[2] for name in linear_layers(MambaForCausalLM(config))}
    assert names == {"in_proj", "x_proj"}, "dt_proj is read, out_proj is read by the kernels and refused by PEFT"


def test_a_row_of_weights_has_no_rank_to_choose():
    """Qwen-MoE's gate of the shared expert is 1 x hidden; patterns pass it by, its name does not."""
    model = tiny.model("llama")
    model.model.layers[0].mlp.gate = torch.nn.Linear(32, 1, bias=False)
    assert "model.layers.0.mlp.gate" in linear_layers(model)
    for targets in ("all-linear", ".*"):
        assert "model.layers.0.mlp.gate" not in select(model, targets)
    assert list(select(model, ("gate",))) == ["model.layers.0.mlp.gate"]
