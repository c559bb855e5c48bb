"""Which runs are compared; what is not is named with its reason, and what makes a comparison unequal is said."""

from __future__ import annotations

import json
import shutil

import pytest

from report.study_folder import METRICS, write_failure
from report.two_ends import aligned, beside, change, home, of, two_ends
from tunelab.report.alignment.pairs import beside_first, paired
from tunelab.report.alignment.section import alignments
from tunelab.report.frame import build_comparison


def part(section, heading):
    return {row[0].text: row[1].text for each in section.parts if each.heading == heading for row in each.table.rows}


def test_runs_of_the_same_method_seed_and_rate_are_pairs(tmp_path):
    found = paired(beside(two_ends(tmp_path, methods=("base", "full", "lora r=8"))))
    assert found.alone == ()
    keys = [(pair.method, pair.seed, pair.first.entry.learning_rate) for pair in found.pairs]
    assert keys == [
        ("base", 0, None), ("full", 0, 2e-4), ("full", 1, 2e-4), ("lora r=8", 0, 1e-4), ("lora r=8", 0, 3e-4),
        ("lora r=8", 0, 1e-3), ("lora r=8", 1, 3e-4),
    ]  # fmt: skip
    assert all((pair.first.entry.backend, pair.other.entry.backend) == ("torch", "jittor") for pair in found.pairs)


@pytest.mark.slow
def test_back_ends_of_two_studies_are_set_beside_each_other(tmp_path):
    """As by `tunelab report A B`."""
    both = two_ends(tmp_path, tasks=("restaurants", "headlines"))
    torch, jittor, again = (
        both._replace(name=name, runs=tuple(entry for entry in both.runs if entry.backend == backend))
        for name, backend in (("here", "torch"), ("there", "jittor"), ("once more", "torch"))
    )
    found = beside_first(build_comparison([torch, jittor], metrics=METRICS))
    assert [(beside.study, beside.names, beside.first.task) for beside in found] == [
        ("here + there", ("torch", "jittor"), task) for task in ("restaurants", "headlines")
    ]
    assert len(paired(found[0]).pairs) == 5
    (first, _) = alignments(build_comparison([torch, jittor], metrics=METRICS), METRICS)
    assert first.title == "Alignment: here + there: restaurants, jittor beside torch" and first.plots
    assert beside_first(build_comparison([torch, again], metrics=METRICS)) == []
    assert len(beside_first(build_comparison([both, again], metrics=METRICS))) == 2, "a study's own come first"


def test_missing_failed_and_diverged_runs_are_named(tmp_path):
    study = two_ends(tmp_path, methods=("base", "full", "lora r=4", "lora r=8"))
    entries = {(each.backend, each.method, each.seed, each.learning_rate): each for each in study.runs}
    shutil.rmtree(of(study, "jittor", "full", 1))
    failed = entries["jittor", "lora r=4", 0, 2e-4]
    (home(study, failed) / "result.json").unlink()
    write_failure(home(study, failed), failed, "out of memory")
    diverged = entries["torch", "lora r=8", 0, 1e-3]
    (home(study, diverged) / "result.json").unlink()
    write_failure(home(study, diverged), diverged, "not finite at step 9")
    change(home(study, diverged) / "failure.json", diverged={"step": 9})
    study = study._replace(runs=tuple(each for each in study.runs if each != entries["jittor", "lora r=4", 1, 2e-4]))
    section = aligned(study)
    assert part(section, "Runs that are not compared") == {
        "full, seed 1, learning rate 2e-4": "torch: finished; jittor: has not finished",
        "lora r=4, seed 0, learning rate 2e-4": "torch: finished; jittor: failed: out of memory",
        "lora r=4, seed 1, learning rate 2e-4": (
            "torch: finished; jittor: not planned (not supported there, or a search chose otherwise)"
        ),
        "lora r=8, seed 0, learning rate 1e-3": "torch: diverged: not finite at step 9; jittor: finished",
    }
    assert "4 of 9 runs cannot be compared (named below)." in section.sentence
    assert "4 of the runs cannot be compared" in section.headline
    assert section.facts["not_compared"] == part(section, "Runs that are not compared")


