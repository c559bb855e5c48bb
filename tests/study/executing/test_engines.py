"""vLLM and lm-evaluation-harness at their boundary: stand-ins of their interfaces, and the harness itself where it is
installed. What vLLM answers is checked by tests/models/with_vllm.py, in an environment of its own."""

import importlib.util
import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

import tiny
from training_harness import make_session
from tunelab.config.read import read_study
from tunelab.errors import ConfigError, RunError
from tunelab.launch.run import run_study
from tunelab.launch.view import PlainView
from tunelab.methods.lora import Lora
from tunelab.models.vllm_engine import _check_plain
from tunelab.study.planning.plan import make_plan
from tunelab.study.planning.preview import preview
from tunelab.study.store import Store
from tunelab.study.verbs.evaluate import evaluate

STUDY = """
name: engines
model: {model}
tasks: [{{name: restaurants, train_rows: 12, validation_rows: 4, test_rows: 9, metrics: [rouge_l]}}]
methods: [lora: {{learning_rate: 1e-2}}]
seeds: [3]
budget: {{steps: 1}}
batch: {{examples: 4, max_tokens: 256}}
generation: {{max_new_tokens: 4}}
threads: 1
precision: fp32
"""
INSTALLED = importlib.util.find_spec


@pytest.fixture
def study(tmp_path):
    return STUDY.format(model=tiny.model_folder(tmp_path / "model"))


def installed(monkeypatch, *names: str) -> None:
    """Only these two are asked for: every other package is found as ever."""

    def find(name: str, package: str | None = None):
        return (object() if name in names else None) if name in ("vllm", "lm_eval") else INSTALLED(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)


def finish(study: str, out, *overrides: str):
    from rich.console import Console

    plan = make_plan(read_study(text=study, overrides=overrides))
    outcome = run_study(plan, out=out, cluster="in-process", view=PlainView(Console(quiet=True)))
    return outcome, {each.read_run().method["label"]: each for each in Store(out).all_runs()}


# ------------------------------------------------------------------ planning


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("evaluation.engine=vllm", ["evaluation.engine", "pip install vllm"]),
        ("evaluation.harness=[gsm8k]", ["evaluation.harness", r"tunelab\[harness\]"]),
    ],
)
def test_a_missing_package_is_told_while_planning(study, monkeypatch, override, words):
    installed(monkeypatch)
    plan = make_plan(read_study(text=study, overrides=[override]))  # enough for a report of what others executed
    for word in words:
        with pytest.raises(ConfigError, match=word):
            preview(plan)
        with pytest.raises(ConfigError, match=word):
            evaluate("tunelab/tiny", tasks=["restaurants"], overrides=[override])


@pytest.mark.parametrize(
    "override", ["generation.beams=4", "generation.no_repeat_ngram=2", "methods=[qlora: {rank: 2}]"]
)
def test_what_vllm_cannot_do_is_told_while_planning(study, monkeypatch, override):
    installed(monkeypatch, "vllm")
    with pytest.raises(ConfigError, match="engine: torch"):
        make_plan(read_study(text=study, overrides=["evaluation.engine=vllm", override]))


# ------------------------------------------------------------------ vLLM, a stand-in


@pytest.fixture
def vllm(monkeypatch):
    """`LLM` and `SamplingParams` as vLLM documents them; answers with the prompt's last token and an end token."""
    made = SimpleNamespace(models=[], asked=[])

    class SamplingParams:
        def __init__(self, **options):
            self.options = options

    class LLM:
        def __init__(self, model, *, dtype, seed, enforce_eager):
            from transformers import AutoModelForCausalLM, AutoTokenizer

            made.models.append(AutoModelForCausalLM.from_pretrained(model, dtype="auto").state_dict())
            assert AutoTokenizer.from_pretrained(model).eos_token_id == 1
            assert (dtype, seed, enforce_eager) == ("float32", 3, True)  # eager: on a CPU

        def generate(self, prompts, sampling, *, use_tqdm):
            assert len(prompts) == len(sampling) and not use_tqdm
            made.asked += zip(prompts, sampling, strict=True)
            tokens = [[prompt["prompt_token_ids"][-1], 1] for prompt in prompts]
            return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids)]) for ids in tokens]

    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    installed(monkeypatch, "vllm")
    return made


