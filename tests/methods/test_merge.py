"""Merging finished runs: against parents, hand-made sums, PEFT's merge functions, and a slow reference of DARE."""

import pytest
import torch
from peft.utils import merge_utils
from pydantic import ValidationError

import tiny
from contracts.test_methods_made_of_runs import combined, trained_parents
from tunelab.kernels import task_vectors
from tunelab.study.planning.plan import build_method


def merge(members, **options):
    labels = ["full", "lora", "third"][: len(members)]
    return build_method("merge", {"of": labels, **options}).with_members(members)


def weights(model) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def parents_weights(members, folders) -> list[dict[str, torch.Tensor]]:
    """Plain weights of each parent, loaded by its own method."""
    found = []
    for member, folder in zip(members, folders, strict=True):
        model = member.attach(tiny.model("llama"), seed=1)
        member.load(model, folder)
        found.append(weights(member.merged(model)))
    return found


def test_average_of_identical_parents_is_the_parent(tmp_path):
    members, folders = trained_parents("llama", tmp_path)
    method = merge([members[0]] * 2)
    result = weights(combined(method, "llama", [folders[0]] * 2).model)
    for name, value in parents_weights(members[:1], folders[:1])[0].items():
        assert torch.allclose(result[name], value, atol=1e-7), name


def test_task_arithmetic_of_one_with_weight_1_is_the_parent(tmp_path):
    members, folders = trained_parents("llama", tmp_path)
    for index in (0, 1):
        method = merge([members[index]], how="task_arithmetic", weights=[1.0])
        result = weights(combined(method, "llama", [folders[index]]).model)
        for name, value in parents_weights(members, folders)[index].items():
            assert torch.allclose(result[name], value, atol=1e-7), name


@pytest.mark.parametrize("how", ["average", "task_arithmetic"])
def test_weights_are_the_base_plus_weighted_changes(how, tmp_path):
    members, folders = trained_parents("llama", tmp_path)
    shares = (0.3, 0.7) if how == "average" else (0.5, 0.9)
    result = weights(combined(merge(members, how=how, weights=shares), "llama", folders).model)
    base = weights(tiny.model("llama"))
    one, other = parents_weights(members, folders)
    for name, value in base.items():
        expected = value + shares[0] * (one[name] - value) + shares[1] * (other[name] - value)
        assert torch.allclose(result[name], expected, atol=1e-6), name
    assert any(not result[name].equal(value) for name, value in base.items())


def test_ties_equals_peft(tmp_path):
    members, folders = trained_parents("llama", tmp_path)
    result = weights(combined(merge(members, how="ties", density=0.3), "llama", folders).model)
    base = weights(tiny.model("llama"))
    plain = parents_weights(members, folders)
    for name, value in base.items():
        deltas = [each[name] - value for each in plain]
        expected = merge_utils.ties(deltas, torch.ones(2), density=0.3)
        assert torch.allclose(result[name] - value, expected, atol=1e-6), name


def test_ties_by_hand():
    """Trimmed to two of four: (4, 0, -3, 0) and (-1, 0, -5, 0); elected signs +, +, -, +."""
    deltas = [torch.tensor([4.0, 1.0, -3.0, 2.0]), torch.tensor([-1.0, 0.5, -5.0, 0.2])]
    assert task_vectors.ties(deltas, [1.0, 1.0], density=0.5).tolist() == [4.0, 0.0, -4.0, 0.0]


def test_dare_drops_by_key_and_keeps_the_mean(tmp_path):
    delta = torch.full((200, 200), 0.5)
    dropped = task_vectors.drop(delta, density=0.25, seed=3, name="a")
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert abs(float(dropped.mean()) - 0.5) < 0.02
    assert dropped.equal(task_vectors.drop(delta, density=0.25, seed=3, name="a"))
    assert not dropped.equal(task_vectors.drop(delta, density=0.25, seed=3, name="b"))
    assert not dropped.equal(task_vectors.drop(delta, density=0.25, seed=4, name="a"))

    members, folders = trained_parents("llama", tmp_path)
    method = merge(members, how="dare", density=0.5)
    once, again = (weights(combined(method, "llama", folders).model) for _ in range(2))
    assert all(value.equal(again[name]) for name, value in once.items()), "its draws are not a function of the seed"
    name, base = "model.layers.0.mlp.up_proj.weight", weights(tiny.model("llama"))
    change = once[name] - base[name]
    assert 0.15 < float((change == 0).float().mean()) < 0.35, "both dropped: a quarter"
    whole = weights(combined(merge(members, how="dare", density=1.0), "llama", folders).model)
    average = weights(combined(merge(members), "llama", folders).model)
    assert all(torch.allclose(value, average[key], atol=1e-7) for key, value in whole.items())


def test_search_takes_the_lowest_validation_loss_and_says_how_many_it_tried(tmp_path):
    members, folders = trained_parents("llama", tmp_path)
    method, seen = merge(members, weights="search"), []
    models: list = []

    def validation_loss() -> float:
        """Lowest at the fourth of eleven models."""
        seen.append(weights(models[0]))
        return abs(len(seen) - 4.0)

    model = method.attach(tiny.model("llama"), seed=0)
    models.append(model)
    notes = method.combine(model, folders, seed=0, validation_loss=validation_loss)
    assert len(seen) == 11
    assert "11 validation losses" in notes[0] and "weights 0.3 and 0.7" in notes[0]
    assert all(value.equal(seen[3][name]) for name, value in weights(model).items())
    assert not all(value.equal(seen[4][name]) for name, value in weights(model).items())


def test_base_in_bf16_products_is_merged_in_fp32(tmp_path):
    """A change smaller than bf16 can hold beside its weight must not be lost."""
    members, folders = trained_parents("llama", tmp_path, rates=(1e-6, 1e-6))
    session = combined(merge(members), "llama", folders, precision="bf16")
    base = weights(tiny.model("llama"))
    after = weights(session.model)
    assert all(value.dtype == torch.float32 for value in after.values())
    assert any(not value.equal(base[name]) for name, value in after.items())


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"of": ["a", "a"]}, "stands there twice"),
        ({"of": ["a", "b"], "weights": [1.0]}, "give one a run"),
        ({"of": ["a", "b"], "weights": [1.0, 1.0]}, "must add up|add up to 1"),
        ({"of": ["a", "b", "c"], "weights": "search"}, "two runs"),
        ({"of": ["a", "b"], "weights": "search", "how": "ties"}, "not for ties"),
        ({"of": ["a", "b"], "density": 0.2}, "option of ties and dare"),
        ({"of": ["a", "b"], "density": 0.0, "how": "dare"}, "greater than 0"),
        ({"of": []}, "at least 1"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options, rule):
    with pytest.raises(ValidationError, match=rule):
        build_method("merge", options)
