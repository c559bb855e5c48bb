"""What a shell completes, by the protocol that bash follows; quickly and without torch."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from report.study_folder import write_study
from tunelab import catalogue
from tunelab.launch.terminal import completion
from tunelab.study.planning import bundled

VERBS = {"run", "plan", "init", "show", "evaluate", "generate", "score", "report", "export", "list", "doctor", "status"}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("")
    (tmp_path / "rows.csv").write_text("")
    write_study(tmp_path / "results" / "small", tasks=("restaurants",))
    (tmp_path / "results" / "small" / "study.yaml").write_text("name: small")
    return tmp_path


def test_studies_are_bundled_ones_and_files(here):
    assert completion.studies("") == [*bundled.names(), "mine.yaml", "results/"]
    assert completion.studies("qu") == ["quickstart"]
    assert completion.studies("./mi") == ["./mine.yaml"]


def test_results_and_runs_are_found_below_results(here):
    assert completion.results("") == ["results/small"]
    runs = completion.runs("results/small/runs/full")
    assert runs and all(run.startswith("results/small/runs/full") for run in runs)
    assert set(runs) <= set(completion.models(""))
    assert "tunelab/tiny" in completion.models("tunelab/")


def test_of_metrics_with_commas_the_last_one_is_completed():
    assert completion.metrics("bleu,rouge_") == ["bleu,rouge_1", "bleu,rouge_2", "bleu,rouge_l"]


def test_tasks_are_those_of_the_catalogue():
    assert completion.tasks("") == catalogue.names("tasks")


def test_data_files_are_offered_and_hidden_ones_are_not(here):
    (here / ".secret.csv").write_text("")
    assert completion.sources("") == ["results/", "rows.csv"]


def completed(words: str, folder: Path) -> list[str]:
    """As bash asks: COMP_WORDS and the number of the word that is being typed."""
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: sys.stderr.write(' '.join(sorted({'torch', 'transformers', 'datasets', 'numpy'}"
        " & set(sys.modules)))))\n"
        "from tunelab.cli import main\n"
        "sys.argv = ['tunelab']\n"
        "main()\n"
    )
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1), "_TUNELAB_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | asked, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.split()


@pytest.mark.slow
def test_bash_is_told_verbs_options_studies_and_runs(here):
    assert set(completed("tunelab ", here)) > VERBS
    assert completed("tunelab run quick", here) == ["quickstart"]
    assert completed("tunelab run mine.yaml --clu", here) == ["--cluster"]
    assert completed("tunelab list met", here) == ["methods", "metrics"]
    assert completed("tunelab list runs ", here) == ["results/small"]
    assert completed("tunelab generate results/small/runs/full-", here) == completion.runs("results/small/runs/full-")


@pytest.mark.slow
def test_a_real_bash_completes_with_the_script_that_is_shown(here):
    bash = shutil.which("bash")
    assert bash is not None
    (here / "bin").mkdir()
    program = here / "bin" / "tunelab"
    program.write_text(f"#!{sys.executable}\nfrom tunelab.cli import main\nmain()\n")
    program.chmod(0o755)
    script = (
        'export PATH="$PWD/bin:$PATH"\n'
        "_TUNELAB_COMPLETE=source_bash tunelab > script; source ./script\n"
        "COMP_WORDS=(tunelab run quick); COMP_CWORD=2\n"
        "function=$(complete -p tunelab | sed 's/.*-F \\([^ ]*\\) .*/\\1/')\n"
        '$function tunelab quick run; echo "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run([bash, "--norc", "-c", script], cwd=here, capture_output=True, text=True)
    assert done.stdout.strip() == "quickstart", done.stderr
