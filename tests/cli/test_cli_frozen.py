"""The command line does not change by accident: verbs, arguments, options. Changing it means changing this page."""

import subprocess
import sys

import pytest
import typer.main

import tunelab
from tunelab.cli import app
from tunelab.study.verbs.listing import KINDS

VERBS = {
    "run": [
        "STUDY",
        "--out",
        "--cluster",
        "--dry-run",
        "--set",
        "--rehearse",
        "--until",
        "--max-seeds",
        "--hours",
        "--wait",
        "--replace",
    ],
    "status": ["STUDY", "--out", "--json"],
    "cancel": ["STUDY", "--out"],
    "plan": ["STUDY", "--json", "--memory", "--time", "--device", "--price", "--power", "--set"],
    "init": ["--train", "--test", "--validation", "--model", "--out", "--encoding", "--header", "--force"],
    "show": ["WHAT", "--examples", "--worst", "--rows", "--set"],
    "evaluate": ["MODEL", "--task", "--set", "--out", "--json", "--cluster", "--dry-run"],
    "generate": [
        "MODEL",
        "--prompt",
        "--file",
        "--max-new-tokens",
        "--beams",
        "--temperature",
        "--top-p",
        "--system",
        "--chat",
    ],
    "score": ["HYPOTHESES", "REFERENCES", "--metrics", "--json"],
    "report": ["FOLDERS", "--out", "--price", "--power"],
    "track": ["STUDY", "--to", "--out"],
    "export": ["RUN", "FOLDER", "--merge", "--dtype", "--gguf", "--json"],
    "list": ["WHAT", "FOLDER", "--json"],
    "doctor": ["--prepare", "--calibrate", "--json"],
}


def test_verbs_and_options_are_these():
    commands = typer.main.get_command(app).commands
    shown = {}
    for verb, command in commands.items():
        options = [parameter for parameter in command.params if "--help" not in parameter.opts]
        shown[verb] = [name if name.startswith("--") else name.upper() for each in options for name in each.opts]
    assert shown == VERBS


QUICK = [["--help"], ["--version"], *(["list", kind] for kind in KINDS)]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", QUICK, ids=" ".join)
def test_help_and_list_answer_at_once_and_without_torch(arguments):
    """Seconds of processor, not of the clock: the suite shares its cores. The best of five: load only adds."""
    code = (
        "import sys, time\n"
        "from tunelab.cli import main\n"
        f"sys.argv = ['tunelab', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "print('seconds', time.process_time(), file=sys.stderr)"
    )
    seconds = []
    while len(seconds) < 5 and not any(value < 0.4 for value in seconds):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip()
        seconds.append(float(done.stderr.split()[-1]))
    assert min(seconds) < 0.4


@pytest.mark.slow
def test_module_and_command_are_one():
    done = subprocess.run([sys.executable, "-m", "tunelab", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"tunelab {tunelab.__version__}\n"


def test_usage_errors_end_with_2(command):
    for arguments in (["frobnicate"], ["plan"], ["list", "nonsense"], ["run", "--cluster", "moon"], ["init"]):
        answer = command(*arguments)
        assert answer.status == 2, arguments
        assert "Usage: tunelab" in answer.err
