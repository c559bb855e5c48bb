"""Every tuner of the installed PEFT through peft_any: trained, saved, read here and by PEFT, merged, attached again."""

import importlib.util
import inspect
import re
import subprocess
import sys

import peft
import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import PeftType
from pydantic import ValidationError

import tiny
from training_harness import run_training
from tunelab.config.read import read_study
from tunelab.errors import ConfigError
from tunelab.methods.peft_any import PeftAny
from tunelab.models.peft_tuners import REFUSED, tuner_names
from tunelab.study.planning.labels import labels
from tunelab.study.planning.plan import make_plan, recognise

SMALL = {
    "ADALORA": {"total_step": 6},
    "C3A": {"block_size": 8},
    "FOURIERFT": {"n_frequency": 50},
    "MISS": {"r": 4},
    "PSOFT": {"r": 4},
    "ROAD": {"group_size": 8},
    "SHIRA": {"r": 2},
    "TRAINABLE_TOKENS": {"token_indices": [3, 4, 5, 6, 7]},
    "VBLORA": {"vector_length": 8, "num_vectors": 16},
    "WAVEFT": {"n_frequency": 50},
}
"""Defaults made for matrices of a real model, made to fit 16 x 32."""
NO_CONV1D = {
    "BOFT", "C3A", "DELORA", "GLORA", "HRA", "LOHA", "LOKR", "MISS", "OFT", "OSF", "PEANUT", "PSOFT", "ROAD", "SHIRA",
    "SUPERTUNING",
}  # fmt: skip
"""PEFT 0.21 has no layer of these for GPT-2's transposed weights."""
NEEDS_WEIGHTS = {"FROD", "SHIRA"}
"""Built from the weights' values: nothing can be counted before they are there."""

INSTALLED = [name for name in tuner_names() if name != "ADAMSS" or importlib.util.find_spec("sklearn")]


def build(name: str, **options) -> PeftAny:
    return PeftAny(**{"type": name, "learning_rate": 1e-2, **SMALL.get(name, {}), **options})


def logits(model, kind: str = "llama") -> torch.Tensor:
    ids = torch.arange(2, 14).reshape(2, 6)
    extra = {"decoder_input_ids": ids} if kind == "t5" else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **extra).logits


MERGED = {"FOURIERFT": 5e-4, "FROD": 1e-4}
"""Difference of logits after merging: changes of the one are scaled by 150, the other's come of a decomposition."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("name", INSTALLED)
def test_trains_saves_loads_and_merges(name, kind, tmp_path):
    method = build(name)
    rows = tiny.rows(6, pairs=kind == "t5")
    if kind == "gpt2" and name in NO_CONV1D:
        with pytest.raises(ConfigError, match=rf"{name} (cannot be used on|trains nothing of) this model"):
            method.attach(tiny.model(kind), seed=0)
        return
    trained = run_training(method, tiny.model(kind), rows, budget={"steps": 6})
    model, losses = trained.model, trained.records.losses
    last = min(losses[1:]) if name == "PVERA" else losses[-1]  # it draws noise at every step
    assert last < losses[0], losses
    wanted = logits(model, kind)
    method.save(model, tmp_path)
    again = method.attach(tiny.model(kind), seed=0)
    method.load(again, tmp_path)
    assert torch.allclose(logits(again, kind), wanted, atol=1e-6)
    reference = peft.PeftModel.from_pretrained(tiny.model(kind), tmp_path)
    assert torch.allclose(logits(reference, kind), wanted, atol=1e-6)
    plain = method.merged(model)
    assert torch.allclose(logits(plain, kind), wanted, atol=MERGED.get(name, 1e-5))
    assert {key for key, _ in plain.named_parameters()} == {key for key, _ in tiny.model(kind).named_parameters()}
    assert logits(model, kind).equal(wanted), "merging changed the model"
    if name != "LORA":
        found, other = recognise(tmp_path)
        assert (found, other.type) == ("peft_any", name)
        assert not [key for key, value in method.options.items() if other.options.get(key, value) != value]


@pytest.mark.parametrize("name", INSTALLED)
def test_initial_values_depend_on_the_seed_alone(name):
    first = build(name).attach(tiny.model("llama"), seed=3).state_dict()
    model = tiny.model("llama")
    torch.rand(100)
    before = torch.get_rng_state()
    second = build(name).attach(model, seed=3).state_dict()
    assert torch.get_rng_state().equal(before), "attaching draws from the run's own random numbers"
    assert [key for key, value in first.items() if not value.equal(second[key])] == []


@pytest.mark.parametrize("name", INSTALLED)
def test_the_plan_counts_what_is_trained(name):
    real = build(name).attach(tiny.model("llama"), seed=0)
    empty = tiny.model("llama").to("meta")
    if name in NEEDS_WEIGHTS:
        with pytest.raises(NotImplementedError, match=f"{name} cannot be built without weights"):
            build(name).attach(empty, seed=0)
        return
    shapes = build(name).attach(empty, seed=0)
    counts = [sum(p.numel() for p in model.parameters() if p.requires_grad) for model in (real, shapes)]
    assert counts[0] == counts[1] > 0


def test_the_names_are_those_that_peft_can_train():
    """Read from PEFT's source without importing it; what has no layers of its own is refused."""
    layered = {
        kind.value
        for kind, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items()
        if inspect.isclass(tuner) and issubclass(tuner, BaseTuner)
    }
    assert set(tuner_names()) == layered - set(REFUSED)
    assert {"ADALORA", "IA3", "VERA", "OFT"} < set(tuner_names())
    assert set(REFUSED) <= {kind.value for kind in PeftType}


