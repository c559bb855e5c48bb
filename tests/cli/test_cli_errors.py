"""A user's mistake is one line a problem on standard error, exit status 2, and no traceback."""

import pytest

STUDY = """\
model: tunelab/tiny
tasks:
  - restaurants
methods:
  - lora: {rnk: 8}
  - full: {learning_rate: 0}
  - lora: {rank: 4, targets: [q_prj]}
batch: {exampels: 8}
"""


@pytest.fixture
def study(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    return file


def _problems(answer):
    assert answer.status == 2
    assert answer.out == ""
    assert "Traceback" not in answer.err
    lines = answer.err.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    return lines


def test_every_problem_at_once_with_file_and_line(command, study):
    lines = "\n".join(_problems(command("plan", study)))
    assert f"{study}:5: methods.0.lora.rnk: unknown key; did you mean 'rank'?" in lines
    assert f"{study}:6: methods.1.full.learning_rate: must be a finite number above 0" in lines
    assert f"{study}:8: batch.exampels: unknown key; did you mean 'examples'?" in lines


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_method_that_does_not_fit_the_model_is_told_before_anything_runs(command, tmp_path, verb):
    file = tmp_path / "study.yaml"
    file.write_text("model: tunelab/tiny\ntasks: [restaurants]\nmethods:\n  - lora: {targets: [q_prj]}\n")
    (line,) = _problems(command(verb, file))
    assert line.startswith(f"error: {file}:4: methods.0.lora: targets: no linear layer is named 'q_prj'; there are")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "quikstart"], "Did you mean 'quickstart'?"),
        (["plan", "missing.yaml"], "missing.yaml: no such file"),
        (["run", "quickstart", "--set", "batch"], "must be key=value"),
        (["plan", "quickstart", "--set", "model=./nowhere"], "no such folder"),
        (["plan", "quickstart", "--set", "model=tunelab/huge"], "no such embedded model; there are tunelab/tiny"),
        (["evaluate", "./nowhere", "--task", "restaurants"], "no such folder"),
        (["evaluate", "results/study/runs/nowhere"], "no such folder"),
        (["plan", "quickstart", "--set", "foo.bar=3"], "--set foo.bar=3: foo: unknown key"),
        (["evaluate", "tunelab/tiny"], "which task?"),
        (["evaluate", "tunelab/tiny", "--task", "restaurant"], "Did you mean 'restaurants'?"),
        (["evaluate", "tunelab/tiny", "--task", "quickstart:x"], "quickstart has no task 'x'"),
        (["evaluate", "tunelab/tiny", "--task", "news.yaml"], "--task news.yaml: 'news.yaml' is neither a study file"),
        (["generate", "tunelab/tiny", "--prompt", "a", "--file", "b"], "not both"),
        (["generate", "tunelab/tiny", "--file", "missing.txt"], "missing.txt"),
        (["report", "."], "no study.yaml"),
        (["export", "./nowhere", "out"], "nowhere: no such folder; name a run's"),
        (["export", ".", "out"], "no run.json in it"),
        (["export", ".", "out", "--dtype", "bf16"], "give --merge too"),
        (["show"], "show what?"),
        (["show", "quickstart", "--worst"], "--worst orders a run's outputs; quickstart is no run's folder"),
        (["show", "--rows", "missing.csv"], "missing.csv: no such file"),
        (["init", "--train", "missing.csv"], "missing.csv: no such file"),
    ],
)
def test_the_line_says_what_is_wrong(command, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (line,) = _problems(command(*arguments))
    assert words in line


def test_a_defect_keeps_its_traceback(command, monkeypatch):
    monkeypatch.setattr("tunelab.study.verbs.listing.listing", lambda kind: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        command("list", "methods")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hours", "3"], "--max-seeds and --hours are limits of --until decided"),
        (["--max-seeds", "5"], "--max-seeds and --hours are limits of --until decided"),
        (["--until", "decided", "--dry-run"], "--until decided runs the study: give it without --dry-run"),
        (["--until", "decided", "--max-seeds", "1"], "--max-seeds 1 is below 3, the fewest"),
    ],
)
def test_limits_of_until_decided_are_checked_first(command, options, message, tmp_path):
    (line,) = _problems(command("run", "quickstart", "--out", tmp_path / "out", *options))
    assert message in line and not (tmp_path / "out").exists()
