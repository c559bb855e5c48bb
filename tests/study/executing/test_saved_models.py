"""Adapters in PEFT's format are read with the options they were trained with, or refused."""

import json

import pytest

from tunelab.errors import ModelError
from tunelab.study.executing.saved import find_saved

ADAPTER = {
    "peft_type": "LORA",
    "base_model_name_or_path": "tunelab/tiny",
    "r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "target_modules": ["q_proj", "v_proj"],
}


@pytest.fixture
def adapter(tmp_path):
    def write(**changes):
        (tmp_path / "adapter_config.json").write_text(json.dumps({**ADAPTER, **changes}))
        return str(tmp_path)

    return write


def test_rank_alpha_and_targets_come_from_the_adapter(adapter):
    saved = find_saved(adapter())
    assert saved.source.name == "tunelab/tiny"
    assert (saved.method.rank, saved.method.alpha, saved.method.dropout) == (4, 8.0, 0.1)
    assert saved.method.targets == ("q_proj", "v_proj")


def test_rank_stabilised_scale_and_ranks_by_layer_are_kept(adapter):
    method = find_saved(adapter(use_rslora=True, rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3})).method
    assert (method.scaling, method.ranks, method.alphas) == ("rslora", {"q_proj": 2}, {"v_proj": 3.0})


@pytest.mark.parametrize(
    "change", [{"bias": "lora_only"}, {"init_lora_weights": "pissa"}, {"layers_to_transform": [0]}]
)
def test_what_would_change_numbers_silently_is_refused(adapter, change):
    with pytest.raises(ModelError, match=next(iter(change))):
        find_saved(adapter(**change))


def test_an_adapter_without_its_tensors_is_named_by_its_configuration(adapter):
    """That they are missing is said when they are read."""
    assert find_saved(adapter(modules_to_save=["lm_head"], bias="all")).method.also == ()


@pytest.mark.parametrize(
    ("change", "name"), [({"use_dora": True}, "dora"), ({"peft_type": "IA3"}, "peft_any"), ({}, "lora")]
)
def test_each_kind_of_adapter_is_its_methods(adapter, change, name):
    assert find_saved(adapter(**change)).facts["name"] == name


@pytest.mark.parametrize("kind", ["PREFIX_TUNING", "SOMETHING_NEWER"])
def test_another_kind_of_adapter_is_named(adapter, kind):
    with pytest.raises(ModelError, match=kind):
        find_saved(adapter(peft_type=kind))


@pytest.mark.parametrize(
    "change", [{"rank_pattern": {"q_proj": 2}}, {"use_rslora": True}, {"init_lora_weights": "pissa"}]
)
def test_dora_with_more_than_dora_has_here_is_refused(adapter, change):
    with pytest.raises(ModelError, match=next(iter(change))):
        find_saved(adapter(use_dora=True, **change))


def test_an_adapter_must_name_its_model(adapter):
    with pytest.raises(ModelError, match="base_model_name_or_path"):
        find_saved(adapter(base_model_name_or_path=None))


def test_any_other_name_is_a_model_to_be_found_later():
    saved = find_saved("owner/name")
    assert (saved.source.name, saved.method, saved.folder) == ("owner/name", None, None)
