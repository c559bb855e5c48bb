"""A model read tensor by tensor and quantised as it arrives: the bits of the whole model quantised afterwards."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from parity.zoo import families
from tunelab.backends.torch import loading
from tunelab.config.schema import ModelSource
from tunelab.models.load import EMBEDDED, load_model, load_text, locate
from tunelab.models.quantise import Nf4Linear, quantise_model
from tunelab.models.streamed import hold_in_nf4, load_quantised
from tunelab.models.targets import is_quantised
from tunelab.study.planning.plan import build_method

CPU = torch.device("cpu")


def both(folder):
    """The streamed model and the whole one quantised afterwards, and the notes of the first."""
    source, notes = ModelSource(name=str(folder)), []
    located = locate(source)
    streamed = load_quantised(source, located, hold=hold_in_nf4, place=CPU, note=notes.append)
    if streamed is None:
        return None, None, notes
    return streamed, quantise_model(load_model(source, located, seed=0)), notes


def held(model) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}


def assert_same(one, other) -> None:
    left, right = held(one), held(other)
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert value.dtype == right[name].dtype and value.equal(right[name]), name
        assert value.requires_grad == right[name].requires_grad, name
    ties = [{name: [other for other in each if each[other] is each[name]] for name in each} for each in (left, right)]
    assert ties[0] == ties[1]
    assert one.generation_config.to_dict() == other.generation_config.to_dict()
    assert one.config.to_dict() == other.config.to_dict() and not one.training
    assert [type(module) for module in one.modules()] == [type(module) for module in other.modules()]


def sharded(folder, kind: str, *, dtype=torch.float32, **changes):
    """Saved in files of at most 20 kB."""
    model = tiny.model(kind, **changes).to(dtype)
    model.save_pretrained(folder, max_shard_size="20kB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_streamed_is_the_whole_model_quantised_bit_for_bit(kind, dtype, tmp_path):
    streamed, whole, notes = both(sharded(tmp_path, kind, dtype=dtype))
    assert notes == [] and any(isinstance(module, Nf4Linear) for module in streamed.modules())
    assert_same(streamed, whole)
    ids = torch.arange(2, 14).reshape(2, 6)
    extra = {"decoder_input_ids": ids} if kind == "t5" else {}
    with torch.no_grad():
        logits = [model(input_ids=ids, **extra).logits for model in (streamed, whole)]
    assert logits[0].equal(logits[1])


QLORA, Q_GALORE = {"qlora": {"rank": 4}}, {"q_galore": {"rank": 4}}
ROSA, FULL = {"rosa": {"rank": 4, "base": "nf4"}}, {"full": {}}
READ_SO = {
    "qlora": QLORA,
    "rosa over nf4": ROSA,
    "q_galore": Q_GALORE,
    "q_galore of attention": {"q_galore": {"rank": 4, "targets": "attention"}},
    "qlora then full": {"sequential": {"parts": [QLORA, FULL]}},
    "q_galore then lora": {"sequential": {"parts": [Q_GALORE, {"lora": {"rank": 4}}]}},
    "full in attention, qlora elsewhere": {"layerwise": {"parts": [FULL, QLORA]}},
    "q_galore in attention, rosa elsewhere": {"layerwise": {"parts": [Q_GALORE, ROSA]}},
}


def built(entry):
    ((name, options),) = entry.items()
    return build_method(name, options)


def assert_attached_alike(method, folder) -> None:
    source, notes = ModelSource(name=str(folder)), []
    located, hold = locate(source), partial(method.hold, seed=3)
    streamed = load_quantised(source, located, hold=hold, place=CPU, note=notes.append)
    whole = load_model(source, located, seed=3)
    assert notes == [] and method.remarks(streamed) == method.remarks(whole)
    assert any(is_quantised(module) for module in streamed.modules())
    assert_same(*(method.attach(model, seed=3) for model in (streamed, whole)))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("entry", READ_SO.values(), ids=READ_SO)
def test_a_method_finds_the_model_that_it_would_have_quantised(entry, kind, tmp_path):
    method = built(entry)
    assert method.read_as != "float"
    assert_attached_alike(method, sharded(tmp_path, kind))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_8_bit_codes_of_narrow_weights_are_those_of_the_whole_model(dtype, tmp_path):
    assert_attached_alike(built(Q_GALORE), sharded(tmp_path, "llama", dtype=dtype))


def test_models_that_answer_together_are_copied_from_one_in_4_bits(tmp_path):
    source = ModelSource(name=str(sharded(tmp_path, "llama")))
    method = build_method("ensemble", {"of": ["a", "b"]}).with_members([built(QLORA), built(ROSA)])
    hold = partial(method.hold, seed=3)
    streamed = load_quantised(source, locate(source), hold=hold, place=CPU, note=pytest.fail)
    together = [method.attach(model, seed=3) for model in (streamed, load_model(source, locate(source), seed=3))]
    assert method.read_as == "nf4"
    for one, other in zip(*(each.models for each in together), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(
    "method",
    [
        built({"sequential": {"parts": [FULL, QLORA]}}),
        build_method("ensemble", {"of": ["a", "b"]}).with_members([built(QLORA), built(FULL)]),
        build_method("ensemble", {"of": ["a", "b"]}).with_members([built(Q_GALORE), built(QLORA)]),
        build_method("merge", {"of": ["a", "b"]}).with_members([built(QLORA), built(QLORA)]),
    ],
    ids=["full then qlora", "one in float", "in 8 bits and in 4", "what is merged"],
)
def test_what_begins_in_float_is_read_in_float(method):
    assert method.read_as == "float"


@pytest.mark.parametrize("entry", [QLORA, Q_GALORE, READ_SO["full in attention, qlora elsewhere"]])
def test_a_run_reads_its_model_so(entry, tmp_path, monkeypatch):
    source = ModelSource(name=str(tiny.model_folder(tmp_path)))
    monkeypatch.setattr(loading, "load_model", lambda *given, **named: pytest.fail("it was read as a whole"))
    run, located = tiny.run_config(model=source), locate(source)
    session = loading.open_session(run, built(entry), located=located, text=load_text(source, located), notes=[])
    assert any(is_quantised(module) for module in session.model.modules())


@pytest.mark.parametrize("name", list(EMBEDDED))
def test_the_embedded_models_are_read_so(name):
    source, notes = ModelSource(name=name), []
    streamed = load_quantised(source, locate(source), hold=hold_in_nf4, place=CPU, note=notes.append)
    assert notes == []
    assert_same(streamed, quantise_model(load_model(source, locate(source), seed=0)))


@pytest.mark.slow
def test_every_family_is_read_so_or_left_to_transformers(tmp_path):
    left = set()
    for name, animal in families.ALL.items():
        streamed, whole, notes = both(families.write(animal, tmp_path / name))
        if streamed is None:
            left.add(name)
            assert len(notes) == 1, name
        else:
            assert_same(streamed, whole)
    assert left == {"mixtral", "marian"}, "fused experts; positions that are in no file"


def test_files_in_another_type_than_the_configuration_says_are_cast_before_they_are_quantised(tmp_path):
    sharded(tmp_path, "llama")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    streamed, whole, notes = both(tmp_path)
    assert notes == [] and streamed.get_input_embeddings().weight.dtype == torch.bfloat16
    assert_same(streamed, whole)


def test_an_untied_head_and_biases_are_read(tmp_path):
    streamed, whole, notes = both(sharded(tmp_path, "llama", tie_word_embeddings=False, attention_bias=True))
    assert notes == []
    assert_same(streamed, whole)


def test_fused_experts_are_left_to_transformers_and_said(tmp_path):
    source, notes = ModelSource(name=str(sharded(tmp_path, "moe"))), []
    assert load_quantised(source, locate(source), hold=hold_in_nf4, place=CPU, note=notes.append) is None
    assert len(notes) == 1 and re.match(
        "the model was read as a whole before it was quantised: transformers makes", notes[0]
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: {f"a.{name}": value for name, value in weights.items()}, "in its files is not the model's"),
        (lambda weights: {key: value for key, value in weights.items() if "norm" not in key}, "is in no file"),
        (lambda weights: {**weights, "more": torch.zeros(3)}, "more in its files is not the model's"),
        (lambda weights: {**weights, "model.norm.weight": torch.zeros(7)}, "model.norm.weight has another shape"),
    ],
    ids=["renamed", "missing", "unknown", "another shape"],
)
def test_what_is_not_plainly_the_models_own_is_said(change, said, tmp_path):
    tiny.model("llama").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({name: value.clone() for name, value in change(load_file(file)).items()}, file, metadata={"format": "pt"})
    source, notes = ModelSource(name=str(tmp_path)), []
    assert load_quantised(source, locate(source), hold=hold_in_nf4, place=CPU, note=notes.append) is None
    assert len(notes) == 1 and said in notes[0], notes


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: {name.removeprefix("model."): value for name, value in weights.items()},
        lambda weights: {**weights, "lm_head.weight": weights["model.embed_tokens.weight"]},
        lambda weights: {**weights, "lm_head.weight": weights["model.embed_tokens.weight"] + 1},
        lambda weights: {**weights, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)},
    ],
    ids=["of the model without a head", "tied, and there twice", "another head than is tied", "of old releases"],
)
def test_what_transformers_only_renames_or_leaves_out_is_read_so(change, tmp_path):
    tiny.model("llama").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({name: value.clone() for name, value in change(load_file(file)).items()}, file, metadata={"format": "pt"})
    streamed, whole, notes = both(tmp_path)
    assert notes == []
    assert_same(streamed, whole)
    heads = [model.get_output_embeddings().weight is model.get_input_embeddings().weight for model in (streamed, whole)]
    assert heads[0] == heads[1]


def test_a_model_drawn_at_random_has_no_files_and_says_nothing(tmp_path):
    source, notes = ModelSource(name=str(sharded(tmp_path, "llama")), initialize="random"), []
    assert load_quantised(source, locate(source), hold=hold_in_nf4, place=CPU, note=notes.append) is None
    assert notes == []


MEASURED = """
import json, sys
from functools import partial
import torch
from tunelab.config.schema import ModelSource
from tunelab.models.load import load_model, locate
from tunelab.models.streamed import load_quantised
from tunelab.study.planning.plan import build_method
from tunelab.training.telemetry import ResidentMemory

