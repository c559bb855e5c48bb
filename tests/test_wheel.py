"""The package as users get it: the wheel is built without a network, holds every file, and works where no source is."""

import os
import re
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
import yaml

import tunelab
from docs.pages import ROOT, script
from tunelab import catalogue

SOURCE = ROOT / "src" / "tunelab"
PROJECT = (ROOT / "pyproject.toml").read_text()
VERSIONS = script("try_versions")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return VERSIONS.build(tmp_path_factory.mktemp("wheel"), "--no-build-isolation")


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    source = {
        path.relative_to(SOURCE.parent).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {name for name in names if name.startswith("tunelab/")}
    assert source - held == set(), "[tool.setuptools.package-data] in pyproject.toml leaves these out"
    assert held - source == set()
    assert {"tunelab/py.typed", "tunelab/studies/quickstart.yaml"} <= held
    kinds = {Path(name).suffix for name in held}
    assert {".py", ".yaml", ".json", ".safetensors", ".j2", ".css"} <= kinds
    others = {name.partition("/")[2] for name in names if not name.startswith("tunelab/")}
    assert others == {
        "METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt", "licenses/LICENSE",
    }  # fmt: skip
    assert {name.partition("/")[0] for name in names} == {"tunelab", f"tunelab-{tunelab.__version__}.dist-info"}


@pytest.mark.slow
def test_the_wheel_says_what_it_is(wheel):
    inside = zipfile.ZipFile(wheel)
    folder = f"tunelab-{tunelab.__version__}.dist-info"
    said = message_from_string(inside.read(f"{folder}/METADATA").decode())
    assert (said["Version"], said["License-Expression"]) == (tunelab.__version__, "Apache-2.0")
    assert said["Requires-Python"] == ">=3.10"
    assert inside.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()


def outside(folder: Path, command: list[str | Path], package: Path) -> str:
    """What a command prints in an empty folder where `package` is the only tunelab."""
    environment = {**os.environ, "PYTHONPATH": str(package), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_an_extracted_wheel_lists_and_plans(wheel, tmp_path):
    package, empty = tmp_path / "extracted", tmp_path / "empty"
    empty.mkdir()
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, package], check=True)
    python = [sys.executable, "-c", "import tunelab; print(tunelab.__file__)"]
    assert outside(empty, python, package).strip() == str(package / "tunelab" / "__init__.py")
    module = [sys.executable, "-m", "tunelab"]
    listed = outside(empty, [*module, "list", "methods"], package)
    assert {line.split()[0] for line in listed.splitlines()} == set(catalogue.names("methods"))
    assert "tunelab/tiny-seq2seq" in outside(empty, [*module, "list", "models"], package)
    planned = outside(empty, [*module, "plan", "quickstart"], package)
    assert planned.startswith("quickstart: 5 runs on tunelab/tiny-seq2seq")
    assert list(empty.iterdir()) == []


@pytest.mark.slow
def test_an_installed_wheel_has_its_command(wheel, tmp_path):
    package, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--target", package, wheel], check=True)
    printed = outside(empty, [sys.executable, package / "bin" / "tunelab", "--version"], package)
    assert printed == f"tunelab {tunelab.__version__}\n"


def test_the_version_is_one():
    assert re.search(r'^version = "(.*)"$', PROJECT, re.MULTILINE)[1] == tunelab.__version__
    assert f"## {tunelab.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (tunelab.__version__, "Apache-2.0")
    assert citation["cff-version"] == "1.2.0" and citation["authors"] and citation["title"] and citation["message"]


def test_every_promise_of_a_python_is_the_same():
    first, *_, last = VERSIONS.promised()
    assert [f"3.{minor}" for minor in range(int(first[2:]), int(last[2:]) + 1)] == VERSIONS.promised()
    assert f'requires-python = ">={first}"' in PROJECT
    assert f'target-version = "py{first.replace(".", "")}"' in PROJECT
    assert f'pythonVersion = "{first}"' in PROJECT
    assert f"Python {first} to {last}" in (ROOT / "README.md").read_text()
    assert f"Python {first} to {last}" in (ROOT / "docs" / "install.md").read_text()
    assert f"Python >= {first}" in (ROOT / "Makefile").read_text()


def test_every_extra_is_on_the_page_of_installing():
    (section,) = re.findall(r"^\[project.optional-dependencies\]\n(.*?)^\[", PROJECT, re.MULTILINE | re.DOTALL)
    extras = set(re.findall(r"^([\w-]+) = \[", section, re.MULTILINE))
    page = (ROOT / "docs" / "install.md").read_text()
    table = page[page.index("| extra |") : page.index("## Removing it")]
    firsts = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    assert {name for first in firsts for name in re.findall(r"`([\w-]+)`", first)} == extras
