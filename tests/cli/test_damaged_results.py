"""A damaged file in a results folder is one line that names it: its run is made again, and the others stay."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tunelab.study.store import RunFolder

DAMAGE = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "list": lambda data: b"[1, 2]",
    "NUL": lambda data: b"\0" * len(data),
    "deep": lambda data: b"[" * 100_000,
}


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished.out, tmp_path / "out")
    return finished._replace(out=tmp_path / "out")


def damaged(file: Path, how: str) -> None:
    if how == "folder":
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes(DAMAGE[how](file.read_bytes()))


def lines_of(answer) -> str:
    assert "Traceback" not in answer.err
    return answer.out + answer.err


@pytest.mark.parametrize(
    ("name", "how"),
    [("result.json", "cut"), ("result.json", "folder"), *[("run.json", how) for how in (*DAMAGE, "folder")]],
)
def test_others_than_run_name_it_and_go_on(command, copied, name, how):
    folder = copied.run("lora")
    damaged(folder / name, how)
    for call in (["report", copied.out], ["list", "runs", copied.out], ["list", "results", copied.out]):
        answer = command(*call)
        assert answer.status == 0, call
        lines_of(answer)
    assert "unreadable" in command("list", "runs", copied.out).out
    status = command("status", copied.out)
    assert status.status == 0
    assert name == "run.json" or f"{folder.name}/result.json: damaged" in status.out
    report = (copied.out / "report.md").read_text()
    assert f"{name} cannot be read" in report or f"run.json is damaged and left out: {folder.name}" in report
    shown = command("show", folder)
    assert shown.status == 1 and shown.err.startswith(f"error: {folder / name}: damaged")


@pytest.mark.parametrize(
    ("name", "how"), [("result.json", "cut"), ("run.json", "list"), ("result.json", "folder"), ("run.json", "gone")]
)
def test_run_makes_it_again_and_keeps_what_was_there(command, copied, name, how):
    folder, others = copied.run("lora"), [copied.run("base"), copied.run("full")]
    (folder / name).unlink() if how == "gone" else damaged(folder / name, how)
    stamps = [(other / "result.json").stat().st_mtime_ns for other in others]
    dry = command("run", copied.file, "--out", copied.out, "--dry-run")
    assert dry.status == 0 and (name == "run.json" or "train (damaged" in lines_of(dry))
    answer = command("run", copied.file, "--out", copied.out, "--cluster", "in-process")
    assert answer.status == 0 and f"{name}: " in lines_of(answer) and "it is made again" in lines_of(answer)
    assert RunFolder(folder).read_result() is not None
    assert (copied.out / "damaged" / folder.name / "predictions.jsonl").exists()
    assert [(other / "result.json").stat().st_mtime_ns for other in others] == stamps


def test_an_unfinished_run_with_a_damaged_line_begins_anew_and_says_which(command, copied):
    folder = copied.run("lora")
    (folder / "result.json").unlink()
    first, second = (folder / "steps.jsonl").read_bytes().splitlines()
    (folder / "steps.jsonl").write_bytes(first[:20] + b"\n" + second + b"\n")
    answer = command("run", copied.file, "--out", copied.out, "--cluster", "in-process")
    assert answer.status == 0 and f"{folder / 'steps.jsonl'}, line 1: damaged" in lines_of(answer)
    assert [step.step for step in RunFolder(folder).steps()] == [1, 2]


def test_a_last_line_that_does_not_end_is_dropped(copied):
    folder = RunFolder(copied.run("lora"))
    with (folder.path / "steps.jsonl").open("ab") as file:
        file.write(b'{"step": 3, "lo\0\0\0')
    (folder.path / "result.json").unlink()
    assert folder.damage() is None and [step.step for step in folder.steps()] == [1, 2]
    folder.rewind(step=1)
    assert len((folder.path / "steps.jsonl").read_bytes().splitlines()) == 1


def test_the_report_names_the_line_of_a_finished_run(command, copied):
    folder = copied.run("lora")
    with (folder / "predictions.jsonl").open("ab") as file:
        file.write(b"\0\0\n")
    number = len((folder / "predictions.jsonl").read_bytes().splitlines())
    assert command("report", copied.out).status == 0
    said = f"predictions.jsonl: line {number} cannot be read and left out"
    assert said in (copied.out / "report.md").read_text()


@pytest.mark.parametrize("how", ["empty", "list", "deep"])
def test_a_damaged_study_yaml_is_written_anew(command, copied, how):
    damaged(copied.out / "study.yaml", how)
    assert command("report", copied.out).err.startswith(f"error: {copied.out / 'study.yaml'}")
    answer = command("run", copied.file, "--out", copied.out, "--cluster", "in-process")
    assert answer.status == 0 and f"{copied.out / 'study.yaml'}: damaged; it is written anew" in lines_of(answer)
    assert command("report", copied.out).status == 0


@pytest.mark.parametrize("text", ["", "[1]\n", '{"a": \n'])
def test_what_is_written_beside_the_records_stops_nothing_when_it_is_damaged(command, copied, text):
    for name in ("asked.json", "attempts.jsonl", "harness.json", "owner-000009.json", "heartbeat.json"):
        (copied.run("lora") / name).write_text(text)
        os.utime(copied.run("lora") / name, (0, 0))
    for call in (["run", copied.file, "--out", copied.out, "--cluster", "in-process"], ["status", copied.out]):
        answer = command(*call)
        assert answer.status == 0, lines_of(answer)


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"error": '])
def test_a_damaged_failure_is_a_failure(command, copied, text):
    folder = copied.run("lora")
    (folder / "result.json").unlink()
    (folder / "failure.json").write_text(text)
    for call in (["status", copied.out], ["list", "runs", copied.out], ["show", folder]):
        answer = command(*call)
        assert answer.status == 0 and "failed" in lines_of(answer).lower()
    assert command("run", copied.file, "--out", copied.out, "--cluster", "in-process").status == 0
    assert RunFolder(folder).finished


def test_a_damaged_ledger_of_jobs_is_named_with_its_line(command, copied):
    (copied.out / "slurm").mkdir()
    (copied.out / "slurm" / "jobs.jsonl").write_text(json.dumps([1]) + "\n")
    answer = command("status", copied.out)
    assert answer.status == 1 and "jobs.jsonl, line 1: damaged" in answer.err


def test_weights_are_as_readable_as_everything_else(finished):
    for method in ("lora", "full"):
        modes = {file.name: file.stat().st_mode & 0o777 for file in (finished.run(method) / "model").iterdir()}
        assert len(set(modes.values())) == 1, modes


@pytest.mark.parametrize(("label", "how"), [("lora", "line"), ("full", "NUL"), ("base", "cut"), ("lora", "gone")])
def test_lost_texts_are_generated_again_from_the_saved_model_and_nothing_is_trained(command, copied, label, how):
    folder = copied.run(label)
    file, result = folder / "predictions.jsonl", json.loads((folder / "result.json").read_bytes())
    sound = file.read_bytes()
    lines = sound.splitlines(keepends=True)
    damages = {"line": b"".join([lines[0][:9] + b"\n", *lines[1:]]), "NUL": b"\0" * 40 + b"\n"}
    file.unlink() if how == "gone" else file.write_bytes(damages.get(how, b"[1]\n" + sound))
    damaged_bytes = None if how == "gone" else file.read_bytes()
    dry = command("run", copied.file, "--out", copied.out, "--dry-run")
    assert dry.status == 0 and "evaluate again" in lines_of(dry)
    answer = command("run", copied.file, "--out", copied.out, "--cluster", "in-process")
    assert answer.status == 0
    assert (f"{file}, line " in lines_of(answer)) == (how != "gone")
    assert file.read_bytes() == sound
    again = json.loads((folder / "result.json").read_bytes())
    assert again["scores"] == result["scores"] and again["phases"].get("train") == result["phases"].get("train")
    assert "its texts were lost or damaged, and generated again from its saved model" in again["notes"]
    kept = copied.out / "damaged" / folder.name / "predictions.jsonl"
    assert (kept.read_bytes() if kept.exists() else None) == damaged_bytes
    before = file.stat().st_mtime_ns
    assert command("run", copied.file, "--out", copied.out, "--cluster", "in-process").status == 0
    assert file.stat().st_mtime_ns == before, "it is evaluated every time"


def test_lost_texts_of_a_model_that_is_gone_too_are_made_with_the_run(command, copied):
    folder = copied.run("lora")
    sound = (folder / "predictions.jsonl").read_bytes()
    (folder / "predictions.jsonl").write_bytes(b"[2]\n" + sound)
    shutil.rmtree(folder / "model")
    assert "train (damaged" in lines_of(command("run", copied.file, "--out", copied.out, "--dry-run"))
    answer = command("run", copied.file, "--out", copied.out, "--cluster", "in-process")
    assert answer.status == 0 and "its saved model is gone, so it is made again" in lines_of(answer)
    assert (folder / "predictions.jsonl").read_bytes() == sound and (folder / "model").is_dir()


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("verb", ["report", "status"])
def test_a_damaged_study_yaml_is_one_line_of_the_other_verbs(command, copied, verb, how):
    damaged(copied.out / "study.yaml", how)
    answer = command(verb, copied.out)
    lines_of(answer)
    assert answer.status == 2 and answer.err.startswith(f"error: {copied.out / 'study.yaml'}: damaged, or written by")
    assert f"`tunelab run STUDY --out {copied.out}` with its study writes it anew" in answer.err
    assert len(answer.err.strip().splitlines()) == 1, answer.err