def load(folder, how):
    source = ModelSource(name=folder)
    located = locate(source)
    memory.reset()
    before = memory.current_gib()
    if how == "streamed":
        hold = partial(method.hold, seed=0)
        model = load_quantised(source, located, hold=hold, place=torch.device("cpu"), note=print)
    else:
        model = load_model(source, located, seed=0)
    model = method.attach(model, seed=0)
    tensors = [*model.parameters(), *model.buffers()]
    return memory.peak_gib() - before, sum(value.numel() * value.dtype.itemsize for value in tensors) / 2**30

torch.set_num_threads(1)
memory = ResidentMemory()
((name, options),) = json.loads(sys.argv[4]).items()
method = build_method(name, options)
load(sys.argv[1], sys.argv[3])  # what libraries take is not the model's
print(json.dumps(load(sys.argv[2], sys.argv[3])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("entry", [QLORA, Q_GALORE, {"layerwise": {"parts": [Q_GALORE, QLORA]}}])
def test_the_peak_of_loading_is_the_quantised_model_one_layer_and_the_largest_tensor(entry, tmp_path):
    """Against the whole model in float, as it was read before: 12 layers, 40 million weights, 7 files."""
    wide = dict(hidden_size=512, intermediate_size=1408, num_hidden_layers=12, num_attention_heads=8)
    for name, sizes, shard in (("small", {}, "5GB"), ("large", wide, "20MB")):
        tiny.model("llama", **sizes).save_pretrained(tmp_path / name, max_shard_size=shard)
    files = list((tmp_path / "large").glob("*.safetensors"))
    on_disk = sum(file.stat().st_size for file in files) / 2**30
    found: dict[str, float] = {}
    for how in ("streamed", "streamed", "whole"):  # what else the process does adds to a peak and never takes from it
        folders = [str(tmp_path / "small"), str(tmp_path / "large")]
        command = [sys.executable, "-c", MEASURED, *folders, how, json.dumps(entry)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        peak, model = json.loads(done.stdout.splitlines()[-1])
        found[how] = min(peak, found.get(how, peak))
    largest, layer = 512 * 1408 * 4 / 2**30, (4 * 512**2 + 3 * 512 * 1408) * 4 / 2**30
    assert len(files) >= 7 and on_disk > 3 * model
    assert found["streamed"] <= model + layer + largest + 6 / 1024, found
    assert found["whole"] > on_disk, "reading the whole model was expected to take its size"


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(tiny.__file__).parent), *sys.path])
    return {**os.environ, "PYTHONPATH": path}
