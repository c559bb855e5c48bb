"""The house: arrows point downward and in no circle, what must not import torch does not, docs/house.md is true."""

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "tunelab"
FLOORS = [
    {"errors", "near", "files", "records", "device", "stages", "computation"},
    {"entries", "ownership"},
    {"config"},
    {"backend_contract", "tracker_contract", "study/record_files"},
    {"contracts", "data/cache"},
    {"catalogue", "data/kept", "data/reading", "data/synthetic"},
    {"data/examples"},
    {"data/tokens", "data/sets"},
    {"data/overlap", "significance"},
    {"kernels", "evaluation"},
    {"training", "models", "metrics", "tasks", "trackers", "study/evaluations"},
    {"methods", "study/store", "study/counts", "report", "slurm"},
    {"backends", "study/planning"},
    {"study/executing"},
    {"study/verbs", "study/foresight"},
    {"launch", "export"},
    {"api"},
    {"commands"},
    {"cli", "__init__"},
    {"__main__"},
]
"""From the ground up. A room knows the rooms of the floors below it and none beside it."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
NEVERS = [
    ("study", "report"),  # a study leaves records, a report reads them
    ("backends", "methods"),  # it is handed a method
    ("training", "methods"),
]
TORCH_FREE = [
    "config", "data", "metrics", "tasks", "evaluation", "significance", "records", "entries", "report", "contracts",
    "backend_contract", "tracker_contract", "trackers", "training/loop", "study/planning", "launch/tracking",
    "models/decoding", "models/beams", "models/choosing", "models/numpy_scores",
]  # fmt: skip
FRAMEWORKS = {"torch", "jittor", "safetensors.torch"}
FILES = sorted(SOURCE.rglob("*.py"))
NAMES = {path.relative_to(SOURCE).with_suffix("").as_posix(): path for path in FILES}


def name_of(file: Path) -> str:
    return file.relative_to(SOURCE).with_suffix("").as_posix()


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imported(file: Path, *, types: bool) -> set[str]:
    """Every module and `module.name` imported anywhere in the file. `types`: also for type checkers alone."""
    tree = tree_of(file)
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING" and not types
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
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@cache
def arrows(file: Path) -> frozenset[str]:
    """Files of the house that a file knows, by name; for type checkers alone, too."""
    stems = {module.removeprefix("tunelab").strip(".").replace(".", "/") for module in imported(file, types=True)}
    return frozenset({stem for stem in stems if stem in NAMES} - {name_of(file)})


def room_of(name: str) -> str:
    """'data/reading/rows' is in 'data/reading', 'study/store' is a room of its own, 'config/read' is in 'config'."""
    top, _, rest = name.partition("/")
    nested = f"{top}/{rest.partition('/')[0]}"
    return nested if nested in FLOOR else top


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("/__init__")])
def test_arrows_point_downward(name):
    own = room_of(name)
    assert own in FLOOR, f"{own} has no floor: add it to the house"
    for there in map(room_of, arrows(NAMES[name])):
        assert there == own or FLOOR[there] < FLOOR[own], f"{name} knows {there}"


@pytest.mark.parametrize(("here", "there"), NEVERS)
def test_what_must_not_know_each_other_does_not(here, there):
    files = [path for name, path in NAMES.items() if name.startswith(f"{here}/")]
    assert files and [name for name in NAMES if name.startswith(f"{there}/")]
    for file in files:
        assert not [name for name in arrows(file) if f"{name}/".startswith(f"{there}/")], file


def test_no_file_knows_itself_by_way_of_others():
    """Tarjan's strongly connected parts of the files' arrows, those for type checkers included."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(arrows(NAMES[name])):
            if other not in index:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == index[name]:
            part = stack[stack.index(name) :]
            del stack[-len(part) :]
            if len(part) > 1:
                circles.append(part)

    for name in NAMES:
        if name not in index:
            visit(name)
    assert circles == []


