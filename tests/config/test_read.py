"""Reading a study: every problem at once, in plain words, with file and line."""

from pathlib import Path

import pytest

from tunelab.config.read import dump, read_study
from tunelab.errors import ConfigError

MINIMAL = "model: tunelab/tiny\ntasks: [restaurants]\nmethods: [full]\n"


def problems(text: str, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as error:
        read_study(text=text, overrides=overrides)
    assert all("\n" not in problem for problem in error.value.problems)
    return error.value.problems


def only_problem(text: str, *overrides: str) -> str:
    (problem,) = problems(text, *overrides)
    return problem


def test_only_model_tasks_and_methods_are_required():
    config = read_study(text=MINIMAL).config
    assert config.tasks == [{"name": "restaurants"}]
    assert config.methods == [{"full": {}}]
    assert config.budget.epochs == 3


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "{}", "---\n"])
def test_empty_study_says_so_and_what_it_needs(text):
    expected = "study text: the study is empty; it needs model, tasks and methods, and `tunelab init` writes one"
    assert only_problem(text) == expected


def test_missing_parts_are_all_named():
    assert problems("name: a\n") == (
        "study text: model: required, and not given",
        "study text: tasks: required, and not given",
        "study text: methods: required, and not given",
    )


def test_all_problems_come_at_once_with_file_and_line(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(
        MINIMAL + "batch:\n  exampels: 3\n  max_length: [1]\nbudgets: {}\nprecision: fp8\nseeds: 3\nname: a b\n"
    )
    with pytest.raises(ConfigError) as error:
        read_study(file)
    top_keys = (
        "name, model, tasks, methods, seeds, budget, batch, data, precision, weights, threads, "
        "activation_checkpointing, optimizer, schedule, loss, validation, search, generation, evaluation, decision, "
        "checkpoint, backends, launch, track, published"
    )
    assert set(error.value.problems) == {
        f"{file}:5: batch.exampels: unknown key; did you mean 'examples'? Keys: examples, max_tokens, max_length",
        f"{file}:6: batch.max_length: must be a whole number; got the list [1]",
        f"{file}:7: budgets: unknown key; did you mean 'budget'? Keys: {top_keys}",
        f"{file}:8: precision: must be 'auto', 'fp32', 'bf16' or 'fp16'; got 'fp8'",
        f"{file}:9: seeds: must be a list; got 3; write [3]",
        f"{file}:10: name: Names the results folder: letters, digits, '.', '_', '-'. Got 'a b'",
    }
    assert str(error.value).splitlines() == list(error.value.problems)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("batch: {examples: true}", "batch.examples: must be a whole number; got true"),
        ("batch: {examples: '8'}", "batch.examples: must be a whole number; got '8' (text); remove the quotes"),
        ("batch: {examples: 0}", "batch.examples: must be above 0; got 0"),
        ("batch: {examples: 1.5}", "batch.examples: must be a whole number; got 1.5"),
        ("batch: {examples: }", "batch.examples: must be a whole number; got nothing"),
        ("batch:", "batch: must be a mapping (key: value); got nothing"),
        ("batch: 8", "batch: must be a mapping (key: value); got 8"),
        ("threads: many", "threads: must be a whole number or 'auto'; got 'many'"),
        ("name: 5", "name: must be text; got 5; put it in quotes"),
        ("loss: {label_smoothing: 1}", "loss.label_smoothing: must be below 1.0; got 1"),
        ("optimizer: {betas: [0.9]}", "optimizer.betas: must have 2 entries; got 1"),
        ("optimizer: {betas: [0.9, 1.5]}", "optimizer.betas: each beta must be at least 0 and below 1"),
        ("optimizer: {clip: .inf}", "optimizer.clip: must be a finite number; got inf"),
        ("seeds: []", "seeds: must have at least 1 entry; got 0"),
        ("seeds: [0, -1]", "seeds.1: must be at least 0; got -1"),
        ("activation_checkpointing: yes", "activation_checkpointing: must be true or false; got 'yes'"),
        ('name: "\\ud800"', "name: holds a \\u escape that is half a character; write the character itself"),
        ("1: a", "the key 1 must be text; put it in quotes"),
    ],
)
def test_wrong_values_are_explained_in_plain_words(line, message):
    assert f"study text:4: {message}" in problems(MINIMAL + line + "\n")


def test_a_budget_without_a_limit_is_refused():
    assert "budget: no run would end: give epochs, steps or tokens" in only_problem(
        MINIMAL + "budget: {epochs: null}\n"
    )
    assert read_study(text=MINIMAL + "budget: {}\n").config.budget.epochs == 3


