"""The README's commands and snippets are executed, on small files, with a tiny model and few steps."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import tiny

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
SETTINGS = ("seeds=[0]", "budget={steps: 2}", "generation.max_new_tokens=4")
FEWER = ["--cluster", "in-process", *(word for setting in SETTINGS for word in ("--set", setting))]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def tunelab(arguments: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "tunelab", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    rows = [{"question": f"how many legs have {n} birds?", "answer": f"{2 * n} legs"} for n in range(40)]
    for name in ("train", "test"):
        text = "".join(json.dumps(row) + "\n" for row in (rows[:30] if name == "train" else rows[30:]))
        (tmp_path / f"{name}.jsonl").write_text(text)
        (tmp_path / "data" / f"{name}.jsonl").write_text(text)
    return tmp_path


def test_the_study_in_the_readme_runs(folder):
    (study,) = blocks("yaml")
    (folder / "study.yaml").write_text(study)
    model = tiny.model_folder(folder / "model")
    printed = tunelab(["run", "study.yaml", "--set", f"model={model}", *FEWER], folder)
    name = yaml.safe_load(study)["name"]
    rows = json.loads((folder / "results" / name / "comparison.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["base", "full", "lora"]
    assert rows[2]["num_learning_rates_tried"] == 2
    assert "report.html" in printed


def test_the_commands_for_your_own_data_work(folder):
    model = str(tiny.model_folder(folder / "model"))
    (block,) = [block for block in blocks("console") if "tunelab init" in block]
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "tunelab"
        arguments = [model if word.startswith("Qwen/") else word for word in words[1:]]
        tunelab([*arguments, *(FEWER if arguments[0] == "run" else [])], folder)
    assert (folder / "study.yaml").exists()
    assert list(folder.glob("results/*/report.html"))


def test_the_python_snippet_prints_the_plan(folder):
    (snippet,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", snippet], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "lora" in done.stdout and "full" in done.stdout


def test_every_verb_stands_in_the_table_of_the_command_line(folder):
    page = (ROOT / "docs" / "command-line.md").read_text()
    verbs = re.findall(r"^\| `tunelab (\w+)", page, re.MULTILINE)
    shown = tunelab(["--help"], folder).partition("Commands:")[2]
    assert sorted(verbs) == sorted(re.findall(r"^  (\w+)  ", shown, re.MULTILINE))


def test_the_readme_is_short_and_shows_a_report():
    assert len(README.splitlines()) < 150
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert (ROOT / picture).read_bytes().startswith(b"\x89PNG")
