"""Methods made of others in a study: what planning refuses, which run waits for which, and a whole tiny study."""

import json
from pathlib import Path

import pytest

import tiny
from tunelab.config.read import read_study
from tunelab.errors import ConfigError
from tunelab.launch.run import run_study, settle
from tunelab.study.planning.plan import make_plan, parts
from tunelab.study.planning.planned import Revisions
from tunelab.study.planning.preview import preview
from tunelab.study.planning.run_config import base_run
from tunelab.study.planning.runs import runs_on_disk, study_runs
from tunelab.study.store import Store
from tunelab.study.verbs.generate import generate

HEAD = "name: s\nmodel: tunelab/tiny\ntasks: [restaurants]\n"
STUDY = """
name: hybrids
model: {model}
tasks: [{{name: restaurants, train_rows: 24, validation_rows: 6, test_rows: 6, metrics: [rouge_l, loss]}}]
methods:
  - full: {{learning_rate: [1e-4, 1e-3]}}
  - lora: {{learning_rate: 1e-3, targets: {targets}}}
  - merge: {{of: [full, lora], weights: search}}
  - ensemble: {{of: [full, lora]}}
  - sequential: {{parts: [full: {{learning_rate: 1e-3}}, lora: {{learning_rate: 1e-3}}], shares: [0.5, 0.5]}}
seeds: [3, 4]
budget: {{steps: 4}}
batch: {{examples: 4, max_tokens: 256}}
generation: {{max_new_tokens: 4}}
precision: fp32
threads: 1
"""


class Silent:
    def told(self, text: str) -> None: ...

    def planned(self, runs, store) -> None: ...

    def event(self, run, event) -> None: ...


def problems(methods: str) -> str:
    with pytest.raises(ConfigError) as caught:
        make_plan(read_study(text=f"{HEAD}methods: {methods}\n", lenient=True))
    return "\n".join(caught.value.problems)


def plan_of(methods: str):
    return make_plan(read_study(text=f"{HEAD}methods: {methods}\nseeds: [0, 1]\n"))


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ("[full, merge: {of: [full, lorra]}, lora]", "no method has that label. Did you mean 'lora'?"),
        ("[full, merge: {of: [full, lora]}]", "Methods trained here: full."),
        ("[full, lora: {rank: 4}, lora, merge: {of: [lora, full]}]", "Did you mean 'lora r=8'?"),
        ("[full, lora, merge: {of: [full, lora]}, ensemble: {of: [full, merge average of full + lora]}]", "itself"),
        ("[full, ensemble: {of: [full, ensemble of full]}]", "no method has that label"),
        ("[full, lora, merge: {of: [full, lora], learning_rate: 1e-4}]", "learning_rate: it trains nothing"),
        ("[full, merge: {of: [full], how: tise}]", "methods.1.merge.how: must be"),
        ("[sequential: {parts: [full, lorra]}]", "methods.0.sequential.parts.1.lorra: Unknown method 'lorra'."),
        ("[sequential: {parts: [full, {lora: {rnak: 4}}]}]", "parts.1.lora.rnak: unknown key; did you mean 'rank'?"),
        ("[sequential: {parts: [full, {lora: {learning_rate: 0}}]}]", "parts.1.lora.learning_rate: must be a finite"),
        ("[sequential: {parts: [full, {lora: {learning_rate: [1e-3, 1e-4]}}]}]", "a part has one learning rate"),
        ("[sequential: {parts: [full, {merge: {of: [full]}}]}]", "cannot be a part of a method"),
        ("[sequential: {parts: [full]}]", "at least 2 entries; got 1"),
        ("[sequential: {parts: full}]", "methods.0.sequential.parts"),
        ("[sequential: {}]", "parts: required"),
        ("[sequential: {parts: [full, lora], shares: [1, 0]}]", "shares.1: must be above 0"),
        ("[layerwise: {parts: [full, lora, full]}]", "must have 2 entries; got 3"),
    ],
)
def test_what_cannot_be_is_said_while_planning(methods, said):
    assert said in problems(methods), problems(methods)