def test_a_key_in_the_wrong_place_is_told_its_place():
    assert "unknown key; did you mean 'budget.epochs'? Keys: " in only_problem(MINIMAL + "epochs: 3\n")
    assert "it is an option of each method, as in" in only_problem(MINIMAL + "learning_rate: 1e-4\n")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "- lora:\n    rank: 8",
            "study text:4: methods.0: must be one method, as in 'lora: {rank: 8}'; got the keys lora, rank",
        ),
        ("- lora: 8", "study text:4: methods.0.lora: must be a mapping (key: value); got 8"),
        ("- 8", "study text:4: methods.0: must be a mapping (key: value); got 8"),
    ],
)
def test_wrong_method_entries(entry, message):
    text = f"model: a\ntasks: [b]\nmethods:\n  {entry}\n"
    assert only_problem(text) == message


@pytest.mark.parametrize("methods", ["lora", "{lora: {rank: 8}}", ""])
def test_methods_that_are_no_list(methods):
    assert only_problem(f"model: a\ntasks: [b]\nmethods: {methods}\n").startswith(
        "study text:3: methods: must be a list; got "
    )


@pytest.mark.parametrize("text", ["- model: a\n- tasks: b\n", "just text", "5"])
def test_a_study_that_is_no_mapping(text):
    problem = only_problem(text)
    assert problem.startswith("study text:1: a study is a mapping with the keys model, tasks and methods; got ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [a\ntasks: b\n", "study text:2: not valid YAML: expected ',' or ']', but got ':'"),
        ("a:\n\tb: 1\n", "cannot start any token; indent with spaces, not tabs"),
        ("a: b: c\n", "study text:1: not valid YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2\n", "study text:2: a second '---' document begins; a study is one document"),
        ("a: !!python/object/apply:os.system [ls]\n", "study text:1: tags such as 'tag:yaml.org,2002:python/object"),
        ("a: 1\nb: \x07\n", "study text:2: the character U+0007 is not allowed in YAML; remove it"),
        ("a: &x [*x]\n", "study text:1: not valid YAML: an alias that contains itself"),
        ("a: " + "[" * 500, "study text:1: nested too deeply to be a study"),
    ],
)
def test_text_that_is_not_yaml(text, message):
    assert message in only_problem(text)


def test_aliases_that_unfold_to_billions_are_refused():
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 9)
    )
    assert "more than 50000 values" in only_problem(text)


def test_duplicate_keys_name_both_lines():
    text = MINIMAL + "batch: {examples: 4}\nbatch: {examples: 8}\n"
    assert only_problem(text) == "study text:5: batch: given twice, at line 4 and line 5; keep one"
    nested = "model: a\ntasks: [b]\nmethods:\n  - lora:\n      rank: 1\n      rank: 2\n"
    assert only_problem(nested) == "study text:6: rank: given twice, at line 5 and line 6; keep one"


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("2E5", 2e5), ("1.0e-4", 1e-4), (".5", 0.5), ("1_000", 1000)]
)
def test_numbers_that_yaml_takes_for_text_are_numbers(text, value):
    config = read_study(text=f"model: a\ntasks: [b]\nmethods:\n  - full: {{learning_rate: {text}}}\n").config
    assert config.methods == [{"full": {"learning_rate": value}}]


@pytest.mark.parametrize("text", ["no", "on", "2024-01-31", "12:30:00", "010", "1e", "e5", "1.2.3"])
def test_text_that_yaml_takes_for_something_else_is_text(text):
    assert read_study(text=f"model: a\ntasks: [{{name: {text}}}]\nmethods: [full]\n").config.tasks == [{"name": text}]


def test_merge_keys_work_and_have_lines():
    text = (
        "model: a\ntasks: [b]\nmethods:\n  - lora: &base\n      rank: 4\n  - qlora:\n      <<: *base\n      alpha: 8\n"
    )
    study = read_study(text=text)
    assert study.config.methods[1] == {"qlora": {"rank": 4, "alpha": 8}}
    assert study.where("methods.1.qlora.rank") == "study text:5"


def test_where_finds_the_line_or_that_of_the_nearest_parent():
    study = read_study(text="model: a\ntasks:\n  - b\nmethods:\n  - full\n  - lora:\n      learning_rate: [1e-4, 0]\n")
    assert study.where("methods.1.lora.learning_rate") == "study text:7"
    assert study.where("methods.1.lora.rank") == "study text:6"
    assert study.where("methods.0.full.rank") == "study text:5"
    assert study.where("tasks.0.name") == "study text:3"
    assert study.where("model.name") == "study text:1"
    assert study.where("batch.examples") == "study text"
    assert study.problem("methods.1.lora.learning_rate.1", "must be above 0; got 0") == (
        "study text:7: methods.1.lora.learning_rate.1: must be above 0; got 0"
    )


