"""A study that asks for several devices is told, with its line, which of its methods and back ends cannot."""

import pytest

from tunelab import catalogue
from tunelab.config.launch import Ranks
from tunelab.config.read import read_study
from tunelab.errors import ConfigError
from tunelab.study.planning.plan import identity, make_plan
from tunelab.study.planning.planned import Revisions
from tunelab.study.planning.run_config import base_run, cells, method_run

HEAD = "name: s\nmodel: tunelab/tiny\ntasks: [restaurants]\n"
REVISIONS = Revisions(model="m", tasks={"restaurants": "d"}, precision="fp32", threads=2)


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        make_plan(read_study(text=text))
    return "\n".join(caught.value.problems)


def runs(text: str) -> dict:
    plan = make_plan(read_study(text=text))
    found = {"base": base_run(plan, plan.tasks[0], "torch", REVISIONS)}
    for backend, task, method in cells(plan):
        found[method.label] = method_run(
            plan, task, backend, REVISIONS, method=method, seed=0, candidate=method.candidates[0]
        )
    return found


def test_methods_that_cannot_be_spread_are_named_with_their_lines():
    text = f"{HEAD}methods:\n  - lora\n  - lisa\n  - q_galore\n  - full\nlaunch: {{devices: 2}}\n"
    told = problems(text)
    assert "study text:6: methods.1.lisa: trains on one device, and launch asks for 2 devices" in told
    assert "study text:7: methods.2.q_galore: trains on one device" in told
    assert "lora" not in told and "full:" not in told
    assert make_plan(read_study(text=text.replace("devices: 2", "devices: 1")))


def test_what_cannot_be_cut_is_named_with_its_lines():
    methods = "  - lora\n  - qlora\n  - dora\n  - full: {optimizer: adafactor}\n  - full\n"
    told = problems(f"{HEAD}methods:\n{methods}launch: {{devices: 2, shard: true}}\n")
    assert "methods.1.qlora: cannot be cut over devices (launch.shard: true)" in told
    assert "methods.2.dora: cannot be cut over devices" in told
    assert "methods.3.full: optimizer adafactor cannot be cut over devices (launch.shard: true), adamw can" in told
    assert "methods.0" not in told and "methods.4" not in told


def test_what_looks_at_or_adds_to_whole_weights_is_not_cut_either():
    head = HEAD.replace("model: tunelab/tiny\n", 'model: {name: tunelab/tiny, tokens: ["<|x|>"]}\n')
    told = problems(f"{head}methods: [lora]\nlaunch: {{devices: 2, shard: true}}\n")
    assert "study text:2: model.tokens: added rows cannot be cut over devices (launch.shard: true)" in told
    told = problems(f"{HEAD}methods:\n  - lora: {{init: lora_ga}}\nlaunch: {{devices: 2, shard: true}}\n")
    assert "init: lora_ga starts from whole matrices, which launch.shard: true cuts" in told


def test_vllm_cannot_generate_from_a_model_that_is_cut():
    told = problems(f"{HEAD}methods: [lora]\nlaunch: {{devices: 2, shard: true}}\nevaluation: {{engine: vllm}}\n")
    assert "evaluation.engine: vllm generates from one device" in told


def test_a_base_that_is_not_trained_is_not_cut():
    found = runs(f"{HEAD}methods: [lora]\nlaunch: {{devices: 2, shard: true}}\n")
    assert found["base"].ranks == Ranks(devices=2) and found["lora"].ranks == Ranks(devices=2, shard=True)


def test_a_back_end_of_one_device_is_named(monkeypatch):
    monkeypatch.setattr(catalogue.load("backends", "torch"), "parallel", False)
    told = problems(f"{HEAD}methods: [lora]\nlaunch: {{devices: 2}}\n")
    assert "torch trains on one device, and launch asks for 2 devices" in told


def test_runs_carry_their_devices_and_keep_their_identities():
    text = f"{HEAD}methods:\n  - lora\n  - full\n  - merge: {{of: [lora, full]}}\n"
    several, one = runs(f"{text}launch: {{devices: 3}}\n"), runs(text)
    label = next(name for name in several if name.startswith("merge"))
    assert several["base"].ranks == several["lora"].ranks == Ranks(devices=3)
    assert several[label].ranks == Ranks(), "it takes no step"
    assert {name: identity(run) for name, run in several.items()} == {name: identity(run) for name, run in one.items()}


def test_methods_that_can_are_these():
    """docs/devices.md has the same."""
    found = {name: catalogue.load("methods", name) for name in catalogue.names("methods")}
    assert {name for name, cls in found.items() if cls.parallel} == set(
        "full lora qlora rosa galore apollo dora".split()
    )
    assert {name for name, cls in found.items() if cls.shards} == {"full", "lora", "galore"}


def test_unknown_trackers_are_named_with_their_lines():
    told = problems(f"{HEAD}methods: [lora]\ntrack:\n  - tensorboard\n  - wandbb\n  - tensorboard\n")
    assert "study text:7: track.1: no tracker is called 'wandbb'. Did you mean 'wandb'? There are: " in told
    assert "study text:8: track.2: 'tensorboard' stands there twice; delete one" in told
    assert "must be a list" in problems(f"{HEAD}methods: [lora]\ntrack: wandb\n")


def test_trackers_are_no_part_of_a_run():
    with_them, without = (runs(f"{HEAD}methods: [lora]\n{more}") for more in ("track: [wandb, mlflow]\n", ""))
    assert with_them == without
