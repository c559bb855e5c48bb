"""Which parts of real families' layers are computed in a faster way, and which are left as they are."""

import pytest
import torch
from torch import nn
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.models.llama import modeling_llama

import tiny
from training_harness import make_session
from tunelab.backends.torch.layers import replacements
from tunelab.methods.full import Full
from tunelab.records import Batch

SIZES = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, head_dim=8)
REST = dict(num_key_value_heads=2, vocab_size=tiny.VOCABULARY, pad_token_id=0, bos_token_id=1, eos_token_id=1)


def made(kind: str) -> nn.Module:
    torch.manual_seed(0)
    families = {
        "gemma": (GemmaForCausalLM, GemmaConfig),
        "qwen3": (Qwen3ForCausalLM, Qwen3Config),
        "cohere": (CohereForCausalLM, CohereConfig),
        "neox": (GPTNeoXForCausalLM, GPTNeoXConfig),
    }
    if kind not in families:
        return tiny.model(kind)
    build, config = families[kind]
    sizes = {name: value for name, value in SIZES.items() if kind != "cohere" or name != "head_dim"}
    return build(config(**sizes, **REST))


FOUND = {
    "llama": {"_gated_layer": 2, "_norm": 5, "_rotate": 1},
    "qwen3": {"_gated_layer": 2, "_norm": 9, "_rotate": 1},
    "gemma": {"_gated_layer": 2, "_rotate": 1},  # its norms multiply by 1 + weight
    "cohere": {"_gated_layer": 2},  # it rotates neighbours
    "neox": {"_rotate": 1},  # which rotates a part of each head: by its own function
    "gpt2": {"_gelu_tanh": 2},
}


@pytest.mark.parametrize("kind", FOUND)
def test_what_is_replaced_and_that_the_step_is_the_models_own(kind):
    model = made(kind)
    found: dict[str, int] = {}
    for each in replacements(model):
        name = getattr(each.value, "func", each.value).__name__
        found[name] = found.get(name, 0) + 1
    assert found == FOUND[kind]
    rows = tiny.rows(6)
    session, own = make_session(Full(), model), make_session(Full(), made(kind))
    session.verify(Batch(tuple(rows[:2])))
    assert session.notes == [] and session.faster
    own.fast = False
    for one in (session, own):
        one.accumulate(Batch(tuple(rows)), denominator=9, last=True)
    pairs = zip(session.model.parameters(), own.model.parameters(), strict=True)
    assert all((one.grad - other.grad).norm() <= 1e-5 * other.grad.norm() + 1e-9 for one, other in pairs)


def test_functions_of_transformers_are_put_back():
    rotate = modeling_llama.apply_rotary_pos_emb
    model = tiny.model("llama")
    session = make_session(Full(), model)
    session.verify(Batch(tuple(tiny.rows(2))))
    assert session.faster is not None
    with session.faster.at(None):
        assert modeling_llama.apply_rotary_pos_emb is not rotate
        other = make_session(Full(), tiny.model("llama"))
        other.verify(Batch(tuple(tiny.rows(2))))  # inside
        assert other.notes == []
    assert modeling_llama.apply_rotary_pos_emb is rotate
    assert not any("forward" in vars(part) for part in model.modules())


def test_a_layer_that_does_more_than_its_name_says_is_left_as_it_is():
    class Capped(modeling_llama.LlamaMLP):
        def forward(self, x):
            return self.down_proj((self.act_fn(self.gate_proj(x)) * self.up_proj(x)).clamp(-1.0, 1.0))

    class Scaled(modeling_llama.LlamaRMSNorm):
        def forward(self, hidden_states):
            return 2.0 * super().forward(hidden_states)

    model = tiny.model("llama")
    model.model.layers[0].mlp.__class__ = Capped
    model.model.norm.__class__ = Scaled
    owners = [each.owner for each in replacements(model)]
    assert model.model.layers[0].mlp not in owners and model.model.norm not in owners
    assert model.model.layers[1].mlp in owners and model.model.layers[0].input_layernorm in owners


def test_a_norm_of_another_shape_is_left_as_it_is():
    class GroupedRMSNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.variance_epsilon = nn.Parameter(torch.ones(4, 8)), 1e-6

        def forward(self, x):
            return x

    model = tiny.model("llama")
    model.model.grouped = GroupedRMSNorm()
    assert model.model.grouped not in [each.owner for each in replacements(model)]