def test_files_that_cannot_be_read(tmp_path):
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: caf\xe9".encode("latin-1"))
    for path, message in [
        (tmp_path / "none.yaml", "no such file; `tunelab init` writes a study"),
        (tmp_path, "is a folder; a study is a YAML file, and `tunelab init` writes a study"),
        (latin, "byte 9 is not UTF-8; save the study as UTF-8"),
    ]:
        with pytest.raises(ConfigError) as error:
            read_study(path)
        assert str(error.value) == f"{path}: {message}"


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    (tmp_path / "s.yaml").write_text(MINIMAL, encoding="utf-8-sig")
    assert read_study(tmp_path / "s.yaml").config.model.name == "tunelab/tiny"


def test_paths_belong_to_the_folder_of_their_source(tmp_path, monkeypatch):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "s.yaml").write_text(MINIMAL)
    monkeypatch.chdir(tmp_path)
    study = read_study(Path("studies/s.yaml"), overrides=["tasks.0.path=data"])
    assert study.folder_of("tasks.0.path") == tmp_path
    assert study.folder_of("tasks.0.other") == tmp_path / "studies"
    assert study.where("model") == "studies/s.yaml:1"


def test_a_model_folder_beside_the_study_becomes_absolute(tmp_path, monkeypatch):
    for folder in ("studies/gpt", "gpt", "studies/tunelab/tiny"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "studies" / "s.yaml"
    file.write_text(MINIMAL.replace("tunelab/tiny", "gpt"))
    assert read_study(file).config.model.name == str(tmp_path / "studies" / "gpt")
    assert read_study(file, overrides=["model=gpt"]).config.model.name == str(tmp_path / "gpt")
    assert read_study(file, overrides=["model=gpt2"]).config.model.name == "gpt2"
    assert read_study(file, overrides=["model=tunelab/tiny"]).config.model.name == "tunelab/tiny"


def test_dump_reads_back_to_an_equal_config():
    text = (
        "model: {name: a, revision: '1e-4'}\ntasks: [b, {name: 'no', prompt: \"{x}\\n\", path: '010'}]\n"
        "methods: [full, lora: {rank: 4, learning_rate: [1e-5, 3e-4]}, lora: {}]\nseeds: [7]\nbudget: {steps: 3}\n"
        "optimizer: {clip: null, eps: 1e-8}\nname: '1.5'\n"
    )
    config = read_study(text=text).config
    assert read_study(text=dump(config)).config == config
    assert "seeds: [7]" in dump(config)


def test_lenient_reading_returns_the_problems_of_optional_sections():
    study = read_study(text=MINIMAL + "batch: {exampels: 3}\n", lenient=True)
    assert study.config.batch.examples == 16
    assert len(study.problems) == 1
    with pytest.raises(ConfigError):
        read_study(text="model: a\nbatch: {exampels: 3}\n", lenient=True)


def test_a_seed_twice_is_refused():
    (problem,) = problems("model: tunelab/tiny\ntasks: [restaurants]\nmethods: [full]\nseeds: [0, 1, 0]\n")
    assert "seeds" in problem and "twice" in problem


def test_a_line_break_in_single_quotes_is_said_with_its_line():
    text = (
        "model: tunelab/tiny\nmethods: [full]\ntasks:\n  - name: a\n    train: 'C:\\new.jsonl'\n    test: b.jsonl\n"
        "    prompt: '{q}\\n'\n    target: \"{a}\\n\"\n"
    )
    rule = r"holds \n or \t as two characters, a backslash and a letter: only double quotes make one of them, as in "
    expected = f'study text:7: tasks.0.prompt: {rule}"{{question}}\\n"'
    assert read_study(text=text).notes == [expected]
    assert read_study(text=text.replace("'{q}\\n'", '"{q}\\n"')).notes == []
    assert read_study(text=text.replace("'{q}\\n'", r'"{q}\\nu"')).notes == [], "LaTeX in double quotes is meant"
    assert len(read_study(text=text.replace("'{q}\\n'", "|\n      {q}\\n")).notes) == 1, "a block keeps it too"


def test_a_line_break_of_a_set_is_said_in_place_of_the_file_s():
    text = "model: tunelab/tiny\nmethods: [full]\ntasks: [{name: a, train: x, test: y, prompt: '{q}\\n'}]\n"
    assert read_study(text=text, overrides=[r'tasks.0.prompt="{q}\n"']).notes == []
    (note,) = read_study(text=text, overrides=[r"tasks.0.prompt='{q}\n'"]).notes
    assert note.startswith(r"--set tasks.0.prompt='{q}\n': holds \n or \t")