@pytest.mark.slow
def test_vllm_is_handed_merged_weights_prompts_and_settings(study, vllm, tmp_path):
    outcome, runs = finish(study, tmp_path / "out", "evaluation.engine=vllm", "generation.min_new_tokens=2")
    assert outcome.num_failed == 0
    base, merged = vllm.models
    changed = [name for name in base if not base[name].equal(merged[name])]
    assert changed and all("proj" in name for name in changed), "the adapters are not in the weights"
    prompt, sampling = vllm.asked[0]
    assert isinstance(prompt["prompt_token_ids"][0], int)
    assert sampling.options == {
        "temperature": 0.0, "max_tokens": 4, "min_tokens": 2, "stop_token_ids": [1], "detokenize": False,
    }  # fmt: skip
    assert len(vllm.asked) == 2 * len(runs["lora"].read_predictions())


@pytest.mark.slow
def test_vllm_draws_by_run_and_example(study, vllm, tmp_path):
    drawn = ["generation.temperature=0.5", "generation.top_k=7", "generation.top_p=0.9"]
    finish(study, tmp_path / "out", "evaluation.engine=vllm", *drawn)
    options = [sampling.options for _, sampling in vllm.asked[: len(vllm.asked) // 2]]
    assert len({each["seed"] for each in options}) == len(options) > 1
    assert (options[0]["top_k"], options[0]["top_p"]) == (7, 0.9)


@pytest.mark.slow
def test_another_engine_generates_again_and_trains_nothing(study, vllm, tmp_path):
    _, before = finish(study, tmp_path / "out")
    steps = (before["lora"].path / "steps.jsonl").stat().st_mtime_ns
    _, after = finish(study, tmp_path / "out", "evaluation.engine=vllm")
    assert len(vllm.asked) == 2 * len(after["lora"].read_predictions())
    assert (after["lora"].path / "steps.jsonl").stat().st_mtime_ns == steps


# ------------------------------------------------------------------ lm-evaluation-harness, a stand-in


@pytest.fixture
def harness(monkeypatch):
    asked = []

    def simple_evaluate(*, model, tasks, task_manager, log_samples):
        if "unknown" in tasks:
            raise KeyError("unknown")
        asked.append((model, tasks))
        return {"results": {task: {"acc,none": 0.5} for task in tasks}, "samples": "long", "n-shot": {"one": 5}}

    modules = {
        name: ModuleType(name) for name in ("lm_eval", "lm_eval.models", "lm_eval.models.huggingface", "lm_eval.tasks")
    }
    modules["lm_eval"].simple_evaluate = simple_evaluate
    modules["lm_eval.models.huggingface"].HFLM = lambda **options: SimpleNamespace(**options)
    modules["lm_eval.tasks"].TaskManager = lambda include_path: include_path
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    installed(monkeypatch, "lm_eval")
    monkeypatch.setattr("tunelab.study.executing.harness.version", lambda name: "0.4.9")
    return asked


@pytest.mark.slow
def test_the_harness_gets_the_tuned_model_and_its_results_lie_beside_ours(study, harness, tmp_path):
    outcome, runs = finish(study, tmp_path / "out", "evaluation.harness=[one]")
    assert outcome.num_failed == 0
    written = json.loads((runs["lora"].path / "harness.json").read_text())
    assert written == {
        "lm_eval": "0.4.9",
        "tasks": ["one"],
        "results": {"one": {"acc,none": 0.5}},
        "n-shot": {"one": 5},
    }
    assert "harness" in runs["lora"].read_result().phases
    tuned = [model.pretrained for model, _ in harness]
    names = [name for name, _ in tuned[1].named_parameters()]
    assert not any("lora_" in name for name in names)


@pytest.mark.slow
def test_a_task_of_the_harness_added_later_trains_and_generates_nothing_again(study, harness, tmp_path):
    _, runs = finish(study, tmp_path / "out")
    before = runs["lora"].read_result()
    predictions = (runs["lora"].path / "predictions.jsonl").stat().st_mtime_ns
    finish(study, tmp_path / "out", "evaluation.harness=[one]")
    assert [tasks for _, tasks in harness] == [["one"], ["one"]]
    after = runs["lora"].read_result()
    assert after.scores == before.scores and after.phases["train"] == before.phases["train"]
    assert (runs["lora"].path / "predictions.jsonl").stat().st_mtime_ns == predictions
    finish(study, tmp_path / "out", "evaluation.harness=[one]")
    assert len(harness) == 2, "it was asked again for what is there"


def test_a_task_that_the_harness_does_not_know_is_a_named_failure(study, harness, tmp_path):
    outcome, runs = finish(study, tmp_path / "out", "evaluation.harness=[unknown]")
    assert outcome.num_failed == 2
    assert "lm_eval ls tasks" in (runs["lora"].path / "failure.json").read_text()


@pytest.mark.slow
def test_evaluate_hands_a_model_to_the_harness(study, harness, tmp_path):
    from tunelab.errors import TunelabError

    model = tmp_path / "model"
    asked = ["tasks.0.test_rows=3", "evaluation.harness=[one]"]
    with pytest.raises(TunelabError, match="--out"):
        evaluate(str(model), tasks=["restaurants"], overrides=asked)
    evaluate(str(model), tasks=["restaurants"], overrides=asked, out=tmp_path / "scored")
    assert json.loads((tmp_path / "scored" / "harness.json").read_text())["tasks"] == ["one"]


# ------------------------------------------------------------------ lm-evaluation-harness itself


def test_the_harness_itself_scores_a_tuned_model_on_a_task_of_local_rows(study, tmp_path):
    """Its accuracy on two choices equals the comparison of our model's own log-likelihoods."""
    pytest.importorskip("lm_eval")
    rows = [{"q": f"the {word} is", "good": " here", "bad": " gone away", "gold": 0} for word in ("inn", "pub", "bar")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "task.yaml").write_text(
        "task: local_choice\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path / 'rows.jsonl'}}}}}\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: '{{q}}'\n"
        "doc_to_choice: ['{{good}}', '{{bad}}']\ndoc_to_target: gold\n"
        "metric_list: [{metric: acc}]\n"
    )
    outcome, runs = finish(study, tmp_path / "out", f"evaluation.harness=[{tmp_path / 'task.yaml'}]")
    assert outcome.num_failed == 0, (runs["lora"].path / "failure.json").read_text()
    found = json.loads((runs["lora"].path / "harness.json").read_text())
    assert found["results"]["local_choice"]["acc,none"] == pytest.approx(expected_accuracy(runs["lora"], rows))


def expected_accuracy(folder, rows) -> float:
    import torch
    from transformers import AutoTokenizer

    from tunelab.study.executing.saved import find_saved, open_saved

    saved = find_saved(str(folder.path))
    opened = open_saved(saved, saved.run)
    tokenizer = AutoTokenizer.from_pretrained(folder.model)

    def likelihood(prompt: str, answer: str) -> float:
        begin = len(tokenizer(prompt)["input_ids"])
        ids = torch.tensor([tokenizer(prompt + answer)["input_ids"]])
        with torch.no_grad():
            logs = opened.session.model(input_ids=ids).logits.log_softmax(-1)
        return float(logs[0, begin - 1 : -1].gather(1, ids[0, begin:, None]).sum())

    return sum(likelihood(row["q"], row["good"]) > likelihood(row["q"], row["bad"]) for row in rows) / len(rows)


def test_vllm_is_not_handed_adapters_beside_the_weights():
    adapted = make_session(Lora(rank=2), tiny.model("llama"))
    _check_plain(adapted.plain_model())
    with pytest.raises(RunError, match="vLLM takes plain weights, and these adapters cannot be folded"):
        _check_plain(adapted.model)
