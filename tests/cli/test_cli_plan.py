"""`tunelab plan`: counts from configurations alone, every problem at once, one JSON object."""

import json

import pytest

import tiny
from tunelab.study.planning import bundled

GPT2 = 124_439_808


def test_gpt2_lora_counts(command):
    runs = json.loads(command("plan", "gpt2-ten-corpora", "--json").out)["runs"]
    assert [(run["method"], run["trainable_parameters"]) for run in runs] == [("base", 0), ("lora", 811_008)]
    assert runs[1]["total_parameters"] == GPT2 + 811_008
    assert round(100 * 811_008 / runs[1]["total_parameters"], 2) == 0.65


def test_flan_t5_lora_counts(command):
    runs = json.loads(command("plan", "flan-t5-lora-ranks", "--json").out)["runs"]
    counted = {run["method"]: (run["trainable_parameters"], run["total_parameters"]) for run in runs}
    assert counted["lora r=4 alpha=8"] == (172_032, 77_133_184)
    assert counted["lora r=8 alpha=16"] == (344_064, 77_305_216)
    assert counted["lora r=16 alpha=32"] == (688_128, 77_649_280)
    assert counted["lora r=32 alpha=64"] == (1_376_256, 78_337_408)
    assert {"lora r=8 alpha=4", "lora r=8 alpha=8", "lora r=8 alpha=32"} < set(counted)


def test_gpt2_medium_with_the_papers_adapters_counts(command):
    """24 layers, query and value, rank 4: what Table 3 of arXiv:2106.09685 calls 0.35M; all of both is reached."""
    runs = [
        run for run in json.loads(command("plan", "e2e-gpt2-lora", "--json").out)["runs"] if run["method"] != "base"
    ]
    assert {run["backend"] for run in runs} == {"torch", "jittor"}
    for run in runs:
        assert run["trainable_parameters"] == 24 * 2 * 4 * (1024 + 1024) == 393_216
        assert run["reached_parameters"] == 24 * 2 * 1024 * 1024


def test_parts_are_told_in_labels_and_a_wrong_one_by_those_that_there_are(command):
    two = "methods=[{lora: {rank: 4, targets: [c_attn.q, c_attn.v]}}, {lora: {rank: 4, targets: [c_attn]}}]"
    runs = json.loads(command("plan", "e2e-gpt2-lora", "--json", "--set", two).out)["runs"]
    assert {run["method"] for run in runs} == {"base", "lora targets=c_attn.q+c_attn.v", "lora targets=c_attn"}
    answer = command("plan", "e2e-gpt2-lora", "--set", "methods.0.lora.targets=[c_attn.w]")
    assert answer.status != 0
    assert "targets: c_attn has no part 'w'; its parts are c_attn.q, c_attn.k, c_attn.v" in answer.err


def test_json_names_what_a_run_is(command):
    answer = command("plan", "quickstart", "--json")
    run = json.loads(answer.out)["runs"][1]
    assert answer.status == 0
    assert {"method", "task", "seed", "backend", "model", "learning_rate"} <= set(run)
    assert (run["task"], run["seed"], run["backend"], run["model"]) == (
        "restaurants",
        0,
        "torch",
        "tunelab/tiny-seq2seq",
    )


@pytest.mark.parametrize("name", bundled.names())
def test_every_bundled_study_plans(command, name):
    answer = command("plan", name, "--set", "tasks.0.path=.") if name == "e2e-tiny" else command("plan", name)
    assert answer.status == 0 or (name == "e2e-tiny" and "trainset.csv" in answer.err)


@pytest.mark.parametrize("name", bundled.names())
def test_every_bundled_study_begins_with_what_it_does(name):
    assert len(bundled.describe()[name]) > 40


def test_unknown_configuration_is_said_and_not_guessed(command):
    answer = command("plan", "quickstart", "--json", "--set", "model=somebody/unheard-of")
    plan = json.loads(answer.out)
    assert all(run["total_parameters"] is None for run in plan["runs"])
    assert "somebody/unheard-of" in plan["notes"][0]