def test_labels_say_what_a_method_is_made_of():
    methods = (
        "[full, lora, merge: {of: [full, lora]}, merge: {of: [full, lora], how: ties}, ensemble: {of: [lora, full]}]"
    )
    assert [method.label for method in plan_of(methods).methods][2:] == [
        "merge average of full + lora",
        "merge TIES of full + lora",
        "ensemble of lora + full",
    ]
    methods = "[sequential: {parts: [full, lora]}, sequential: {parts: [full, {lora: {rank: 4}}]}]"
    labels = [method.label for method in plan_of(methods).methods]
    assert labels == ["sequential full then lora r=8", "sequential full then lora r=4"]
    methods = "[full, lora, merge: {of: [full, lora]}, merge: {of: [full, lora], weights: [0.2, 0.8]}]"
    assert plan_of(methods).methods[3].label == "merge average of full + lora weights=0.2+0.8"


def test_a_part_gets_its_defaults_and_the_whole_takes_the_first_ones_rate():
    (method,) = plan_of("[sequential: {parts: [{lora: {rank: 4}}, full]}]").methods
    assert method.learning_rates == (2e-4,)
    assert method.method.model_dump()["parts"][0]["lora"]["alpha"] == 16.0
    (spelled,) = plan_of("[sequential: {parts: [{lora: {rank: 4, alpha: 16}}, {full: {}}]}]").methods
    assert spelled.fields(spelled.candidates[0]) == method.fields(method.candidates[0])
    assert [type(member).__name__ for member in method.method.members] == ["Lora", "Full"]


def test_parents_are_part_of_a_runs_identity_and_others_keep_theirs():
    def merge_run(lora: str):
        made = plan_of(f"[full, {{lora: {lora}}}, merge: {{of: [full, lora]}}]")
        runs = study_runs(made, Revisions(), Store(Path()), settled=lambda run_id: False)
        return next(each.run for each in runs if each.entry.method.startswith("merge"))

    one, other = merge_run("{rank: 4}"), merge_run("{rank: 5}")
    assert one.method == other.method and one.id != other.id
    assert [parent.id.split("--")[0] for parent in one.parents] == ["full", "lora"]
    assert [type(member).__name__ for member in parts(one).method.members] == ["Full", "Lora"]
    made = plan_of("[full]")
    run = base_run(made, made.tasks[0], "torch", Revisions())
    assert "parents" not in run.id and run.parents == ()


def test_a_run_waits_for_the_rate_that_wins_and_for_its_seed(tmp_path):
    made = plan_of("[full: {learning_rate: [1e-4, 1e-3]}, lora, merge: {of: [full, lora]}]")
    runs = study_runs(made, Revisions(), Store(tmp_path), settled=lambda run_id: False)
    merges = [each for each in runs if each.entry.method.startswith("merge")]
    assert [(each.entry.seed, each.run) for each in merges] == [(0, None), (1, None)]


def test_counts_of_what_is_made_of_others():
    runs = {
        run.method: run
        for run in preview(plan_of("[full, lora, merge: {of: [full, lora]}, ensemble: {of: [full, lora]}]")).runs
    }
    assert runs["merge average of full + lora"].trainable_parameters == 0
    total = runs["full"].total_parameters + runs["lora"].total_parameters
    assert runs["ensemble of full + lora"].total_parameters == total
    assert runs["merge average of full + lora"].total_parameters == runs["full"].total_parameters


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hybrids")
    text = STUDY.format(model=tiny.model_folder(folder / "model"), targets="all-linear")
    made = make_plan(read_study(text=text))
    return made, run_study(made, out=folder / "out", cluster="in-process", view=Silent())


def results(out: Path, start: str) -> dict:
    found = [json.loads(file.read_text()) for file in sorted(out.glob(f"runs/{start}*/result.json"))]
    return {result["seed"]: result for result in found}


