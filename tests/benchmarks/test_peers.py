"""The comparison with peers runs, its losses are compared, and the floor counts what torch counts."""

import argparse
import ast
import gc
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import tiny

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import peers  # noqa: E402
from side_by_side import floor, measure, rows, workloads  # noqa: E402
from side_by_side.compare import compare  # noqa: E402
from side_by_side.table import table  # noqa: E402

(W1,) = workloads.named(["W1"])
WHERE = dict.fromkeys(("processor", "cores", "memory_gib", "python", "date", "threads", "pairs", "steps"), 1)
WHERE |= {"warm_up_steps": 1, "instructions": [], "load_average": [0.0]}


def run(losses, *, seconds=1.0, peak=100.0, precision="fp32", **more):
    return {
        "losses": losses, "precision": precision, "processor_seconds": seconds, "num_tokens": 1000, "steady_steps": 2,
        "peak_above_weights_mib": peak, "weights_mib": 10.0, "versions": {"torch": "2"}, **more,
    }  # fmt: skip


@pytest.mark.slow
def test_both_sides_train_the_same_tiny_model_with_equal_losses(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "peers.py"), "W1", "--pairs", "1", "--steps", "3", "--warm-up", "1"]
    command += ["--tiny", "--precision", "fp32", "--folder", str(tmp_path / "models"), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "peers.json").read_text())["comparisons"]
    (mine,), (other,) = found["ours"], found["other"]
    assert found["loss_difference"] < 1e-5
    assert len(mine["losses"]) == len(other["losses"]) == 3
    for name in ("num_tokens", "num_supervised_tokens", "weights_mib", "trainable", "steady_steps"):
        assert mine[name] == other[name], name
    assert mine["processor_seconds"] > 0 and mine["peak_above_weights_mib"] > 0
    assert mine["floor"]["operations"] > 0 and found["floor_share"] > 0
    assert "| W1 | fp32 |" in (tmp_path / "peers.md").read_text()


def test_losses_that_differ_are_an_error(tmp_path, monkeypatch, capsys):
    sides = {"ours": run([5.0, 4.0]), "peer": run([5.0, 4.0002]), "prepare": {"rows": "none"}}
    monkeypatch.setattr(peers, "run_side", lambda side, *others: sides[side])
    monkeypatch.setattr(sys, "argv", ["peers.py", "W1", "--pairs", "1", "--precision", "fp32", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="losses differ"):
        peers.main()
    assert "DIFFER by 2.0e-04" in capsys.readouterr().out
    assert "**DIFFER by 2.0e-04**" in (tmp_path / "peers.md").read_text()
    sides["peer"] = run([5.0, 4.00005])
    peers.main()
    assert "equal to 5.0e-05" in (tmp_path / "peers.md").read_text()


def test_a_later_call_measures_only_what_is_missing(tmp_path, monkeypatch):
    made = []

    def run_side(side, *others):
        made.append(side)
        return {"rows": "none"} if side == "prepare" else run([5.0])

    monkeypatch.setattr(peers, "run_side", run_side)
    common = ["--precision", "fp32", "--folder", str(tmp_path / "kept"), "--out", str(tmp_path)]
    for pairs, steps, expected in ((1, 4, 2), (2, 4, 2), (2, 4, 0), (2, 5, 4)):
        made.clear()
        monkeypatch.setattr(sys, "argv", ["peers.py", "W1", "--pairs", str(pairs), "--steps", str(steps), *common])
        peers.main()
        assert len([side for side in made if side != "prepare"]) == expected
        (found,) = json.loads((tmp_path / "peers.json").read_text())["comparisons"]
        assert len(found["ours"]) == len(found["other"]) == pairs
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "other.py").write_text("")
    made.clear()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--src", str(tmp_path / "code")])
    peers.main()
    assert made.count("ours") == made.count("peer") == 2


@pytest.mark.parametrize(
    ("gap", "ours", "theirs", "differ"),
    [
        (1.5e-4, "fp32", "fp32", True),
        (1.5e-4, "bf16", "bf16", False),
        (3e-3, "bf16", "bf16", True),
        (3e-3, "bf16", "fp32", False),
        (2e-2, "bf16", "fp32", True),
        (float("nan"), "fp32", "fp32", True),
    ],
)
def test_how_far_losses_may_differ_is_by_the_precision_of_both(gap, ours, theirs, differ):
    found = compare(W1, "fp32", {}, ours=[run([5.0 + gap], precision=ours)], peer=[run([5.0], precision=theirs)])
    assert found.losses_differ is differ


def test_speed_is_the_median_over_pairs_and_bars_stand_beside_it():
    ours = [run([5.0], seconds=seconds, peak=20.0) for seconds in (1.0, 2.0, 1.0)]
    found = compare(W1, "fp32", {}, ours=ours, peer=[run([5.0], seconds=4.0) for _ in ours])
    assert found.speeds == [4.0, 2.0, 4.0] and found.speed == 4.0 and found.memory == 0.2
    assert ">= 2.3: met" in table([found], WHERE) and "<= 0.22: met" in table([found], WHERE)
    slower = compare(W1, "fp32", {}, ours=[run([5.0], seconds=5.0)], peer=[run([5.0], seconds=4.0)])
    assert "**slower**" in table([slower], WHERE) and ">= 2.3: not met" in table([slower], WHERE)


def test_texts_are_compared_one_by_one():
    (greedy,) = workloads.named(["W7-greedy"])
    mine, other = run([], texts=[[1, 2], [3], [4], [5]]), run([], texts=[[1, 2], [3], [4], [6]])
    found = compare(greedy, "fp32", {}, ours=[mine], peer=[other])
    assert found.equal_texts == 0.75
    assert "75.0% of the texts equal" in table([found], WHERE)
    assert "texts" not in found.record()["ours"][0]


