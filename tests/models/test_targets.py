"""Which layers all-linear means where a model reads a layer's weight in place of calling it."""

import torch
from transformers import MambaConfig, MambaForCausalLM

from tunelab.models.targets import linear_layers


def test_of_a_mamba_mixer_only_called_layers_are_linear_layers():
    torch.manual_seed(0)
    config = MambaConfig(hidden_size=16, state_size=4, num_hidden_layers=1, vocab_size=32, time_step_rank=2)
    names = {name.rpartition(".")[2] for name in linear_layers(MambaForCausalLM(config))}
    assert names == {"in_proj", "x_proj"}, "dt_proj is read, out_proj is read by the kernels and refused by PEFT"