@pytest.mark.slow
def test_a_whole_study(finished):
    made, outcome = finished
    assert outcome.num_failed == 0, [file.read_text() for file in outcome.folder.glob("runs/*/failure.json")]
    rows = {row["method"]: row for row in json.loads((outcome.folder / "comparison.json").read_text())["rows"]}
    assert set(rows) == {"base", *(method.label for method in made.methods)}
    for label in ("merge average of full + lora", "ensemble of full + lora", "sequential full then lora"):
        assert rows[label]["num_seeds"] == 2 and rows[label]["scores"]["rouge_l"]["mean"] is not None
    cost = rows["full"]["train_seconds"] + rows["lora"]["train_seconds"]
    for label in ("merge average of full + lora", "ensemble of full + lora"):
        assert rows[label]["train_seconds"] == pytest.approx(cost, rel=1e-6)
    size = rows["full"]["saved_mib"] + rows["lora"]["saved_mib"]
    assert rows["ensemble of full + lora"]["saved_mib"] == pytest.approx(size, rel=1e-6)
    assert rows["merge average of full + lora"]["saved_mib"] == pytest.approx(rows["full"]["saved_mib"], rel=0.01)


@pytest.mark.slow
def test_parents_are_of_the_same_seed_and_the_winning_rate(finished):
    _, outcome = finished
    files = sorted(outcome.folder.glob("runs/merge*/run.json"))
    assert len(files) == 2
    for file in files:
        run = json.loads(file.read_text())
        parents = [
            json.loads((outcome.folder / "runs" / each["id"] / "run.json").read_text()) for each in run["parents"]
        ]
        assert {parent["seed"] for parent in parents} == {run["seed"]}
        candidates = {
            each["learning_rate"]: each["validation_loss"]
            for path in outcome.folder.glob("runs/full*seed3*/result.json")
            for each in [json.loads(path.read_text())]
        }
        assert len(candidates) == 2
        assert parents[0]["method"]["learning_rate"] == min(candidates, key=candidates.get)


@pytest.mark.slow
def test_merge_was_searched_on_validation_and_trains_nothing(finished):
    _, outcome = finished
    for result in results(outcome.folder, "merge").values():
        assert result["num_steps"] == 0 and result["trainable_parameters"] == 0
        (note,) = [note for note in result["notes"] if "11 validation losses" in note]
        assert f"{result['validation_loss']:.4f}" in note
        assert any("trains nothing itself" in note for note in result["notes"])
    parents = [results(outcome.folder, name)[4] for name in ("full", "lora")]
    merged = results(outcome.folder, "merge")[4]
    assert merged["validation_loss"] <= min(parent["validation_loss"] for parent in parents) + 1e-6


@pytest.mark.slow
def test_the_same_study_again_finds_all_runs(finished):
    made, outcome = finished
    store = Store(outcome.folder)
    assert all(store.run(entry.id).finished for entry in runs_on_disk(made, store))
    settled, revisions = settle(made, store)
    runs = study_runs(settled, revisions, store, settled=lambda run_id: store.run(run_id).finished)
    assert all(store.run(each.run.id).finished for each in runs)


@pytest.mark.slow
def test_generate_from_every_kind_of_run(finished):
    _, outcome = finished
    for start in ("merge", "ensemble", "sequential"):
        (folder,) = list(outcome.folder.glob(f"runs/{start}*seed3*"))
        lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
        asked = [line["prompt"] for line in lines[:2]]
        assert generate(str(folder), asked, max_new_tokens=4) == [line["prediction"] for line in lines[:2]]


@pytest.mark.slow
def test_a_failed_parent_fails_what_is_made_of_it_by_name(tmp_path):
    text = STUDY.format(model=tiny.model_folder(tmp_path / "model"), targets="nothing_like_it")
    made = make_plan(read_study(text=text, overrides=["seeds=[3]"]))
    outcome = run_study(made, out=tmp_path / "out", cluster="in-process", view=Silent())
    failures = [json.loads(file.read_text()) for file in (tmp_path / "out").glob("runs/*/failure.json")]
    said = {failure["method"]: failure["error"] for failure in failures}
    assert set(said) == {"lora", "merge average of full + lora", "ensemble of full + lora"}
    assert outcome.num_failed == 3
    assert said["ensemble of full + lora"].startswith("lora failed, which this run is made of")
