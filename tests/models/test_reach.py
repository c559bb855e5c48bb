"""What all-linear does not see is counted, refused if it is much, and said; what a method reaches is what it moves."""

import pytest
import torch
from transformers import AutoModelForCausalLM, MambaConfig

import tiny
from training_harness import make_session, run_training
from tunelab.errors import ConfigError
from tunelab.models.reach import base_of, matrices, num_reached, reached
from tunelab.models.targets import linear_layers, reach_remarks, select
from tunelab.study.planning.plan import build_method

ATTENTION = 2 * (32 * 32 + 16 * 32 + 16 * 32 + 32 * 32)
"""q, k, v, o of both blocks of tiny.moe."""
EXPERTS = 2 * (4 * 96 * 32 + 4 * 32 * 48)
ROUTERS = 2 * 4 * 32
FUSED = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
VECTORS = 5 * 32
"""Norms."""
EMBEDDINGS = 2 * 96 * 32
"""Tokens and head, not tied."""


def mamba():
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, state_size=4, num_hidden_layers=2, vocab_size=96, expand=2, conv_kernel=4)
    return AutoModelForCausalLM.from_config(MambaConfig(**sizes, eos_token_id=1, pad_token_id=0))


def of(model):
    return matrices(model, linear_layers(model).values())


def test_matrices_outside_linear_layers_are_counted_by_kind():
    found = of(tiny.model("moe"))
    assert found.linear == ATTENTION
    assert found.kinds == {
        "gate_up_proj, down_proj of MixtralExperts": EXPERTS,
        "weight of MixtralTopKRouter": ROUTERS,
    }
    assert found.total == ATTENTION + EXPERTS + ROUTERS


def test_a_mambas_convolution_and_decay_are_told():
    found = of(mamba())
    read = 2 * (64 * 2 + 32 * 64)  # dt_proj and out_proj, whose weights are read without calling them
    assert found.kinds == {"weight of Linear": read, "A_log of MambaMixer": 2 * 64 * 4, "weight of Conv1d": 2 * 64 * 4}
    with pytest.raises(ConfigError, match="all-linear sees"):
        select(mamba(), "all-linear")
    assert "512 in A_log of MambaMixer and 512 in weight of Conv1d" in reach_remarks(mamba(), {"adapts": ".*"})[0]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_where_all_matrices_are_in_linear_layers_nothing_is_said(kind):
    model = tiny.model(kind)
    assert of(model).others == {}
    assert reach_remarks(model, {"adapts": "attention"}) == []


@pytest.mark.parametrize("name", ["lora", "qlora", "dora", "rosa", "q_galore", "peft_any"])
def test_all_linear_is_refused_where_experts_are_fused(name):
    options = {"peft_any": {"type": "LORA"}}.get(name, {"rank": 8})
    with pytest.raises(ConfigError) as told:
        build_method(name, options).attach(tiny.model("moe"), seed=0)
    (line,) = told.value.problems
    assert f"{ATTENTION:,} (14.2 %) of this model's {ATTENTION + EXPERTS + ROUTERS:,} weights" in line
    assert f"{EXPERTS:,} in gate_up_proj, down_proj of MixtralExperts" in line
    assert "`targets: attention`" in line and f"target_parameters: [{', '.join(FUSED)}]" in line
    kept = "full precision" in line
    assert kept == (name in ("qlora", "q_galore")), line


def test_galore_is_refused_where_it_would_freeze_the_experts_and_else_trains_them():
    with pytest.raises(ConfigError, match="would stay frozen"):
        build_method("galore", {"rank": 4, "other": "freeze"}).attach(tiny.model("moe"), seed=0)
    build_method("galore", {"rank": 4}).attach(tiny.model("moe"), seed=0)