@pytest.mark.slow
def test_names_are_read_without_importing():
    code = "import sys; from tunelab.study.verbs.listing import listing; text = listing('methods')['peft_any']; "
    code += "assert 'ADALORA' in text and 'VERA' in text, text; print(sorted({'peft', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "ADALROA"}, "no tuner 'ADALROA'. Did you mean 'ADALORA'"),
        ({"type": "PREFIX_TUNING"}, "learns inputs in place of weights"),
        ({"type": "VERA", "vera_droput": 0.1}, "unknown key 'vera_droput' for PEFT's VeraConfig. Did you mean 'vera_d"),
        ({"type": "VERA", "r": "many"}, "r: must be a valid integer"),
        ({"type": "VERA", "peft_type": "LORA"}, "unknown key 'peft_type'"),
        ({"type": "ADALORA", "tinit": 5, "tfinal": 5, "total_step": 10}, "budgeting phase"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_a_model_is_loaded(options, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        PeftAny(**options)


def test_a_name_in_small_letters_and_options_survive_a_round_trip():
    method = PeftAny(type="vera", r=16, vera_dropout=0.1)
    assert method.type == "VERA"
    assert PeftAny(**method.model_dump(mode="json")) == method
    assert method.options == {"r": 16, "vera_dropout": 0.1}


def test_targets_of_a_study_may_be_a_list():
    study = "{model: tunelab/tiny, tasks: [headlines], methods: [peft_any: {type: LORA, targets: [q_proj, up_proj]}]}"
    (planned,) = make_plan(read_study(text=study)).methods
    assert planned.method.targets == ("q_proj", "up_proj")


def test_labels_tell_the_options_apart():
    entries = [("peft_any", PeftAny(type="VERA", r=rank), (1e-3,)) for rank in (16, 64)]
    entries.append(("peft_any", PeftAny(type="IA3"), (1e-3,)))
    found = labels(entries)
    assert found == ["peft_any type=VERA r=16", "peft_any type=VERA r=64", "peft_any type=IA3"]


def test_the_adapter_names_the_model_of_the_study(tmp_path):
    """Not the folder that it was read from: that means nothing on another machine."""
    model = tiny.model("llama")
    model.name_or_path, model.config._name_or_path = "/cache/snapshots/1234", "somebody/model"
    method = build("VERA")
    method.save(method.attach(model, seed=0), tmp_path)
    assert peft.PeftConfig.from_pretrained(tmp_path).base_model_name_or_path == "somebody/model"
