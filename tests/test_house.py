"""The house: arrows point downward, what must not import torch does not, and the README's tree is the real one."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "tunelab"
FLOORS = {
    "records": 1, "errors": 1, "files": 1, "near": 1,
    "config": 2, "data": 2, "contracts": 2, "catalogue": 2,
    "training": 3, "kernels": 3, "models": 3, "evaluation": 3, "tasks": 3, "metrics": 3,
    "study": 4, "backends": 4, "methods": 4,
    "launch": 5, "report": 5, "export": 5,
    "cli": 6, "__main__": 6, "__init__": 6,
}  # fmt: skip
TORCH_FREE = ["config", "data", "metrics", "tasks", "evaluation", "records", "report", "training/loop", "study/plan"]
FRAMEWORKS = {"torch", "jittor", "safetensors.torch"}
FILES = sorted(SOURCE.rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(SOURCE).with_suffix("").as_posix()


def imports(file: Path) -> set[str]:
    """Every module imported anywhere in the file, `if TYPE_CHECKING` left out: it imports nothing at run time."""
    tree = ast.parse(file.read_text())
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "tunelab"}
    return found


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_arrows_point_downward(file):
    own = name_of(file).split("/")[0]
    allowed_beside = {own} | {name for name, level in FLOORS.items() if level == FLOORS[own] and level in (1, 2)}
    for module in imports(file):
        there = module.split(".")[1] if module.startswith("tunelab.") else "errors"
        if there == "__version__":
            continue
        assert there in FLOORS, f"{there} has no floor: add it to the house"
        assert FLOORS[there] < FLOORS[own] or there in allowed_beside or there in BESIDE.get(own, ()), module


BESIDE = {"launch": {"report"}, "export": {"report"}, "metrics": {"evaluation"}, "__main__": {"cli"}}
"""Neighbours on one floor that may be used: the launcher writes the report when a study ends, a model card shows
numbers as the report does, and several metrics share the official tools' tokens."""


@pytest.mark.parametrize("part", TORCH_FREE)
def test_what_reads_text_never_imports_a_framework(part):
    files = [file for file in FILES if name_of(file) == part or name_of(file).startswith(f"{part}/")]
    assert files
    for file in files:
        assert not {module for module in imports(file) if module in FRAMEWORKS or module.startswith("torch.")}, file


def test_training_names_no_method():
    methods = {file.stem for file in (SOURCE / "methods").glob("[a-z]*.py")} - {"full"}
    words = re.compile(rf"\b({'|'.join(methods)})\b", re.IGNORECASE)
    for file in (SOURCE / "training").glob("*.py"):
        assert "tunelab.methods" not in file.read_text()
        assert not words.search(file.read_text()), file


def test_only_the_planner_turns_names_into_objects():
    assert [name_of(file) for file in FILES if "catalogue.load(" in file.read_text()] == ["study/plan"]


def test_no_drawer_for_odds_and_ends():
    assert not {file.stem for file in FILES} & {"utils", "common", "helpers", "misc", "util", "helper"}


def test_files_are_about_one_idea_long():
    long = {name_of(file): len(file.read_text().splitlines()) for file in FILES}
    limits = {"contracts": 420}  # every contract stands on this one page
    assert {name: lines for name, lines in long.items() if lines > limits.get(name, 330)} == {}


def test_the_loop_is_short_and_alone():
    assert len((SOURCE / "training" / "loop.py").read_text().splitlines()) <= 200
    steppers = [name_of(file) for file in FILES if "session.accumulate(" in file.read_text()]
    assert steppers == ["training/step"]


def test_the_readme_tree_is_the_real_one():
    specification = importlib.util.spec_from_file_location("readme_tree", ROOT / "scripts" / "readme_tree.py")
    readme_tree = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(readme_tree)
    assert readme_tree.tree() in (ROOT / "README.md").read_text(), "run: python scripts/readme_tree.py"