@pytest.mark.parametrize("name", ["lora", "qlora", "dora", "rosa", "q_galore"])
@pytest.mark.parametrize("targets", ["attention", ".*", ("q_proj", "v_proj")])
def test_targets_that_were_named_are_taken_and_what_they_leave_is_said(name, targets):
    method, model = build_method(name, {"rank": 4, "targets": targets}), tiny.model("moe")
    unseen, done = method.remarks(model)
    assert unseen.startswith(f"all-linear does not see {EXPERTS:,} in gate_up_proj, down_proj of MixtralExperts")
    share = ATTENTION if isinstance(targets, str) else 2 * (32 + 16) * 32
    assert f"{share:,} (" in done and f"of {ATTENTION + EXPERTS + ROUTERS:,} weights" in done
    if name == "qlora":
        assert f"holds in 4 bits {ATTENTION:,} (14.2 %)" in done
    method.attach(model, seed=0)


REACHED = {
    "full": ({}, "all"),
    "lora": ({"targets": "attention"}, ATTENTION),
    "qlora": ({"targets": "attention", "rank": 4}, ATTENTION),
    "dora": ({"targets": ("q_proj",)}, 2 * 32 * 32),
    "rosa": ({"targets": "attention", "density": 0.05, "learning_rate": 0.1}, ATTENTION),
    "galore": ({"rank": 4}, "all"),
    "q_galore": ({"rank": 4, "targets": "attention", "learning_rate": 0.1}, "all"),
    "apollo": ({"rank": 4}, "all"),
    "lisa": ({"layers": 1, "period": 1}, "all"),
    "peft_any": ({"type": "LORA", "target_modules": [], "target_parameters": FUSED[1:]}, 2 * 4 * 32 * 48),
    "peft_any both": ({"type": "LORA", "target_parameters": FUSED}, ATTENTION + EXPERTS),
    "peft_any norms": ({"type": "LN_TUNING", "target_modules": ["input_layernorm"]}, 2 * 32),
    "layerwise": ({"first": ("q_proj",), "parts": [{"full": {}}, {"lora": {"targets": ".*"}}]}, ATTENTION),
}


@pytest.mark.parametrize("case", REACHED)
def test_what_is_reached_is_what_training_moves(case):
    """Counted on shapes; trained and merged, every reached matrix has moved and nothing else."""
    (options, wanted), name = REACHED[case], case.split()[0]
    method = build_method(name, {"learning_rate": 1e-2, **options})
    start = tiny.model("moe")
    base = base_of(start)
    total = ATTENTION + EXPERTS + ROUTERS + VECTORS + EMBEDDINGS
    with torch.device("meta"):
        attached = method.attach(tiny.model("moe").to("meta"), seed=0)
    positions = reached(base, attached)
    assert num_reached(base, positions) == (total if wanted == "all" else wanted)

    before = {key: value.detach().clone() for key, value in start.named_parameters()}
    trained = run_training(method, start, tiny.rows(20), budget={"steps": 6})
    after = dict(method.merged(trained.model).named_parameters())
    moved = {names[0] for names in base.names if not after[names[0]].equal(before[names[0]])}
    assert moved == {base.names[position][0] for position in positions}


def test_tied_weights_are_reached_once_by_either_name():
    base = base_of(tiny.model("llama"))
    assert sum(base.sizes) == sum(parameter.numel() for parameter in tiny.model("llama").parameters())
    for name in ("lm_head", "embed_tokens"):
        method = build_method("peft_any", {"type": "LORA", "target_modules": [name]})
        assert num_reached(base, reached(base, method.attach(tiny.model("llama"), seed=0))) == 96 * 32


def test_experts_are_trained_by_the_plain_rule_where_matrices_are_projected():
    for name in ("galore", "q_galore", "apollo"):
        method = build_method(name, {"rank": 4, "targets": ".*", "learning_rate": 1e-2})
        groups = make_session(method, tiny.model("moe")).optimizer()
        assert len(groups) >= 2, groups
        assert groups[0]["parameters"] == ATTENTION
        assert sum(group["parameters"] for group in groups[1:]) == EXPERTS + ROUTERS + VECTORS + EMBEDDINGS


def test_parameters_that_are_not_there_are_refused_though_others_are():
    method = build_method("peft_any", {"type": "LORA", "target_parameters": ["experts.w1", FUSED[1]]})
    with pytest.raises(ConfigError, match=r"'experts\.w1'; fused ones here: mlp\.experts\.gate_up_proj"):
        method.attach(tiny.model("moe"), seed=0)
