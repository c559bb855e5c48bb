"""Names into objects: errors all at once with their place, labels, run identities."""

import pytest

from tunelab.config.read import read_study
from tunelab.errors import ConfigError
from tunelab.study.planning.plan import identity, make_plan
from tunelab.study.planning.planned import Revisions
from tunelab.study.planning.run_config import base_run, cells, method_run

HEAD = "name: s\nmodel: tunelab/tiny\ntasks: [restaurants]\n"


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        make_plan(read_study(text=text, lenient=True))
    return "\n".join(caught.value.problems)


def plan(methods: str, *, head: str = HEAD, rest: str = ""):
    return make_plan(read_study(text=f"{head}methods: {methods}\n{rest}"))


def test_every_problem_is_said_at_once_with_its_line():
    said = problems(
        "model: tunelab/tiny\n"
        "batch: {exampels: 3}\n"
        "tasks:\n  - {name: restaurant}\n  - {name: arithmetic, train_rows: lots}\n"
        "methods:\n  - lorra: {}\n  - lora: {rnak: 4}\n  - full: {learning_rate: 0}\n  - full: {learning_rate: .nan}\n"
        "  - lora: {learning_rate: [1e-3, -1]}\n  - lora: {rank: 2.5}\n"
    )
    for expected in (
        "study text:2: batch.exampels: unknown key; did you mean 'examples'?",
        "study text:4: tasks.0.name: Unknown task 'restaurant'. Did you mean 'restaurants'?",
        "study text:5: tasks.1.train_rows:",
        "study text:7: methods.0.lorra: Unknown method 'lorra'. Did you mean 'lora'?",
        "study text:8: methods.1.lora.rnak: unknown key; did you mean 'rank'?",
        "study text:9: methods.2.full.learning_rate: must be a finite number above 0",
        "study text:10: methods.3.full.learning_rate: must be a finite number above 0",
        "study text:11: methods.4.lora.learning_rate: must be a finite number above 0",
        "study text:12: methods.5.lora.rank:",
    ):
        assert expected in said, said


def test_labels_say_what_differs_and_twice_the_same_is_refused():
    made = plan("[lora, lora: {rank: 4, alpha: 8}, full]")
    assert [method.label for method in made.methods] == ["lora r=8 alpha=16", "lora r=4 alpha=8", "full"]
    rates = plan("[lora: {learning_rate: 1e-3}, lora: {learning_rate: [1e-4, 1e-3]}]")
    assert [method.label for method in rates.methods] == ["lora learning_rate=0.001", "lora learning_rate=0.0001+0.001"]
    assert "'lora' stands there twice" in problems(HEAD + "methods: [lora, lora: {rank: 8}]\n")


def test_unknown_metric_and_variant_name_their_neighbours():
    head = "model: tunelab/tiny\ntasks: [{name: restaurants, metrics: [blue, 'rouge_l:stemm']}]\n"
    said = problems(head + "methods: [full]")
    assert "Did you mean 'bleu'?" in said
    said = problems(head.replace("blue, ", "") + "methods: [full]")
    assert "has no variant 'stemm'. Did you mean 'stem'?" in said


def test_missing_empty_and_wrong_data_are_found_while_planning(tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "good.jsonl").write_text('{"q": "a", "a": "b"}\n{"q": "c", "a": "d"}\n')
    task = "{{name: mine, train: {train}, test: {test}, prompt: '{{q}}', target: '{{{column}}}'}}"
    for files, expected in (
        ({"train": "missing.jsonl", "test": "good.jsonl", "column": "a"}, "missing.jsonl"),
        ({"train": "empty.jsonl", "test": "good.jsonl", "column": "a"}, "empty"),
        ({"train": "good.jsonl", "test": "good.jsonl", "column": "answer"}, "Columns: q, a"),
    ):
        text = f"model: tunelab/tiny\ntasks: [{task.format(**files)}]\nmethods: [full]\n"
        with pytest.raises(ConfigError) as caught:
            make_plan(read_study(text=text, base_folder=tmp_path))
        assert expected in str(caught.value) and "study text:2" in str(caught.value)


