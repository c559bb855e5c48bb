"""vLLM itself against our own decoding. Outside the default suite by its name: `make test-vllm` makes an environment of
its own for it (scripts/vllm_environment.py) and asks for this file. Engines start for minutes on a CPU."""

import json

from tunelab.config.read import read_study
from tunelab.launch.run import run_study
from tunelab.launch.view import PlainView
from tunelab.study.planning.plan import make_plan
from tunelab.study.store import Store

STUDY = """
name: with-vllm
model: tunelab/tiny
tasks: [{name: restaurants, train_rows: 64, validation_rows: 4, test_rows: 14, metrics: [rouge_l]}]
methods: [lora: {learning_rate: 1e-2}]
seeds: [3]
budget: {steps: 4}
batch: {examples: 8, max_tokens: 1024}
generation: {max_new_tokens: 24}
threads: 1
precision: fp32
"""


def texts(out, *overrides: str) -> dict[str, list[str]]:
    """By method, in the order of the examples."""
    from rich.console import Console

    plan = make_plan(read_study(text=STUDY, overrides=overrides))
    outcome = run_study(plan, out=out, cluster="in-process", view=PlainView(Console(quiet=True)))
    failures = [path.read_text() for path in out.glob("runs/*/failure.json")]
    assert outcome.num_failed == 0, failures
    runs = {each.read_run().method["label"]: each for each in Store(out).all_runs()}
    return {name: [one.prediction for one in run.read_predictions()] for name, run in runs.items()}


def test_a_studys_texts_by_vllm_are_those_of_our_own_decoding(tmp_path):
    own, by_vllm = texts(tmp_path / "own"), texts(tmp_path / "vllm", "evaluation.engine=vllm")
    assert set(own) == set(by_vllm) == {"base", "lora"}
    assert own["base"] != own["lora"], "the adapter changes no text, so it would not be missed"
    print(json.dumps({name: sum(map(str.__eq__, own[name], by_vllm[name])) for name in own}))
    assert by_vllm == own