@pytest.mark.parametrize("part", TORCH_FREE)
def test_what_reads_text_never_imports_a_framework(part):
    files = [path for name, path in NAMES.items() if name == part or name.startswith(f"{part}/")]
    assert files
    for file in files:
        modules = imported(file, types=False)
        assert not {module for module in modules if module in FRAMEWORKS or module.startswith("torch.")}, file


def test_back_ends_do_not_know_each_other():
    folders = {name.split("/")[1] for name in NAMES if name.startswith("backends/") and name.count("/") > 1}
    assert "torch" in folders
    for name, path in NAMES.items():
        others = {there.split("/")[1] for there in arrows(path) if there.startswith("backends/") and "/" in there[9:]}
        if name.startswith("backends/"):
            assert others <= {name.split("/")[1]}, name


def test_training_names_no_method():
    methods = {file.stem for file in (SOURCE / "methods").glob("[a-z]*.py")} - {"full"}
    words = re.compile(rf"\b({'|'.join(methods)})\b", re.IGNORECASE)
    files = [path for name, path in NAMES.items() if name.startswith("training/")]
    assert methods > {"lora", "galore"} and {path.parent.name for path in files} > {"training", "inner"}
    for file in files:
        assert not words.search(file.read_text()), file


def test_only_the_planner_turns_names_into_objects():
    assert [name for name, path in NAMES.items() if "catalogue.load(" in path.read_text()] == ["study/planning/plan"]


def test_one_function_chooses_the_device():
    """Whoever asks torch itself whether there is a GPU cannot be told otherwise by a test."""
    asks = re.compile(r"cuda\.is_available|is_torch_cuda_available|cuda\.device_count")
    assert [name for name, path in NAMES.items() if asks.search(path.read_text())] == ["device"]


def test_no_drawer_for_odds_and_ends():
    assert not {Path(name).name for name in NAMES} & {"utils", "common", "helpers", "misc", "util", "helper"}


def test_files_are_about_one_idea_long():
    long = {name: len(path.read_text().splitlines()) for name, path in NAMES.items()}
    assert {name: lines for name, lines in long.items() if lines > 330} == {}


def test_rooms_hold_about_a_dozen_doors():
    """Folders of siblings that are one kind of thing may be longer: their names are the catalogue's."""
    doors: dict[str, int] = {}
    for name in NAMES:
        if not name.endswith("__init__"):
            doors[name.rpartition("/")[0]] = doors.get(name.rpartition("/")[0], 0) + 1
    assert {room for room, number in doors.items() if number > 14} <= {"methods", "metrics", "models", "report"}


def test_the_loop_is_short_and_alone():
    assert len((SOURCE / "training" / "loop.py").read_text().splitlines()) <= 200
    assert [name for name, path in NAMES.items() if "session.accumulate" in path.read_text()] == ["training/step"]


def house_tree():
    specification = importlib.util.spec_from_file_location("house_tree", ROOT / "scripts" / "house_tree.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_tree_in_the_docs_is_the_real_one():
    assert house_tree().tree() in (ROOT / "docs" / "house.md").read_text(), "run: python scripts/house_tree.py"


def test_every_file_that_the_docs_name_is_there():
    """Paths like `data/tokens/chat.py`, from src/tunelab or from the repository's root; papers' code is left out."""
    ours = {path.name for path in (*SOURCE.iterdir(), *ROOT.iterdir()) if path.is_dir()}
    found: dict[str, int] = {}
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *FILES]:
        for path in re.findall(r"(?<![\w/.-])((?:[a-z_]+/)+[a-z_0-9]+\.py)\b", page.read_text()):
            if path.partition("/")[0] in ours:
                assert (SOURCE / path).exists() or (ROOT / path).exists(), f"{page}: {path}"
                found[page.name] = found.get(page.name, 0) + 1
    assert found["house.md"] > 100 and len(found) > 20
