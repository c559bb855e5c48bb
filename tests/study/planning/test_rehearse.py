"""Rehearsals: every run of a study with stand-ins, and what would break breaks."""

import json
from pathlib import Path

import pytest
import yaml

import tunelab
from tunelab.errors import ConfigError
from tunelab.launch.printing import outcome_text
from tunelab.launch.report import rebuild_report
from tunelab.study.planning import bundled
from tunelab.study.planning.planned import Plan
from tunelab.study.planning.preview import preview
from tunelab.study.planning.rehearse import REHEARSED, rehearsal_folder, rehearse, rehearsed
from tunelab.study.store import RunFolder

STUDY = """
name: mine
model: openai-community/gpt2
tasks:
  - {name: replies, train: train.jsonl, test: test.jsonl, prompt: "{question}\\n", target: "{answer}"}
methods:
  - lora: {rank: 4, targets: [c_attn], learning_rate: [1.0e-4, 3.0e-4, 1.0e-3]}
  - galore: {rank: 128, update_gap: 100}
  - galore: {rank: 128, update_gap: 200}
  - sequential: {parts: [{galore: {rank: 600, update_gap: 50}}, {rosa: {warmup_steps: 64}}]}
  - merge: {of: [lora, galore gap=100]}
seeds: [3, 4, 5]
budget: {epochs: 2}
batch: {examples: 32}
schedule: {warmup: 500}
"""


class Silent:
    def told(self, text: str) -> None: ...

    def planned(self, runs, store):
        pass

    def event(self, run, event):
        pass


def study_file(folder: Path, text: str = STUDY) -> Path:
    rows = [json.dumps({"question": f"what is {row}", "answer": f"it is {row}"}) + "\n" for row in range(100)]
    (folder / "train.jsonl").write_text("".join(rows[:80]))
    (folder / "test.jsonl").write_text("".join(rows[80:]))
    (folder / "study.yaml").write_text(text)
    return folder / "study.yaml"


def planned(folder: Path, text: str = STUDY) -> Plan:
    return tunelab.load_study(study_file(folder, text))


def options(plan: Plan, index: int) -> dict:
    return next(iter(plan.study.methods[index].values()))


def check_complete(out: Path, outcome) -> None:
    """Every method, task and seed has a result, and the report says what it is."""
    study = yaml.safe_load((out / "study.yaml").read_text())
    results = [RunFolder(path.parent).read_result() for path in out.glob("runs/*/result.json")]
    made = {(result.method, result.task, result.seed) for result in results}
    methods = {row.method for row in outcome.comparison.rows} - {"base"}
    assert methods and study["tasks"] and study["seeds"]
    for method in methods:
        for task in study["tasks"]:
            assert {(method, task["name"], seed) for seed in study["seeds"]} <= made
    assert {("base", task["name"], study["seeds"][0]) for task in study["tasks"]} <= made
    assert len({method for method, _, _ in made}) == len(study["methods"]) + 1
    for name in ("report.md", "report.html"):
        assert REHEARSED in (out / name).read_text()
    assert study["name"].endswith("-rehearsal")


@pytest.mark.slow
@pytest.mark.parametrize("name", bundled.names())
def test_every_bundled_study_can_be_rehearsed(name, tmp_path):
    outcome = tunelab.run(name, out=tmp_path / "out", rehearse=True, view=Silent())
    assert outcome.comparison.failures == ()
    assert outcome.folder == tmp_path / "out-rehearsal"
    check_complete(outcome.folder, outcome)


@pytest.mark.slow
def test_searches_parts_and_merged_runs_are_rehearsed(tmp_path):
    outcome = tunelab.run(study_file(tmp_path), out=tmp_path / "out", rehearse=True, view=Silent())
    assert outcome.comparison.failures == ()
    check_complete(outcome.folder, outcome)
    said = outcome_text(outcome)
    assert said.startswith(REHEARSED) and all(line in said for line in outcome.rehearsed)
    both = rebuild_report([outcome.folder], out=tmp_path / "both")
    assert REHEARSED in both.warning and REHEARSED in (tmp_path / "both/report.md").read_text()
    assert not (tmp_path / "out").exists()
    again = tunelab.report(outcome.folder)
    assert [row.num_seeds for row in again.rows] == [1, 2, 2, 2, 2, 2]
    assert REHEARSED in (outcome.folder / "report.md").read_text()


@pytest.mark.slow
def test_what_breaks_in_a_run_breaks_in_the_rehearsal_and_is_named(tmp_path):
    broken = STUDY.replace("merge: {of: [lora, galore gap=100]}", "layerwise: {parts: [{rosa: {}}, {lora: {}}]}")
    outcome = tunelab.run(study_file(tmp_path, broken), out=tmp_path / "out", rehearse=True, view=Silent())
    assert outcome.num_failed == 2
    assert {failure.method for failure in outcome.comparison.failures} == {"layerwise rosa + lora"}
    assert all("rosa looks at data before it trains" in failure.error for failure in outcome.comparison.failures)
    assert outcome.comparison.failures[0].run in (outcome.folder / "report.md").read_text()


