"""Distances of what two runs saved: values by hand, and every tensor that is in none is named."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from report.two_ends import aligned, of, two_ends
from tunelab.report.alignment import distance as module
from tunelab.report.alignment.distance import distance, product_sums, relative


def run(folder, tensors, *, adapter=None, file="model.safetensors"):
    """A run's folder with these weights."""
    home = folder / "model"
    home.mkdir(parents=True, exist_ok=True)
    save_file({name: np.asarray(values, dtype=np.float32) for name, values in tensors.items()}, home / file)
    if adapter is not None:
        (home / "adapter_config.json").write_text(json.dumps(adapter))
    return SimpleNamespace(folder=folder)


def factors(seed, *, out=7, rank=2, width=5):
    drawn = np.random.default_rng(seed)
    return drawn.normal(size=(rank, width)), drawn.normal(size=(out, rank))


def test_distance_is_of_every_tensor_and_of_all_numbers_together(tmp_path):
    found = distance(
        run(tmp_path / "a", {"x": [3.0, 4.0], "y": [[12.0]], "zero": [0.0]}),
        run(tmp_path / "b", {"x": [3.0, 4.5], "y": [[10.8]], "zero": [0.0]}),
    )
    assert found.relative == pytest.approx(np.sqrt((0.25 + 1.44) / 169), rel=1e-6) == pytest.approx(0.1, rel=1e-6)
    assert [(each.name, pytest.approx(each.relative, rel=1e-6)) for each in found.tensors] == [
        ("x", 0.1), ("y", 0.1), ("zero", 0.0),
    ]  # fmt: skip
    assert (found.num_tensors, found.product, found.notes) == (3, None, ())


def test_the_three_tensors_furthest_apart_are_named(tmp_path):
    first = {f"t{place}": [1.0] for place in range(5)} | {"k.bias": [0.0]}
    other = {f"t{place}": [1.0 + place / 10] for place in range(5)} | {"k.bias": [1e-9]}
    found = distance(run(tmp_path / "a", first), run(tmp_path / "b", other))
    assert [each.name for each in found.largest] == ["k.bias", "t4", "t3"]
    assert found.largest[0].relative == np.inf and found.largest[1].relative == pytest.approx(0.4, rel=1e-6)


def test_blocks_change_nothing(tmp_path, monkeypatch):
    values = np.random.default_rng(0).normal(size=(2, 10, 10))
    runs = [run(tmp_path / str(place), {"x": each}) for place, each in enumerate(values)]
    whole = distance(*runs).relative
    monkeypatch.setattr(module, "BLOCK", 7)
    assert distance(*runs).relative == pytest.approx(whole, rel=1e-12)


def test_bfloat16_is_read(tmp_path):
    for name, values in (("a", [1.0, -2.5, 3.0]), ("b", [1.0, -2.5, 4.0])):
        (tmp_path / name / "model").mkdir(parents=True)
        save_torch(
            {"before": torch.ones(3), "x": torch.tensor(values, dtype=torch.bfloat16)},
            tmp_path / name / "model" / "model.safetensors",
        )
    found = distance(SimpleNamespace(folder=tmp_path / "a"), SimpleNamespace(folder=tmp_path / "b"))
    assert {each.name: each.relative for each in found.tensors}["x"] == pytest.approx(1 / np.sqrt(1 + 6.25 + 9))


def test_what_cannot_be_compared_is_named(tmp_path):
    first = {"same": [1.0], "alone": [1.0], "shape": [1.0, 2.0], "broken": [np.nan]}
    other = {"same": [1.0], "shape": [1.0], "broken": [1.0]}
    found = distance(run(tmp_path / "a", first), run(tmp_path / "b", other))
    assert [each.name for each in found.tensors] == ["same"]
    assert found.notes == (
        "model.safetensors: alone saved by one of them alone",
        "model.safetensors: shape of different shapes",
        "model.safetensors: broken with values that are not finite",
    )


def test_whole_numbers_are_counted_and_in_no_distance(tmp_path):
    for name, codes in (("a", [1, 2]), ("b", [1, 3])):
        (tmp_path / name / "model").mkdir(parents=True)
        tensors = {"codes": np.array(codes, np.int8), "same": np.array([7], np.int8), "x": np.ones(2, np.float32)}
        save_file(tensors, tmp_path / name / "model" / "q_galore.safetensors")
    found = distance(SimpleNamespace(folder=tmp_path / "a"), SimpleNamespace(folder=tmp_path / "b"))
    assert found.num_tensors == 1 and found.relative == 0.0
    assert found.notes == (
        "q_galore.safetensors: 2 tensors of whole numbers (codes) are in no distance; 1 of them are the same",
    )


