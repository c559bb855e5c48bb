"""Which rows of a fused layer are which part: told by what each single row does in the model's own forward pass."""

import json
from functools import cache

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import tiny
from tunelab.errors import ConfigError
from tunelab.models.fused_parts import choose, parts
from tunelab.models.targets import linear_layers, outputs_and_inputs, select, select_parts

ENDS = dict(bos_token_id=1, eos_token_id=1, pad_token_id=0, vocab_size=96)
GPT = dict(n_embd=32, n_layer=1, n_head=4, n_positions=64, **ENDS)
LLAMA = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, **ENDS)
GROUPED = dict(**LLAMA, num_key_value_heads=2)
FUSED = {
    "gpt2": ("gpt2", GPT, "c_attn", "attn.c_proj"),
    "openai-gpt": ("openai-gpt", GPT, "c_attn", "attn.c_proj"),
    "mpt": ("mpt", dict(d_model=32, n_layers=1, n_heads=4, vocab_size=96), "Wqkv", "out_proj"),
    "phi3": ("phi3", GROUPED, "qkv_proj", "o_proj"),
    "phi3 one head a key": ("phi3", LLAMA, "qkv_proj", "o_proj"),
    "falcon one key": ("falcon", dict(**LLAMA, multi_query=True), "query_key_value", "dense"),
    "gpt_bigcode one key": ("gpt_bigcode", dict(**GPT, multi_query=True), "c_attn", "attn.c_proj"),
}
INTERLEAVED = {
    "gpt_neox": ("gpt_neox", LLAMA, "query_key_value", "dense"),
    "bloom": ("bloom", dict(hidden_size=32, n_layer=1, n_head=4, **ENDS), "query_key_value", "dense"),
    "persimmon": ("persimmon", LLAMA, "query_key_value", "dense"),
    "codegen": ("codegen", dict(**GPT, rotary_dim=8), "qkv_proj", "attn.out_proj"),
    "falcon": ("falcon", dict(**LLAMA, multi_query=False), "query_key_value", "dense"),
    "falcon, 40B's": (
        "falcon", dict(**LLAMA, num_kv_heads=2, new_decoder_architecture=True), "query_key_value", "dense"
    ),
    "gpt_bigcode": ("gpt_bigcode", dict(**GPT, multi_query=False), "c_attn", "attn.c_proj"),
}  # fmt: skip
GATED = {"phi3": GROUPED, "glm": GROUPED, "glm4": GROUPED}


def model_of(kind: str, sizes: dict):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)).eval()


def the_only(model, end: str):
    (name,) = [name for name in linear_layers(model) if name.endswith(f".{end}")]
    return name, model.get_submodule(name)


def passed_on(model, reader, changed=None) -> torch.Tensor:
    """What `reader` is given; `changed`: (layer, row, position, value) of an output that is overwritten."""
    seen, handles = [], [reader.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))]
    if changed is not None:
        layer, row, position, value = changed

        def overwrite(module, inputs, output):
            output = output.clone()
            output[..., position, row] = value
            return output

        handles.append(layer.register_forward_hook(overwrite))
    ids = torch.arange(2, 8)[None]
    with torch.no_grad():
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    for handle in handles:
        handle.remove()
    return seen[0]


@cache
def attention_rows(case: str) -> str:
    """A letter a row. At position 0 a token sees itself alone: its query changes nothing there or later, its key what
    later tokens see, its value what it passes on itself."""
    kind, sizes, leaf, reader = (FUSED | INTERLEAVED)[case]
    model = model_of(kind, sizes)
    layer, reader = the_only(model, leaf)[1], the_only(model, reader)[1]
    before, letters = passed_on(model, reader), ""
    for row in range(outputs_and_inputs(layer)[0]):
        moved = (passed_on(model, reader, (layer, row, 0, 3.0)) - before).abs().flatten(0, -2).amax(dim=-1) > 1e-7
        letters += "v" if moved[0] else "k" if moved[1:].any() else "q"
    return letters


def spelled(found: dict[str, slice], outputs: int, letters: dict[str, str]) -> str:
    return "".join(
        next(letters[part] for part, rows in found.items() if rows.start <= row < rows.stop) for row in range(outputs)
    )


@pytest.mark.parametrize("case", FUSED)
def test_query_key_and_value_are_the_rows_that_act_as_such(case):
    kind, sizes, leaf, _ = FUSED[case]
    rows, config = attention_rows(case), AutoConfig.for_model(kind, **sizes).to_dict()
    found = parts(config, leaf, len(rows))
    assert found is not None
    assert spelled(found, len(rows), {"q": "q", "k": "k", "v": "v"}) == rows


