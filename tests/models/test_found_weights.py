"""A base whose files do not hold its weights is refused with their names; what is merely more is said."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from tunelab.config.schema import ModelSource
from tunelab.errors import ModelError
from tunelab.models.load import load_model, locate
from tunelab.models.streamed import hold_in_nf4, load_quantised

Q = "model.layers.0.self_attn.q_proj.weight"


def edited(folder, *, drop=(), add=None, cut=(), config=None, kind="llama"):
    """A model's folder with other weights, or another configuration, than it was saved with."""
    tiny.model_folder(folder, kind)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name in drop:
        del tensors[name]
    for name in cut:
        tensors[name] = tensors[name][:-1].contiguous()
    save_file({**tensors, **(add or {})}, file, metadata={"format": "pt"})
    if config:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return ModelSource(name=str(folder))


def loaded(source):
    notes = []
    return load_model(source, locate(source), seed=0, note=notes.append), notes


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5", "moe"])
def test_a_whole_model_is_read_without_a_word(kind, tmp_path):
    model, notes = loaded(edited(tmp_path / "m", kind=kind))
    assert notes == [] and not model.training


CASES = {
    "missing": ({"drop": [Q]}, rf"1 of its weights are in none of its files \({Q}\)"),
    "missing many": (
        {"drop": [f"model.layers.1.mlp.{part}_proj.weight" for part in ("up", "gate", "down")] + [Q]},
        r"4 of its weights are in none of its files \(.*and 1 more\)",
    ),
    "another shape": ({"cut": [Q]}, rf"1 of its weights have another shape in its files \({Q}\)"),
    "another vocabulary": ({"config": {"vocab_size": 4000}}, "have another shape in its files"),
    "fewer layers": ({"config": {"num_hidden_layers": 1}}, r"are in its files and have no place in the model"),
    "more layers": ({"config": {"num_hidden_layers": 3}}, r"are in none of its files \(model.layers.2"),
    "a bias too many": (
        {"add": {Q.replace("weight", "bias"): torch.zeros(32)}},
        r"1 of its weights are in its files and have no place in the model",
    ),
    "another architecture": ({"config": {"model_type": "bert", "is_decoder": True}}, r"are in none of its files"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_model_that_would_be_another_is_refused_with_names(case, tmp_path):
    changes, words = CASES[case]
    with pytest.raises(ModelError, match=words) as refused:
        loaded(edited(tmp_path / "m", **changes))
    assert "\n" not in str(refused.value) and "config.json" in str(refused.value)


def test_read_in_4_bits_it_is_refused_too(tmp_path):
    source = edited(tmp_path / "m", drop=[Q])
    located, notes = locate(source), []
    place = torch.device("cpu")
    assert load_quantised(source, located, hold=hold_in_nf4, place=place, note=notes.append) is None
    with pytest.raises(ModelError, match="are in none of its files"):
        load_model(source, located, seed=0)


def test_modules_that_the_model_does_not_have_are_said_and_old_buffers_are_not(tmp_path):
    more = {
        "vision_tower.encoder.weight": torch.zeros(2, 2),
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4),
    }
    _, notes = loaded(edited(tmp_path / "m", add=more))
    assert notes == [
        "1 tensors of its files are of modules that this model does not have (vision_tower.encoder.weight): unused"
    ]


def test_old_gpt2_files_hold_masks(tmp_path):
    more = {"transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8), "transformer.h.0.attn.masked_bias": torch.tensor(-1e4)}
    _, notes = loaded(edited(tmp_path / "m", kind="gpt2", add=more))
    assert notes == []


def test_a_bare_models_file_is_read(tmp_path):
    """As GPT-2's own on the hub, whose names leave `transformer.` out."""
    source = edited(tmp_path / "m", kind="gpt2")
    file = tmp_path / "m" / "model.safetensors"
    tensors = {name.removeprefix("transformer."): value for name, value in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    assert loaded(source)[1] == []
    del tensors["h.1.mlp.c_fc.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="1 of its weights are in none"):
        loaded(source)


def sharded(folder):
    """A folder whose weights lie in two files with an index."""
    tiny.model_folder(folder)
    rows = len(load_file(folder / "model.safetensors")["model.embed_tokens.weight"])
    (folder / "model.safetensors").unlink()
    tiny.model("llama", vocab_size=rows).save_pretrained(folder, max_shard_size="20KB")
    return folder / "model.safetensors.index.json"


def test_an_index_is_followed(tmp_path):
    index = sharded(tmp_path / "m")
    assert len(set(json.loads(index.read_text())["weight_map"].values())) > 1
    loaded(ModelSource(name=str(tmp_path / "m")))


@pytest.mark.parametrize(
    "shard, words",
    [
        ("pytorch_model.bin", "pickled weights never"),
        ("../x.safetensors", "in the same folder"),
        ("/tmp/x.safetensors", "in the same folder"),
        ("sub/x.safetensors", "in the same folder"),
        ("gone.safetensors", "which is not there"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused_before_anything_is_read(shard, words, tmp_path):
    index = sharded(tmp_path / "m")
    facts = json.loads(index.read_text())
    facts["weight_map"][Q] = shard
    index.write_text(json.dumps(facts))
    torch.save({Q: torch.zeros(32, 32)}, tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(ModelError, match=words):
        locate(ModelSource(name=str(tmp_path / "m")))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', "[" * 5000])
def test_a_damaged_index_is_refused(text, tmp_path):
    sharded(tmp_path / "m").write_text(text)
    with pytest.raises(ModelError, match="is no index of weights"):
        locate(ModelSource(name=str(tmp_path / "m")))