def test_large_missing_and_broken_files_are_said(tmp_path, monkeypatch):
    first, other = run(tmp_path / "a", {"x": [1.0]}), run(tmp_path / "b", {"x": [1.0]})
    run(tmp_path / "a", {"y": np.ones(1000)}, file="large.safetensors")
    run(tmp_path / "b", {"y": np.ones(1000)}, file="large.safetensors")
    run(tmp_path / "a", {"y": [1.0]}, file="extra.safetensors")
    for name in ("a", "b"):
        (tmp_path / name / "model" / "broken.safetensors").write_bytes(b"no tensors")
    monkeypatch.setattr(module, "LARGEST_FILE", 1000)
    found = distance(first, other)
    assert [each.name for each in found.tensors] == ["model.safetensors: x"]
    broken, extra, large = found.notes
    assert broken.startswith("broken.safetensors cannot be read: ")
    assert extra == "extra.safetensors was saved by one of them alone"
    assert large == "large.safetensors is above 0 MiB and was not read"
    assert distance(first, SimpleNamespace(folder=tmp_path / "none")).notes == ("no saved weights of one of the runs",)


def test_the_product_is_that_of_the_dense_one():
    (a, b), (other_a, other_b) = factors(0), factors(1)
    difference, own = product_sums((a, b, 2.0), (other_a, other_b, 0.5))
    assert difference == pytest.approx(np.sum((0.5 * other_b @ other_a - 2.0 * b @ a) ** 2))
    assert own == pytest.approx(np.sum((2.0 * b @ a) ** 2))


def test_factors_may_differ_where_their_product_does_not():
    a, b = factors(0)
    turned = np.array([[0.6, -0.8], [0.8, 0.6]])
    difference, own = product_sums((a, b, 1.0), (turned @ a, b @ turned.T, 1.0))
    assert relative(difference, own) < 1e-7


def test_a_tiny_difference_of_products_does_not_cancel():
    a, b = factors(0)
    difference, own = product_sums((a, b, 1.0), (a, b * (1 + 1e-12), 1.0))
    assert relative(difference, own) == pytest.approx(1e-12, rel=1e-3)


@pytest.mark.parametrize(
    ("adapter", "scales"),
    [
        ({"lora_alpha": 16, "r": 2}, (8.0, 8.0)),
        ({"lora_alpha": 16, "r": 2, "use_rslora": True}, (16 / np.sqrt(2), 16 / np.sqrt(2))),
        ({"lora_alpha": 16, "r": 2, "alpha_pattern": {"layers.1.up": 4}}, (8.0, 2.0)),
    ],
)
def test_products_of_all_layers_are_scaled_as_the_adapter_says(tmp_path, adapter, scales):
    names = ("base_model.model.layers.0.up", "base_model.model.layers.1.up")
    sides = []
    for side in (0, 1):
        tensors = {}
        for place, name in enumerate(names):
            a, b = factors(10 * side + place)
            tensors |= {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
        sides.append(run(tmp_path / str(side), tensors, adapter=adapter, file="adapter_model.safetensors"))
    dense = [
        [scale * np.float32(b) @ np.float32(a) for scale, (a, b) in
         zip(scales, (factors(10 * side), factors(10 * side + 1)), strict=True)]
        for side in (0, 1)
    ]  # fmt: skip
    first, other = (np.concatenate([each.reshape(-1) for each in side]) for side in dense)
    expected = np.linalg.norm(other - first) / np.linalg.norm(first)
    assert distance(*sides).product == pytest.approx(expected, rel=1e-5)


def test_two_seeds_of_the_first_back_end_are_the_yardstick(tmp_path):
    study = two_ends(tmp_path)
    values = {
        ("torch", 0): [3.0, 4.0],
        ("torch", 1): [4.0, 3.0],
        ("jittor", 0): [3.0, 4.005],
        ("jittor", 1): [4.0, 3.0],
    }
    for (backend, seed), each in values.items():
        run(of(study, backend, "full", seed), {"x": each})
    section = aligned(study)
    table = next(part.table for part in section.parts if part.heading == "Distance of what was trained")
    lines = [[cell.text for cell in row] for row in table.rows if row[0].text == "full"]
    assert lines == [
        ["full", "seed 0, both back ends", "0.001", "–", "1", "x (0.001)"],
        ["full", "seed 1, both back ends", "0", "–", "1", "x (0)"],
        ["full", "seeds 0 and 1 on torch", "0.283", "–", "1", "x (0.283)"],
    ]
    facts = section.facts["distances"]["full"]
    assert facts["by_seed"][0]["relative"] == pytest.approx(0.001, rel=1e-4)
    assert facts["between_seeds_of_first"]["seeds"] == [0, 1]
    assert facts["between_seeds_of_first"]["relative"] == pytest.approx(np.sqrt(2) / 5)
    assert any("no saved weights" in foot and foot.startswith("lora r=4, seed 0") for foot in table.feet)


def test_one_seed_has_no_yardstick(tmp_path):
    assert aligned(two_ends(tmp_path, seeds=(0,))).facts["distances"]["full"]["between_seeds_of_first"] is None