def test_what_cannot_hold_at_toy_size_is_changed_and_said(tmp_path):
    plan = planned(tmp_path)
    small = rehearse(plan, tmp_path / "out")
    assert options(small, 0)["learning_rate"] == [1.0e-4, 3.0e-4]
    assert options(small, 0)["targets"] == ["c_attn"]
    assert [options(small, index)["update_gap"] for index in (1, 2)] == [3, 200]
    parts = options(small, 3)["parts"]
    assert (parts[0]["galore"]["rank"], parts[0]["galore"]["update_gap"], parts[1]["rosa"]["warmup_steps"]) == (
        128,
        3,
        3,
    )
    assert options(small, 4)["of"] == ["lora", "galore gap=3"]
    study = small.study
    assert (study.seeds, study.budget.steps, study.budget.epochs, study.schedule.warmup) == ((3, 4), 10, None, 3)
    said = rehearsed(tmp_path / "out")
    assert "methods.1.galore.update_gap: 3 instead of 100" in said
    assert "batch.examples: 4 instead of 32" in said
    assert any(line.startswith("openai-community/gpt2: a gpt2 of 2 layers") for line in said)
    unchanged = ("optimizer", "loss", "precision", "activation_checkpointing", "checkpoint", "backends")
    assert all(getattr(study, name) == getattr(plan.study, name) for name in unchanged)


def test_parts_of_fused_layers_are_rehearsed_as_they_are(tmp_path):
    text = STUDY.replace("targets: [c_attn]", "targets: [c_attn.q, c_attn.v], ranks: {c_attn.v: 16}")
    small = rehearse(planned(tmp_path, text), tmp_path / "out")
    assert options(small, 0)["targets"] == ["c_attn.q", "c_attn.v"]
    assert options(small, 0)["ranks"] == {"c_attn.v": 16}
    lora = next(run for run in preview(small).runs if run.method == "lora")
    assert lora.trainable_parameters == 2 * (4 + 16) * (256 + 256)


@pytest.mark.slow
def test_a_rehearsal_that_is_rehearsed_again_starts_anew_and_touches_nothing_else(tmp_path):
    plan, folder = planned(tmp_path), rehearsal_folder(tmp_path / "out")
    rehearse(plan, folder)
    (folder / "runs").mkdir()
    rehearse(plan, folder)
    assert not (folder / "runs").exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "precious").touch()
    with pytest.raises(ConfigError, match="holds something else"):
        rehearse(plan, foreign)
    assert (foreign / "precious").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (STUDY.replace("[c_attn]", "[q_proj]"), "q_proj"),
        (STUDY.replace("rank: 4", "rank: 0"), "rank"),
    ],
)
def test_a_bad_study_is_refused_as_by_the_plan(text, problem, tmp_path):
    with pytest.raises(ConfigError, match=problem) as refused:
        tunelab.run(study_file(tmp_path, text), out=tmp_path / "out", rehearse=True, view=Silent())
    with pytest.raises(ConfigError) as by_the_plan:
        tunelab.plan(tmp_path / "study.yaml")
    assert str(refused.value) == str(by_the_plan.value)
    assert not (tmp_path / "out-rehearsal").exists()


def test_names_of_layers_of_an_unknown_architecture_become_all_linear(tmp_path, monkeypatch):
    monkeypatch.setattr("tunelab.models.stand_in.fetch_configuration", lambda source: None)
    text = STUDY.replace("openai-community/gpt2", "nobody/unknown").replace("[c_attn]", "[Wqkv]")
    small = rehearse(planned(tmp_path, text), tmp_path / "out")
    assert options(small, 0)["targets"] == "all-linear"
    assert 'methods.0.lora.targets: "all-linear" instead of ["Wqkv"]' in rehearsed(tmp_path / "out")


def test_ranks_by_names_of_layers_go_with_the_names(tmp_path, monkeypatch):
    monkeypatch.setattr("tunelab.models.stand_in.fetch_configuration", lambda source: None)
    text = STUDY.replace("openai-community/gpt2", "nobody/unknown")
    text = text.replace("targets: [c_attn]", "targets: [c_attn.q, c_attn.v], ranks: {c_attn.v: 16}")
    small = rehearse(planned(tmp_path, text), tmp_path / "out")
    preview(small)  # nothing is refused
    assert options(small, 0)["ranks"] == {}
    assert "methods.0.lora.ranks.c_attn.v: null instead of 16" in rehearsed(tmp_path / "out")