@pytest.mark.parametrize("case", INTERLEAVED)
def test_where_they_take_turns_a_part_is_refused(case):
    kind, sizes, leaf, _ = INTERLEAVED[case]
    rows, model = attention_rows(case), model_of(kind, sizes)
    turns = len([row for row in range(1, len(rows)) if rows[row] != rows[row - 1]])
    assert turns > 2, f"{rows}: these parts could be taken"
    assert parts(model.config.to_dict(), leaf, len(rows)) is None
    with pytest.raises(ConfigError) as told:
        select_parts(model, (f"{leaf}.q",))
    assert str(told.value) == (
        f"targets: '{leaf}.q': in {leaf} of this {kind} query, key and value take turns, so that none is one run of "
        f"rows; name {leaf} as a whole"
    )


@pytest.mark.parametrize("kind", GATED)
def test_the_gate_is_what_shuts(kind):
    """silu(-100) is 0; a value of -100 behind the gate is large."""
    model = model_of(kind, GATED[kind])
    layer, reader = the_only(model, "gate_up_proj")[1], the_only(model, "down_proj")[1]
    half = layer.out_features // 2
    letters = ""
    for row in range(2 * half):
        passed = passed_on(model, reader, (layer, row, 0, -100.0)).flatten(0, -2)[0, row % half]
        letters += "g" if passed.abs() < 1e-6 else "u"
    found = parts(model.config.to_dict(), "gate_up_proj", 2 * half)
    assert found is not None
    assert spelled(found, 2 * half, {"gate": "g", "up": "u"}) == letters


def test_a_configuration_as_a_file_has_it_is_enough():
    """Read without a framework; GPT-2's own file says n_embd, and one that leaves defaults out says less."""
    thirds = {"q": slice(0, 1024), "k": slice(1024, 2048), "v": slice(2048, 3072)}
    assert parts(json.loads('{"model_type": "gpt2", "n_embd": 1024}'), "c_attn", 3072) == thirds
    assert parts({"model_type": "gpt2"}, "c_attn", 3072) == thirds
    assert parts({"model_type": "gpt2", "n_embd": 1024}, "c_attn", 2048) is None, "of a cross-attention: no query"
    assert parts({"model_type": "gpt2"}, "c_proj", 768) is None
    assert parts({"model_type": "llama"}, "c_attn", 96) is None


OUTPUTS = {"h.0.attn.c_attn": 96, "h.0.attn.c_proj": 32, "h.1.attn.c_attn": 96, "h.1.attn.c_proj": 32}
GPT2 = {"model_type": "gpt2", "n_embd": 32}


def test_a_part_is_that_of_each_layer_of_its_name_in_the_order_of_rows():
    both = {"q": slice(0, 32), "v": slice(64, 96)}
    assert choose(GPT2, OUTPUTS, ("c_attn.v", "c_attn.q")) == {"h.0.attn.c_attn": both, "h.1.attn.c_attn": both}
    assert list(choose(GPT2, OUTPUTS, ("c_attn.v", "c_attn.q"))["h.0.attn.c_attn"]) == ["q", "v"]
    one = {"h.0.attn.c_proj": {}, "h.1.attn.c_attn": {"v": slice(64, 96)}, "h.1.attn.c_proj": {}}
    assert choose(GPT2, OUTPUTS, ("1.attn.c_attn.v", "c_proj")) == one


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (("c_attn.w",), "targets: c_attn has no part 'w'; its parts are c_attn.q, c_attn.k, c_attn.v"),
        (
            ("c_attn.q", "c_attn", "c_proj"),
            "targets: c_attn is named whole, and so is a part of it (c_attn.q); name one or the other",
        ),
        (
            ("c_proj.q",),
            "targets: 'c_proj.q': no parts of h.0.attn.c_proj of gpt2 are known, but c_attn.q, c_attn.k, c_attn.v; "
            "name c_proj as a whole",
        ),
        (("q",), "targets: no linear layer is named 'q'; there are c_attn, c_proj"),
        (("q_proj.q",), "targets: no linear layer is named 'q_proj.q'; there are c_attn, c_proj"),
    ],
)
def test_what_names_nothing_or_twice_is_refused(names, line):
    with pytest.raises(ConfigError) as told:
        choose(GPT2, OUTPUTS, names)
    assert str(told.value) == line


def test_methods_of_whole_layers_say_which_take_parts():
    with pytest.raises(ConfigError, match=r"^targets: 'c_attn\.q' is a part of c_attn, and only lora and qlora adapt"):
        select(tiny.model("gpt2"), ("c_attn.q",))
