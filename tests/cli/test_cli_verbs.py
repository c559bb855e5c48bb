"""run, show, evaluate, generate, report and doctor on a small random model."""

import json
import re
import shutil

import pytest

from tunelab.study.store import RunFolder


def test_run_finds_its_work_done_and_prints_the_table(command, finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    answer = command("run", finished.file, "--out", out, "--cluster", "in-process")
    assert answer.status == 0
    assert "step 1/2" not in answer.out
    assert "rouge_l" in answer.out and "lora" in answer.out
    assert answer.out.rstrip().endswith(f"Report: {out / 'report.html'}")


@pytest.mark.slow
def test_a_failed_run_ends_with_1_and_is_named(command, finished, tmp_path):
    huge = ["--set", "methods.0.full.learning_rate=1e30", "--set", "methods.1.lora.learning_rate=1e-3"]
    answer = command("run", finished.file, "--out", tmp_path / "out", "--cluster", "in-process", *huge)
    assert answer.status == 1
    assert "FAILED full--restaurants--seed0" in answer.out
    assert (tmp_path / "out" / "report.html").exists()


def test_an_interrupted_run_says_how_to_go_on(command, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("tunelab.run", interrupted)
    answer = command("run", "quickstart")
    assert (answer.status, answer.out) == (130, "")
    assert answer.err.startswith("Interrupted. The same command goes on")


@pytest.mark.parametrize("method", ["base", "full", "lora"])
def test_evaluating_a_run_gives_the_scores_it_recorded(command, finished, tmp_path, method):
    folder = RunFolder(finished.run(method))
    answer = command("evaluate", folder.path, "--json", "--out", tmp_path / "again")
    assert answer.status == 0
    again = RunFolder(tmp_path / "again")
    for name, score in folder.read_result().scores.items():
        assert again.read_result().scores[name].value == pytest.approx(score.value, rel=1e-4), name
    assert [one.prediction for one in again.read_predictions()] == [one.prediction for one in folder.read_predictions()]
    assert json.loads(answer.out)["scores"].keys() == {"rouge_l", "perplexity"}


def test_an_adapter_folder_is_read_without_its_run(command, finished, tmp_path):
    adapter = tmp_path / "adapter"
    shutil.copytree(finished.run("lora") / "model", adapter)
    answer = command("evaluate", adapter, "--task", f"{finished.file}:restaurants", "--json")
    expected = RunFolder(finished.run("lora")).read_result().scores["perplexity"].value
    result = json.loads(answer.out)
    assert result["method"] == "lora"
    assert result["scores"]["perplexity"]["value"] == pytest.approx(expected, rel=1e-4)


def test_saved_weights_are_a_model_of_their_own(command, finished):
    answer = command("evaluate", finished.run("full") / "model", "--task", f"{finished.file}:restaurants", "--json")
    expected = RunFolder(finished.run("full")).read_result().scores["perplexity"].value
    assert json.loads(answer.out)["scores"]["perplexity"]["value"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_several_tasks_give_a_folder_of_records_each(command, finished, tmp_path):
    tasks = ["--task", "restaurants", "--task", f"{finished.file}:restaurants"]
    twice = command("evaluate", finished.run("lora"), *tasks, "--out", tmp_path / "out")
    assert twice.status == 2 and "stands there twice" in twice.err
    tasks = ["--task", "restaurants", "--task", "headlines", "--set", "generation.max_new_tokens=2"]
    answer = command("evaluate", finished.run("lora"), *tasks, "--out", tmp_path / "out", "--json")
    assert [result["task"] for result in json.loads(answer.out)["results"]] == ["restaurants", "headlines"]
    for task in ("restaurants", "headlines"):
        folder = RunFolder(tmp_path / "out" / task)
        assert folder.read_run().task == task and folder.read_result().scores and folder.read_predictions()
        assert sorted(file.name for file in folder.path.iterdir()) == ["predictions.jsonl", "result.json", "run.json"]
    assert command("evaluate", finished.run("base"), *tasks).out.count("nothing was trained") == 2


def test_evaluating_goes_on_from_the_texts_on_disk_while_the_weights_are_the_same(
    command, finished, tmp_path, monkeypatch
):
    class Killed(BaseException): ...

    def killed(*arguments, **options):
        raise Killed

    folder, adapter = RunFolder(tmp_path / "out"), tmp_path / "adapter"
    shutil.copytree(finished.run("lora") / "model", adapter)
    asked = ["evaluate", adapter, "--task", f"{finished.file}:restaurants", "--out", folder.path]
    monkeypatch.setattr("tunelab.study.verbs.evaluate.score", killed)
    with pytest.raises(Killed):
        command(*asked)
    monkeypatch.undo()
    key, *lines = folder.texts.read_text().splitlines()
    changed = [json.dumps({**json.loads(line), "text": "from disk"}) for line in lines]
    folder.texts.write_text("\n".join([key, *changed, ""]))
    assert command(*asked).status == 0
    assert {one.prediction for one in folder.read_predictions()} == {"from disk"}
    folder.texts.write_text("\n".join([key, *changed, ""]))
    (adapter / "adapter_model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes())
    assert command(*asked).status == 0
    assert "from disk" not in {one.prediction for one in folder.read_predictions()}


def test_set_reaches_the_evaluated_task(command, finished):
    options = ["--set", "tasks.0.test_rows=3", "--set", "tasks.0.metrics=[perplexity]"]
    answer = command("evaluate", finished.run("base"), "--task", "restaurants", *options)
    assert answer.status == 0
    assert "perplexity" in answer.out and "rouge_l" not in answer.out


def test_a_study_of_several_tasks_wants_one_named_and_of_one_takes_it(command, tmp_path):
    study = "model: tunelab/tiny\nmethods: [full]\ntasks: [{name: restaurants, test_rows: 3, metrics: [perplexity]}"
    (tmp_path / "one.yaml").write_text(study + "]\n")
    (tmp_path / "two.yaml").write_text(study + ", headlines]\n")
    for task in (tmp_path / "two.yaml", f"{tmp_path}/two.yaml:"):
        answer = command("evaluate", "tunelab/tiny", "--task", task)
        assert answer.status == 2
        assert (
            f"two.yaml: is a study of 2 tasks; name one of them: --task {tmp_path}/two.yaml:restaurants" in answer.err
        )
    answer = command("evaluate", "tunelab/tiny", "--task", tmp_path / "one.yaml")
    assert answer.out.startswith("tunelab/tiny on restaurants, seed 0\n"), "no method is known of it: it has its name"


def test_set_reaches_how_text_is_generated(command, finished, tmp_path):
    short = ["--set", "generation.max_new_tokens=1"]
    assert command("evaluate", finished.run("full"), *short, "--out", tmp_path / "short").status == 0
    assert RunFolder(tmp_path / "short").read_run().generation.max_new_tokens == 1


def test_records_of_a_study_are_never_overwritten(command, finished):
    run = finished.run("lora")
    before = (run / "result.json").read_bytes()
    answer = command("evaluate", run, "--out", run)
    assert answer.status == 2
    assert (run / "result.json").read_bytes() == before


def test_a_study_folder_is_no_model(command, finished):
    answer = command("evaluate", finished.out, "--task", "restaurants")
    assert answer.status == 2
    assert "name one of its runs" in answer.err


def test_generate_answers_every_prompt_of_a_file(command, finished, tmp_path):
    lines = tmp_path / "prompts.txt"
    lines.write_text("name = X\nname = Y\n")
    rows = tmp_path / "prompts.jsonl"
    rows.write_text('{"meaning": "name = X"}\n"name = Y"\n')
    plain = command("generate", finished.run("lora"), "--file", lines, "--max-new-tokens", 3)
    assert plain.status == 0
    assert len(plain.out.splitlines()) == 2
    assert command("generate", finished.run("lora"), "--file", rows, "--max-new-tokens", 3).out == plain.out


def test_generate_reads_standard_input(command, finished, monkeypatch):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("one\n"))
    answer = command("generate", finished.file.parent / "llama", "--max-new-tokens", 2, "--beams", 2)
    assert (answer.status, len(answer.out.splitlines())) == (0, 1)


def test_show_marks_what_is_supervised(command, finished):
    answer = command("show", finished.file, "--examples", 2)
    assert answer.status == 0
    assert answer.out.count("[[<|end|>]]") == 2
    assert "24 rows" in answer.out and "cut at 512" in answer.out and "overlap: 0" in answer.out
    assert re.search(r"lengths 1-\d+: \|[ ▁▂▃▄▅▆▇█]+\|, most are \d+-\d+ tokens", answer.out)
    assert "first step (of 2): 16 examples" in answer.out


def test_show_needs_no_weights(command):
    """The tokenizer is enough, as for a model of many gigabytes that is not here yet."""
    assert command("show", "quickstart", "--examples", 1, "--set", "tasks.0.train_rows=50").status == 0


def test_show_a_run_gives_effective_settings_and_result(command, finished):
    answer = command("show", finished.run("lora"))
    assert "rank: 2" in answer.out and "optimizer AdamW" in answer.out and "perplexity" in answer.out


def test_show_a_run_with_examples_gives_its_outputs(command, finished):
    first = command("show", finished.run("lora"), "--examples", 1)
    assert first.status == 0
    assert first.out.startswith("lora on restaurants, seed 0: 1 of 2 test examples; scores: rouge_l")
    assert first.out.count("  prompt    ") == 1 and "rank: 2" not in first.out
    for option in ("--worst", "--best"):
        ordered = command("show", finished.run("lora"), option).out
        assert f"2 of 2 test examples, the {option[2:]} first" in ordered and ordered.count("  output    ") == 2


def test_show_rows_names_columns_and_types(command, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "a", "n": 1}\n' * 5)
    lines = command("show", "--rows", file).out.splitlines()
    assert lines[:3] == [f"{file}: 5 rows", "  question: text", "  n: number"]
    assert len(lines) == 6


def test_show_rows_reads_a_file_as_init_does_and_says_what_it_guessed(command, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_bytes("Frage;Antwort\nWer k\xf6nnte?;Ich\n".encode("cp1252"))
    lines = command("show", "--rows", file).out.splitlines()
    assert lines[1:3] == ["rows.csv: not UTF-8, read as cp1252 (line 2: 'Wer k\xf6nnte?;Ich')",
                          "rows.csv: its values are separated by semicolons"]  # fmt: skip
    assert lines[3:5] == ["  Frage: text", "  Antwort: text"]


def test_show_rows_of_a_named_data_set_from_its_original_files(command, tmp_path):
    from tunelab.data.sets.named import write_generated

    write_generated("gsm8k", tmp_path, rows=8)
    lines = command("show", "--rows", "gsm8k", "--set", f"path={tmp_path}").out.splitlines()
    assert lines[0] == "gsm8k: 8 rows"
    assert "hub: openai/gsm8k, configuration main" in lines[2]
    assert lines[5:7] == ["  question: text", "  answer: text"]
    assert len(lines) == 10 and set(json.loads(lines[9])) == {"question", "answer"}
    assert (
        command("show", "--rows", "gsm8k", "--set", f"path={tmp_path}", "--set", "split=test").out[:13]
        == "gsm8k: 2 rows"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gms8k"], "no data set is called 'gms8k'. Did you mean 'gsm8k'?"),
        (["gsm8k", "--set", "pth=x"], "--set pth: a data set has path=DIR and split=train|validation|test to set"),
        (["tinystories", "--set", "split=test"], "tinystories: has no test split; it has train, validation"),
    ],
)
def test_show_rows_of_a_wrong_name_is_one_line(command, arguments, message):
    answer = command("show", "--rows", *arguments)
    assert answer.status == 2 and message in answer.err


@pytest.mark.parametrize("method", ["full", "lora"])
def test_export_writes_a_checked_model(command, finished, tmp_path, method):
    answer = command("export", finished.run(method), tmp_path / "model", "--merge", "--json")
    assert answer.status == 0
    exported = json.loads(answer.out)
    assert (exported["kind"], exported["dtype"]) == ("merged", "fp32")
    assert exported["agreement"]["largest_logit_difference"] < 1e-4
    answer = command("evaluate", tmp_path / "model", "--task", f"{finished.file}:restaurants", "--json")
    expected = RunFolder(finished.run(method)).read_result().scores["perplexity"].value
    assert json.loads(answer.out)["scores"]["perplexity"]["value"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_export_says_what_was_compared_and_where_it_is(command, finished, tmp_path):
    answer = command("export", finished.run("lora"), tmp_path / "adapter")
    assert answer.status == 0
    assert "read by PEFT, largest difference of logits: " in answer.out
    assert answer.out.endswith(f"wrote {tmp_path / 'adapter'}\n")
    again = command("export", finished.run("lora"), tmp_path / "adapter")
    assert (again.status, again.out) == (2, "")
    assert again.err == f"error: {tmp_path / 'adapter'}: is not empty; choose a folder that is not there yet\n"


@pytest.mark.slow
def test_report_is_rebuilt_from_records(command, finished, tmp_path):
    out = tmp_path / "one"
    shutil.copytree(finished.out, out)
    (out / "report.html").unlink()
    assert command("report", out).status == 0
    assert (out / "report.html").exists()
    answer = command("report", out, finished.out, "--out", tmp_path / "both")
    assert answer.status == 0
    rows = json.loads((tmp_path / "both" / "comparison.json").read_text())["rows"]
    assert len(rows) == 6


@pytest.mark.slow
def test_report_makes_money_and_energy_of_hours_by_a_price_and_a_power(command, finished, tmp_path):
    out = tmp_path / "one"
    shutil.copytree(finished.out, out)
    assert command("report", out, "--price", "2.5EUR/h", "--power", "90W").status == 0
    (total,) = json.loads((out / "comparison.json").read_text())["totals"]
    assert total["price"] == pytest.approx(2.5 * total["device_seconds"] / 3600) and total["currency"] == "EUR"
    assert total["power_wh"] == pytest.approx(90 * total["device_seconds"] / 3600)
    assert "At 2.5 EUR an hour and 90 W of a device" in (out / "report.md").read_text()
    assert "price_per_hour: null" in (out / "study.yaml").read_text()
    answer = command("report", out, "--price", "cheap")
    assert (answer.status, answer.out) == (2, "") and answer.err.startswith("error: --price: got 'cheap'; must be what")
    assert answer.err.count("\n") == 1


@pytest.mark.slow  # asks g++, where there is one
def test_doctor_says_what_is_here(command, monkeypatch):
    monkeypatch.setattr("tunelab.launch.doctor._hub_reachable", lambda: (False, "no network in tests"))
    found = json.loads(command("doctor", "--json").out)
    assert {"packages", "device", "precision", "threads", "medium_products_exact", "cache", "hub_reachable"} <= set(
        found
    )
    assert found["speed"]["gflops"]["fp32"]["2048x2048x2048"] > 1 and found["speed"]["copied_gb_per_second"] > 0.1
    assert set(found["energy"]) == {"rapl", "nvml"}
    assert found["meteor"] is ("meteor" not in found["advice"])
    assert found["hub_reachable"] is False and "hub_reachable" in found["advice"]
    assert {"mlflow", "tensorboard", "trackio", "wandb"} <= set(found["trackers"])


def test_generate_says_how_rows_were_read_beside_the_texts(command, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("question;answer\nWho?;I\nWhere?;Here\n")
    answer = command("generate", "tunelab/tiny", "--file", rows, "--max-new-tokens", 2)
    assert (answer.status, len(answer.out.splitlines())) == (0, 2)
    assert "note: rows.csv: its values are separated by semicolons" in answer.err
    assert 'note: rows are asked as "{question}\\n"' in answer.err


def test_generate_draws_and_refuses_in_one_line(command):
    drawn = ["generate", "tunelab/tiny", "--prompt", "The kitchen was", "--temperature", 0.8, "--max-new-tokens", 5]
    assert command(*drawn).out == command(*drawn).out != ""
    answer = command(*drawn, "--top-p", 2)
    assert answer.status == 2 and answer.err.startswith("error: --top-p: ") and answer.err.count("\n") == 1


def test_chat_at_a_terminal_goes_on_turn_by_turn(command, monkeypatch):
    messages = iter(["Hello", "And?", ""])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt: next(messages))
    answer = command("generate", "tunelab/tiny", "--chat", "--max-new-tokens", 3)
    assert answer.status == 0 and "a conversation, turn by turn" in answer.err
    assert next(messages, "all were read") == "all were read"