def test_a_name_stands_for_its_parts():
    assert [one.name for one in workloads.named(["W4"])] == ["W4-full", "W4-galore", "W4-galore-full"]
    assert [one.name for one in workloads.named(["W4-galore"])] == ["W4-galore"]
    with pytest.raises(SystemExit, match="W11"):
        workloads.named(["W11"])


def test_every_workload_has_a_tiny_form_and_every_peer_a_recipe():
    from side_by_side.peer_side import RECIPES

    for one in workloads.WORKLOADS:
        assert one.peer in {*RECIPES, "ours", "generate"}, one.name
        assert workloads.tiny(one).shape.sizes.get("vocab_size", 0) <= 500


def test_generated_rows_are_as_long_as_real_ones():
    made = rows.first_rows(workloads.Rows("gsm8k"), 64, real=False, vocabulary=500)
    counted = [(len(row["prompt"].split()), len(row["target"].split())) for row in made]
    assert counted == rows.LENGTHS["gsm8k"]


def llama_step(model, ids, learned):
    """Operations of a step's products as torch counts them, the head at supervised positions only."""
    with FlopCounterMode(display=False) as counter:
        hidden = model.model(ids, use_cache=False).last_hidden_state[0, :-1][learned[1:]]
        torch.nn.functional.cross_entropy(model.lm_head(hidden), ids[0, 1:][learned[1:]]).backward()
    counts = counter.get_flop_counts()["Global"]
    return sum(number for kind, number in counts.items() if kind in (torch.ops.aten.mm, torch.ops.aten.addmm))


def floor_products(name, options, length, supervised):
    layers = floor.Layers(
        {path: (each.in_features, each.out_features) for path, each in tiny.model("llama").named_modules()
         if isinstance(each, torch.nn.Linear) and path != "lm_head"},
        (32, tiny.VOCABULARY), 32, 2, False,
    )  # fmt: skip
    step = floor.Tokens(length, length, supervised)
    products = floor._products(layers, W1, {name: options}, step)
    return sum(count * product.operations for product, count in products.items())


def test_the_floor_of_full_fine_tuning_is_what_torch_counts():
    model = tiny.model("llama", tie_word_embeddings=False)
    ids, learned = torch.randint(0, tiny.VOCABULARY, (1, 24)), torch.arange(24) >= 10
    assert floor_products("full", {}, 24, 14) == llama_step(model, ids, learned)


def test_the_floor_of_lora_is_what_torch_counts_of_peft():
    from peft import LoraConfig, get_peft_model

    model = tiny.model("llama")
    get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    ids, learned = torch.randint(0, tiny.VOCABULARY, (1, 24)), torch.arange(24) >= 10
    floor_of_it = floor_products("lora", {"rank": 4, "targets": "all-linear"}, 24, 14)
    assert floor_of_it == llama_step(model, ids, learned)


def test_weights_that_share_memory_are_counted_once():
    gc.collect()  # models of other tests
    before = measure.held_weights_mib()
    held = torch.nn.Linear(512, 1024, bias=False)
    tied = torch.nn.Linear(512, 1024, bias=False)
    tied.weight = held.weight
    assert measure.held_weights_mib() - before == pytest.approx(2.0)


def _is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_every_benchmark_finds_what_it_imports_of_tunelab():
    missing, files = [], sorted(BENCHMARKS.rglob("*.py"))
    assert BENCHMARKS / "peers.py" in files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tunelab"):
                module = importlib.import_module(node.module)
                names = [each.name for each in node.names if not hasattr(module, each.name)]
                full = [f"{node.module}.{name}" for name in names]
                missing += [f"{file.name}: {name}" for name in full if not _is_module(name)]
    assert not missing


def test_both_sides_have_the_same_threads_and_ours_what_a_worker_is_given(tmp_path, monkeypatch):
    from tunelab.launch import executor

    given = argparse.Namespace(threads=2, src=tmp_path)
    as_it_is = executor.worker_environment
    monkeypatch.setattr(executor, "worker_environment", lambda run: {**as_it_is(run), "ALLOCATOR": "its own"})
    mine, other = peers.environment("ours", given), peers.environment("peer", given)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "HF_HUB_OFFLINE"):
        assert mine[name] == other[name]
    assert mine["OMP_NUM_THREADS"] == "2" and mine["ALLOCATOR"] == "its own" and "ALLOCATOR" not in other
    assert re.match(rf"{re.escape(str(BENCHMARKS))}:{re.escape(str(tmp_path))}", mine["PYTHONPATH"])


def test_tokens_of_pairs_are_those_of_both_halves():
    from side_by_side.peer_side import _counts

    step = [{"input_ids": [1, 2, 3], "labels": [4, -100]}]
    assert _counts(step, pairs=True) == {"num_tokens": 5, "num_supervised_tokens": 1}
    assert _counts([{"input_ids": [1, 2], "labels": [-100, 2]}], pairs=False)["num_tokens"] == 2


def test_packed_rows_come_apart_into_their_texts():
    from side_by_side.peer_side import _documents

    row = {"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4], "starts": [0, 3]}
    assert _documents([[row], [{"input_ids": [5, 6], "labels": [5, 6]}]]) == [[1, 2, 3], [4], [5, 6]]


def test_a_clock_counts_from_the_end_of_a_step_to_the_end_of_another():
    clock = measure.Clock()
    clock.processor, clock.wall = [1.0, 2.0, 4.0], [0.0, 5.0, 6.0]
    assert clock.between(1, 2) == {"processor_seconds": 2.0, "wall_seconds": 1.0}