def test_dry_run_prints_the_plan_and_writes_nothing(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = command("run", "--dry-run")
    assert answer.status == 0
    assert "quickstart: 5 runs on tunelab/tiny" in answer.out
    assert not list(tmp_path.iterdir())


def test_a_search_shows_every_rate_and_what_waits(command):
    answer = command("plan", "quickstart", "--json", "--set", "methods.1.lora.learning_rate=[1e-4, 1e-3]")
    rates = [(run["seed"], run["learning_rate"]) for run in json.loads(answer.out)["runs"] if run["method"] == "lora"]
    assert rates == [(0, 1e-4), (0, 1e-3), (1, None)]


def test_a_metric_that_cannot_be_computed_here_is_told_before_anything_runs(command, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    metrics = "tasks.0.metrics=[rouge_l, meteor, 'rouge_l:coco']"
    notes = json.loads(command("plan", "quickstart", "--json", "--set", metrics).out)["notes"]
    said = [note for note in notes if "will be missing on this machine" in note]
    assert [note.split()[0] for note in said] == ["meteor", "rouge_l:coco"] and "needs Java" in said[0]


def test_a_line_break_in_single_quotes_is_told_with_its_line(command, tmp_path):
    rows = "".join(f'{{"q": "q{number}", "a": "a"}}\n' for number in range(20))
    (tmp_path / "rows.jsonl").write_text(rows)
    task = "  - {name: x, train: rows.jsonl, test: rows.jsonl,\n     prompt: '{q}\\n', target: '{a}'}\n"
    study = tmp_path / "study.yaml"
    study.write_text(f"model: tunelab/tiny\nmethods: [lora]\ntasks:\n{task}")
    assert rf"{study}:5: tasks.0.prompt: holds \n or \t as two characters" in command("plan", str(study)).out


MOE = """name: experts
model: {model}
tasks: [restaurants]
methods: {methods}
budget: {{steps: 2}}
"""


def study_on_experts(folder, methods: str):
    path = folder / "study.yaml"
    path.write_text(MOE.format(model=tiny.model_folder(folder / "moe", "moe"), methods=methods))
    return path


def test_every_method_that_would_miss_the_experts_is_refused_at_once(command, tmp_path):
    answer = command(
        "plan", study_on_experts(tmp_path, "[full, lora, qlora, {q_galore: {rank: 8}}, {galore: {rank: 8}}]")
    )
    assert answer.status == 2
    lines = answer.err.strip().splitlines()
    assert [line.split("methods.")[1].split(":")[0] for line in lines] == ["1.lora", "2.qlora", "3.q_galore"]
    assert all("all-linear sees 6,144 (14.2 %) of this model's 43,264 weights" in line for line in lines)


def test_the_reached_share_stands_beside_every_method_and_the_notes_say_of_what(command, tmp_path):
    study = study_on_experts(tmp_path, "[full, {lora: {targets: attention}}, {galore: {rank: 8}}]")
    plan = json.loads(command("plan", study, "--json").out)
    runs = {run["method"]: run for run in plan["runs"] if run["seed"] == 0}
    base, full, lora, galore = (runs[name] for name in ("base", "full", "lora", "galore"))
    assert base["reached_parameters"] == 0
    assert full["reached_share"] == galore["reached_share"] == 1.0
    assert lora["reached_parameters"] == 6144 and lora["reached_share"] == 6144 / base["total_parameters"]
    unseen, *done = plan["notes"][:3]
    assert unseen.startswith(
        "lora, galore: all-linear does not see 36,864 in gate_up_proj, down_proj of MixtralExperts"
    )
    assert done[0].startswith("lora: adapts 6,144 (14.2 %) of 43,264 weights")
    assert done[1].startswith("galore: projects the gradients of 6,144 (14.2 %) of 43,264 weights")


def test_plans_of_usual_studies_fit_a_terminal_of_80_columns(command):
    for name in ("quickstart", "gsm8k-lora-rosa-galore", "gemma-qlora-galore", "flan-t5-lora-ranks"):
        table = command("plan", name).out.split("\n\n")[0].splitlines()
        rows = [line for line in table if "%" in line or "─" in line]
        assert len(rows) > 3 and max(map(len, rows)) <= 80, name


def test_a_name_that_is_hardly_a_model_is_warned_of(command):
    notes = json.loads(command("plan", "quickstart", "--json", "--set", "model=gpt5").out)["notes"]
    said = "WARNING: model 'gpt5': no folder here, and a hub id is owner/name. Did you mean 'gpt2'?"
    assert any(note.startswith(said) for note in notes)
    for name in ("gpt2-large", "bert-base-uncased", "somebody/unheard-of"):
        answer = command("plan", "quickstart", "--json", "--set", f"model={name}")
        assert "WARNING: model" not in answer.out