def run_of(made, revisions=None):
    backend, task, method = next(iter(cells(made)))
    revisions = revisions or Revisions("m", {task.name: "d"}, "fp32", 1)
    return method_run(made, task, backend, revisions, method=method, seed=0, candidate=method.candidates[0])


def test_a_runs_identity_is_what_can_change_its_numbers():
    first = run_of(plan("[lora]"))
    assert first.id.startswith("lora--restaurants--seed0--")
    same = [
        run_of(plan("[lora, full]")),
        run_of(plan("[lora]", rest="checkpoint: {seconds: 1}\nthreads: 7")),
        run_of(plan("[lora]", head=HEAD.replace("restaurants", "{name: restaurants, metrics: [bleu]}"))),
        run_of(plan("[lora]"), Revisions("m", {"restaurants": "d"}, "bf16", 2)),
        run_of(plan("[lora]", rest="generation: {beams: 4}")),
        run_of(plan("[lora]", head=HEAD.replace("restaurants", "{name: restaurants, generation: {beams: 4}}"))),
    ]
    assert {identity(run) for run in same} == {identity(first)}
    other = [
        run_of(plan("[lora: {rank: 4}]")),
        run_of(plan("[lora]", rest="budget: {steps: 3}")),
        run_of(plan("[lora]", head=HEAD.replace("restaurants", "{name: restaurants, train_rows: 5}"))),
        run_of(plan("[lora]"), Revisions("m2", {"restaurants": "d"}, "fp32", 1)),
        run_of(plan("[lora]"), Revisions("m", {"restaurants": "d2"}, "fp32", 1)),
    ]
    assert len({identity(run) for run in [first, *other]}) == 6
    revised = run_of(plan("[lora]"), Revisions("m2", {"restaurants": "d2"}, "fp32", 1))
    assert identity(revised, revisions=False) == identity(first, revisions=False)


def test_decoding_that_contradicts_the_tasks_own_is_told_with_its_place():
    head = HEAD.replace("restaurants", "{name: restaurants, generation: {beams: 4}}")
    with pytest.raises(ConfigError, match=r"tasks\.0\.generation: .*temperature 0\.7 draws and beams 4 search"):
        plan("[lora]", head=head, rest="generation: {temperature: 0.7}")


def test_a_moved_data_folder_is_the_same_study(tmp_path):
    runs = []
    for place in ("here", "there"):
        folder = tmp_path / place
        folder.mkdir()
        (folder / "rows.jsonl").write_text('{"q": "a", "a": "b"}\n{"q": "c", "a": "d"}\n')
        task = "{name: mine, train: rows.jsonl, test: rows.jsonl, prompt: '{q}', target: '{a}'}"
        text = f"model: tunelab/tiny\nmethods: [full]\ntasks: [{task}]"
        runs.append(run_of(make_plan(read_study(text=text, base_folder=folder))))
    assert runs[0].task_options["train"] != runs[1].task_options["train"]
    assert runs[0].id == runs[1].id


def test_the_resolved_study_reads_back_to_the_same_runs():
    from tunelab.config.read import dump

    made = plan("[lora: {learning_rate: [1e-3, 3e-3]}, full]", rest="generation: {beams: 4}\nseeds: [0, 1]")
    again = make_plan(read_study(text=dump(made.study)))
    assert again.study == made.study
    assert identity(run_of(again)) == identity(run_of(made))
    assert again.tasks[0].task.generation == made.tasks[0].task.generation
    backend, task, _ = next(iter(cells(made)))
    assert base_run(made, task, backend, Revisions()).method == {"name": "base", "label": "base"}
    assert made.tasks[0].task.generation.beams == 4


def test_a_tasks_own_generation_stands_over_the_studys():
    head = HEAD.replace("restaurants", "{name: restaurants, generation: {max_new_tokens: 7}}")
    generation = plan("[full]", head=head, rest="generation: {beams: 2, max_new_tokens: 99}").tasks[0].task.generation
    assert (generation.beams, generation.max_new_tokens) == (2, 7)
