"""scripts/mutants.py: what comes of each planted fault, that the tree is left as it was, and that the list is true."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from docs.pages import ROOT, script

MUTANTS = script("mutants")
FAULTS = MUTANTS.read_faults(MUTANTS.LIST)
FOLDERS = ("training", "kernels", "evaluation", "significance", "report", "study", "models")
SUMS = """
def add(a, b):
    while b > 99:
        b -= 1
    return a + b


def spare():
    return 3
"""
TEST = """
from tunelab.sums import add


def test_two_and_three():
    assert add(2, 3) == 5
    add(1, 100)
"""
PLANTED = [
    {"before": "a + b", "after": "a - b"},
    {"before": "return 3", "after": "return 4"},
    {"before": "return 3", "after": "return 5", "survives": "nobody asks for it"},
    {"before": "a + b", "after": "b + a", "survives": ""},
    {"before": "b -= 1", "after": "b += 1"},
    {"before": "a * b", "after": "a + b"},
    {"before": "a", "after": "b"},
    {"before": "def add", "after": "def added"},
    {"before": "a + b", "after": "a", "survives": "none thought of it"},
]
WORDS = ["caught", "survived", "survived", "survived", "caught", "does not apply", "does not apply", "does not run"]


def tiny_tree(folder: Path, faults: list[dict]) -> tuple[Path, Path]:
    for name, text in {"src/tunelab/__init__.py": "", "src/tunelab/sums.py": SUMS, "tests/test_sums.py": TEST}.items():
        (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "tree" / name).write_text(text)
    entries = [{"file": "sums.py", "tests": "tests/test_sums.py", **fault} for fault in faults]
    (folder / "list.yaml").write_text(yaml.safe_dump(entries))
    return folder / "tree", folder / "list.yaml"


def ran(root: Path, listed: Path, *more: str) -> subprocess.CompletedProcess[str]:
    options = ["--root", root, "--list", listed, "--heavy", "pytest", "--seconds", "15", *more]
    command = [sys.executable, ROOT / "scripts" / "mutants.py", *options]
    return subprocess.run(command, capture_output=True, text=True)


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_what_comes_of_each_fault_and_that_the_tree_is_only_read(tmp_path):
    root, listed = tiny_tree(tmp_path, PLANTED)
    before = files_of(root)
    done = ran(root, listed)
    assert files_of(root) == before
    assert done.returncode == 1, done.stdout + done.stderr
    _, _, *rows, empty, summed = done.stdout.splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    assert [cell[2] for cell in cells] == [*WORDS, "caught"]
    assert [cell[3] for cell in cells] == [
        "test_two_and_three", "", "nobody asks for it", "", "nothing within 15 s", "the text stands there 0 times",
        "the text stands there 4 times", cells[7][3], "test_two_and_three",
    ]  # fmt: skip
    assert cells[0][1] == "`a + b` → `a - b`" and empty == ""
    assert summed == "3 of 9 caught, 3 survived, 2 does not apply, 1 does not run"


@pytest.mark.slow
def test_a_list_that_is_true_is_a_success_and_one_can_be_chosen_from_it(tmp_path):
    root, listed = tiny_tree(tmp_path, [PLANTED[0], PLANTED[2]])
    done = ran(root, listed)
    assert done.returncode == 0 and done.stdout.endswith("1 of 2 caught, 1 survived\n"), done.stdout + done.stderr
    assert ran(root, listed, "return").stdout.endswith("0 of 1 caught, 1 survived\n")


@pytest.mark.slow
def test_tests_that_fail_without_a_fault_say_nothing_about_one(tmp_path):
    root, listed = tiny_tree(tmp_path, PLANTED[:1])
    (root / "tests" / "test_sums.py").write_text(TEST.replace("== 5", "== 6"))
    done = ran(root, listed)
    assert done.returncode == 1
    assert done.stdout.startswith("without a fault the tests do not pass:\n") and "caught" not in done.stdout


def test_what_counts_as_listed():
    fault = FAULTS[0]._replace(survives="")
    caught, survived = MUTANTS.Outcome("caught", "test", 1.0), MUTANTS.Outcome("survived", "", 1.0)
    assert caught.is_as_listed(fault) and not survived.is_as_listed(fault)
    excused = fault._replace(survives="for a reason")
    assert survived.is_as_listed(excused) and not caught.is_as_listed(excused), "a reason that is none any more"
    assert not caught._replace(word="does not apply").is_as_listed(fault)


def test_a_row_is_one_line_of_a_table():
    fault = MUTANTS.Fault("a.py", "if a | b:\n        return", "", ("tests/a.py",))
    said = MUTANTS.row(fault, MUTANTS.Outcome("caught", "test_x[a|b]", 2.6))
    assert said == "| `a.py` | without `if a \\| b: return` | caught | test_x[a\\|b] | 3 |"


def test_there_are_faults_of_every_part_that_decides():
    assert len(FAULTS) >= 40 and len({fault[:3] for fault in FAULTS}) == len(FAULTS)
    parts = {fault.file.partition("/")[0] for fault in FAULTS}
    assert parts >= set(FOLDERS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.file}: {fault.before.strip()[:40]}")
def test_each_fault_of_the_list_can_be_planted_and_its_tests_are_there(fault):
    assert MUTANTS.why_not(fault, ROOT) == "", "the line was changed: change scripts/mutants.yaml with it"
    ast.parse((ROOT / "src" / "tunelab" / fault.file).read_text().replace(fault.before, fault.after))
    assert fault.tests
    for test in fault.tests:
        file, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / file).read_text() if name else (ROOT / file).is_file(), test
