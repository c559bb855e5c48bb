"""A config.json that is no model's is one line that names the file and the key, before anything is made of it."""

import json
import time

import pytest

import tiny
from tunelab.config.schema import ModelSource
from tunelab.errors import ModelError
from tunelab.models.config_file import read_config, told
from tunelab.models.configurations import EMBEDDED, KNOWN
from tunelab.models.load import load_model, load_text, locate, read_configuration, skeleton

BROKEN = [
    "",
    "{",
    "[]",
    "null",
    "5",
    "\0" * 9,
    "[" * 100_000,
    '{"model_type": "llama", "vocab_size": ' + "1" * 10_000 + "}",
]
FIELDS = {
    "model_type": [None, 5, ["llama"], "", "foobar"],
    "num_hidden_layers": ["two", -1, 0, 2.5, True, {}, 10_000_000],
    "hidden_size": ["two", -1, 0, 2.5, 10**12],
    "vocab_size": ["two", -1, 0, True],
    "num_attention_heads": ["two", -4, 0],
    "intermediate_size": ["two", -1, []],
    "hidden_act": ["nope"],
    "rms_norm_eps": ["x"],
    "pad_token_id": [10**6],
    "dtype": ["float7"],
    "quantization_config": ["x"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.model_folder(tmp_path_factory.mktemp("models") / "llama")


def changed(folder, **facts) -> ModelSource:
    (folder / "config.json").write_text(json.dumps(facts))
    return ModelSource(name=str(folder))


@pytest.fixture
def facts(folder):
    file = folder / "config.json"
    text = file.read_text()
    yield json.loads(text)
    file.write_text(text)


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_mapping_is_named(folder, facts, text):
    (folder / "config.json").write_text(text)
    for read in (read_configuration, locate):
        with pytest.raises(ModelError, match=r"config\.json (is no JSON|holds)"):
            read(ModelSource(name=str(folder)))


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in FIELDS.items() for value in values])
def test_a_field_that_no_model_has_is_one_line_at_once(folder, facts, key, value):
    source, began = changed(folder, **{**facts, key: value}), time.monotonic()
    for way in (
        lambda: skeleton(read_configuration(source), name="mine"),
        lambda: load_model(source, locate(source), seed=0),
    ):
        with pytest.raises(ModelError) as raised:
            way()
        assert ("\n" not in str(raised.value) and "config.json" in str(raised.value)) or "cannot be loaded" in str(
            raised.value
        )
    assert time.monotonic() - began < 20


def test_the_key_and_what_was_got_are_named(folder, facts):
    source = changed(folder, **{**facts, "num_hidden_layers": 10_000_000})
    with pytest.raises(ModelError, match=r"config\.json: num_hidden_layers: got 10000000; it is at least 1"):
        read_configuration(source)
    source = changed(folder, model_type="gemma3", text_config={"num_hidden_layers": "two"})
    with pytest.raises(ModelError, match=r"text_config\.num_hidden_layers: got str 'two'"):
        read_configuration(source)
    with pytest.raises(ModelError, match=r"config\.json: .*Field 'rms_norm_eps'"):
        load_text(changed(folder, **{**facts, "rms_norm_eps": "x"}), locate(ModelSource(name=str(folder))))


@pytest.mark.parametrize("file", [*sorted(KNOWN.glob("*.json")), *(each / "config.json" for each in EMBEDDED.values())])
def test_every_configuration_that_ships_passes(file):
    assert read_config(file, name="known")["model_type"]


def test_a_defect_of_ours_keeps_its_traceback():
    class Odd(Exception):
        pass

    with pytest.raises(Odd), told("anything"):
        raise Odd


def test_heads_need_not_divide_the_width_where_their_own_is_derived_otherwise(folder, facts):
    """As GLM-4.7-Flash, 2048 values and 20 heads of latent attention, whose file has no head_dim."""
    others = {key: value for key, value in facts.items() if key != "head_dim"}
    found = read_configuration(changed(folder, **{**others, "num_attention_heads": 3}))
    assert found is not None and found["num_attention_heads"] == 3
