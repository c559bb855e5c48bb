"""Adapters that are damaged, or made to do harm, are one line; what is saved here has one order of its names."""

import json

import pytest

import tiny
from tunelab.errors import ModelError
from tunelab.kernels.peft_format import CONFIG, WEIGHTS, read_config, read_tensors
from tunelab.methods.dora import Dora
from tunelab.methods.lora import Lora
from tunelab.methods.peft_any import PeftAny
from tunelab.study.executing.saved import find_saved
from tunelab.study.planning.plan import recognise

SOUND = {
    "peft_type": "LORA",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj"],
    "base_model_name_or_path": "tunelab/tiny",
}
HOSTILE = {
    "r": ["x", -1, 0, 2.5, None, []],
    "lora_alpha": ["x", None, []],
    "target_modules": [5, None, [5], [["q"]]],
    "rank_pattern": ["x", {"q": "y"}, [1]],
    "alpha_pattern": [5, {"a": None}],
    "lora_dropout": ["x", 5],
    "trainable_token_indices": ["x", [-1], {"a": 1}],
    "tunelab_options": [5, "x", {"rank": "x"}],
    "bias": [5],
}


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "\0" * 9, "[" * 100_000], ids=range(6))
def test_a_damaged_configuration_is_named(tmp_path, text):
    (tmp_path / CONFIG).write_text(text)
    for read in (read_config, recognise):
        with pytest.raises(ModelError, match=r"adapter_config\.json: no JSON object; it is damaged"):
            read(tmp_path)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in HOSTILE.items() for value in values])
@pytest.mark.parametrize("dora", [False, True])
def test_a_hostile_configuration_is_one_line(tmp_path, key, value, dora):
    (tmp_path / CONFIG).write_text(json.dumps({**SOUND, "use_dora": dora, key: value}))
    try:
        recognise(tmp_path)
    except ModelError as error:
        assert "\n" not in str(error) and str(tmp_path) in str(error)
    else:
        assert dora and key in ("tunelab_options", "bias")  # which dora does not read


def test_a_sound_one_is_read(tmp_path):
    (tmp_path / CONFIG).write_text(json.dumps(SOUND))
    assert recognise(tmp_path)[0] == "lora"


@pytest.mark.parametrize("name", [5, ["x"], {"a": 1}])
def test_a_base_without_a_name_is_one_line(tmp_path, name):
    (tmp_path / CONFIG).write_text(json.dumps({**SOUND, "base_model_name_or_path": name}))
    with pytest.raises(ModelError, match=r"adapter_config\.json: base_model_name_or_path"):
        find_saved(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"no safetensors at all", b"\xff" * 40])
def test_damaged_weights_are_named(tmp_path, content):
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{WEIGHTS}: no whole safetensors file \("):
        read_tensors(tmp_path / WEIGHTS)


@pytest.mark.parametrize("method", [Dora(rank=2), PeftAny(type="IA3"), Lora(rank=2)], ids=["dora", "ia3", "lora"])
def test_names_of_layers_are_saved_in_order(method, tmp_path):
    method.save(method.attach(tiny.model("llama"), seed=0), tmp_path)
    names = read_config(tmp_path)["target_modules"]
    assert len(names) > 1 and names == sorted(names)
    assert recognise(tmp_path) is not None
