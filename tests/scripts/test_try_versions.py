"""scripts/try_versions.py: which interpreters are found, and what is said of one where the package does not work."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from docs.pages import ROOT, script

VERSIONS = script("try_versions")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def program(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


@pytest.fixture
def found(tmp_path, monkeypatch):
    """A machine with no Python but those below bin/ and pyenv/."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def test_the_promise_is_read_from_the_classifiers():
    assert VERSIONS.promised() == ["3.10", "3.11", "3.12", "3.13"]


@pytest.mark.slow
def test_the_newest_of_a_version_is_taken_and_a_shim_without_its_version_is_none(found):
    for patch in (9, 13):
        program(found / "pyenv" / "versions" / f"3.10.{patch}" / "bin" / "python", f"echo 3.10.{patch}")
    shim = program(found / "bin" / "python3.12", "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    assert VERSIONS.version_of(shim) is None
    assert VERSIONS.interpreter("3.10") == (found / "pyenv/versions/3.10.13/bin/python", "3.10.13")
    assert VERSIONS.interpreter("3.12") is None
    assert VERSIONS.interpreter("3.1") is None, "3.10 is not 3.1"
    program(found / "bin" / f"python{HERE}", f'exec {sys.executable} "$@"')
    assert VERSIONS.interpreter(HERE) == (found / "bin" / f"python{HERE}", platform.python_version())


@pytest.mark.slow
def test_the_step_that_failed_is_named_and_what_it_said_is_kept(tmp_path):
    python = program(tmp_path / "python", "echo 'no room left'; exit 3")
    result = VERSIONS.tried(python, "3.10.13", tmp_path / "no.whl", tmp_path / "own")
    assert result == (False, "environment failed: 3")
    assert (tmp_path / "own" / "log.txt").read_text().endswith("no room left\n")


@pytest.mark.slow
def test_a_version_that_is_not_found_is_said_and_none_at_all_is_a_failure(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "try_versions.py", "3.99"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stdout == "3.99: no interpreter with venv on PATH or below ~/.pyenv: not tried\n"


@pytest.mark.slow
def test_every_module_can_be_imported_by_this_python():
    done = subprocess.run([sys.executable, "-c", VERSIONS.IMPORT_ALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    imported = int(done.stdout.split()[0])
    assert imported > 300


@pytest.mark.slow
def test_a_module_with_a_name_that_this_python_lacks_is_found(tmp_path):
    (tmp_path / "tunelab").mkdir()
    (tmp_path / "tunelab" / "__init__.py").write_text("")
    (tmp_path / "tunelab" / "errors.py").write_text("class RunError(Exception): ...")
    (tmp_path / "tunelab" / "apart.py").write_text("import not_installed_here")
    (tmp_path / "tunelab" / "newer.py").write_text("from typing import FromTheFuture")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", VERSIONS.IMPORT_ALL]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert done.stdout == "1 modules imported; 1 need packages or an environment that are not here\n"
    assert done.stderr.startswith("tunelab.newer: ImportError: cannot import name 'FromTheFuture'")


@pytest.mark.slow
def test_no_file_has_syntax_that_is_newer_than_the_oldest_promise(tmp_path):
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "E9", "--target-version", "py310"]
    folders = [ROOT / name for name in ("src", "tests", "scripts", "benchmarks")]
    assert subprocess.run([*ruff, *folders], capture_output=True, text=True).stdout == "All checks passed!\n"
    (tmp_path / "newer.py").write_text("try:\n    pass\nexcept* ValueError:\n    pass\n")
    assert "Python 3.10" in subprocess.run([*ruff, tmp_path], capture_output=True, text=True).stdout


@pytest.mark.slow
def test_types_hold_as_the_oldest_promise_has_them():
    """pyright knows which names of the standard library came later: datetime.UTC, Path.walk, typing.Self, ..."""
    command = [sys.executable, "-m", "pyright", "--project", ROOT, "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