def test_searches_that_chose_differently_are_said(tmp_path):
    study = two_ends(tmp_path, methods=("base", "lora r=8"))
    roles = {1e-4: "candidate", 3e-4: "candidate", 1e-3: "run"}
    runs = [
        each._replace(role=roles[each.learning_rate], learning_rate=1e-3 if each.seed else each.learning_rate)
        if each.backend == "jittor" and each.method != "base" else each
        for each in study.runs if (each.backend, each.seed) != ("jittor", 1)
    ]  # fmt: skip
    for each in runs:
        if each.backend == "jittor" and each.method != "base":
            change(home(study, each) / "result.json", learning_rate=each.learning_rate)
    section = aligned(study._replace(runs=tuple(runs)))
    said = part(section, "What may set them apart")
    assert said["what the search of lora r=8 chose"] == "torch: 3e-4; jittor: 1e-3"
    assert "Not the same on both: what the search of lora r=8 chose." in section.sentence


def test_runs_made_alike_are_not_called_unequal(tmp_path):
    section = aligned(two_ends(tmp_path))
    assert "Not the same on both" not in section.sentence
    assert list(part(section, "What may set them apart")) == ["dropout of the base model itself"]


def test_other_precision_threads_devices_and_settings_are_said(tmp_path):
    study = two_ends(tmp_path)
    for method, seed in (("full", 0), ("full", 1)):
        folder = of(study, "jittor", method, seed)
        made = json.loads((folder / "result.json").read_text())["provenance"]
        change(folder / "result.json", provenance=made | {"precision": "bf16", "threads": 8}, num_devices=2)
        change(folder / "run.json", budget={"epochs": 2})
    said = part(aligned(study), "What may set them apart")
    assert said["precision"] == "torch: fp32; jittor: bf16"
    assert said["number of threads"] == "torch: 2; jittor: 8"
    assert said["trained over"] == "torch: 1 device; jittor: 2 devices"
    assert said["budget.epochs of the configuration"] == "torch: 3.0; jittor: 2.0"


def test_packages_that_only_one_back_end_has_are_no_difference(tmp_path):
    study = two_ends(tmp_path)
    folder = of(study, "jittor", "full")
    made = json.loads((folder / "result.json").read_text())["provenance"]
    change(folder / "result.json", provenance=made | {"packages": {"jittor": "1.3.9", "transformers": "4.57.0"}})
    said = part(aligned(study), "What may set them apart")
    assert [name for name in said if name.startswith("package")] == ["package transformers"]


def test_dropout_of_a_method_is_said_where_it_is_above_zero(tmp_path):
    study = two_ends(tmp_path)
    for backend in ("torch", "jittor"):
        for seed in (0, 1):
            method = {"name": "lora", "label": "lora r=4", "dropout": 0.1}
            change(of(study, backend, "lora r=4", seed) / "run.json", method=method)
            change(
                of(study, backend, "full", seed) / "run.json", method={"name": "full", "label": "full", "dropout": 0.0}
            )
    section = aligned(study)
    assert section.facts["dropout"] == {"lora r=4": "dropout 0.1"}
    assert "losses of lora r=4 (dropout 0.1) cannot agree step by step" in section.sentence
    assert "without dropout" in section.sentence and "with dropout" in section.sentence
    assert "with dropout, which each framework draws for itself" in section.headline


def test_dropout_of_the_model_is_read_from_what_full_fine_tuning_saved(tmp_path):
    study = two_ends(tmp_path)
    folder = of(study, "torch", "full") / "model"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"resid_pdrop": 0.1, "attn_pdrop": 0.0, "n_layer": 2}))
    section = aligned(study)
    assert section.facts["dropout"] == {
        "full": "resid_pdrop 0.1 of the model", "lora r=4": "resid_pdrop 0.1 of the model",
    }  # fmt: skip
    assert "dropout of the base model itself" not in part(section, "What may set them apart")


def test_losses_that_differ_before_anything_was_learned_are_no_effect_of_training(tmp_path):
    study = two_ends(tmp_path)
    assert "before anything was learned" not in aligned(study).sentence
    file = of(study, "jittor", "full") / "steps.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0]["loss"] *= 1.01
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "That they differ at the first step, before anything was learned, is no effect" in aligned(study).sentence
