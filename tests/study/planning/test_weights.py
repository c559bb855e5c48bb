"""`weights: bf16`: which runs it is a part of, what it needs, and that ids of runs without it stay what they were."""

import pytest

from study.planning.test_frameworks import HEAD, problems, runs
from tunelab.study.planning.plan import identity

METHODS = "methods: [full, galore, {apollo: {rank: 8}}, {lisa: {layers: 1}}, lora, qlora, q_galore]\n"
IDS = {"full": "bff1a6d8c192262b", "galore": "310f496539c826b7", "lora": "ef304622688389ba", "base": "6b32342f65658fe5"}
"""Of version 0.1.0 before there was such a setting."""


def test_ids_of_runs_with_fp32_weights_are_those_of_before():
    found = runs(HEAD + METHODS)
    assert {name: identity(found[name])[:16] for name in IDS} == IDS


def test_it_is_a_part_of_the_runs_that_train_whole_weights_alone():
    before, after = runs(HEAD + METHODS), runs(f"{HEAD}{METHODS}weights: bf16\n")
    changed = {name for name, run in after.items() if identity(run) != identity(before[name])}
    assert changed == {name for name, run in after.items() if run.weights == "bf16"} == {
        "full", "galore", "apollo", "lisa",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "methods: [full]\nprecision: fp32\n",
            "weights: bf16 weights are multiplied in bf16 or fp16, and",
        ),
        ("methods: [lora]\n", "weights: is for methods that train whole weights (full, galore, apollo, lisa)"),
        ("methods: [full]\nlaunch: {devices: 2, shard: true}\n", "weights: bf16 weights cannot be cut over devices"),
        ("methods: [full]\nbackends: [torch, jittor]\n", "weights: jittor holds weights in fp32, not bf16"),
        (
            "methods: [full, sequential: {parts: [full, lora]}]\n",
            "methods.1.sequential: its parts hold their",
        ),
        (
            "methods: [full, layerwise: {parts: [galore, lora]}]\n",
            "methods.1.layerwise: its parts hold their",
        ),
    ],
)
def test_what_it_cannot_go_with_is_told_while_planning(text, told):
    assert told in problems(f"{HEAD}{text}weights: bf16\n")


def test_another_word_is_refused():
    assert "weights: must be 'fp32' or 'bf16'; got 'fp16'" in problems(f"{HEAD}methods: [full]\nweights: fp16\n")
