"""Names, descriptions and loading of methods, tasks and metrics."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from tunelab import catalogue
from tunelab.contracts import Task
from tunelab.errors import ConfigError


def test_a_file_in_the_folder_is_a_name():
    assert {"files", "e2e_nlg", "restaurants", "arithmetic", "headlines"} <= set(catalogue.names("tasks"))
    assert catalogue.names("tasks") == sorted(catalogue.names("tasks"))


def test_description_is_the_first_docstring_line():
    assert catalogue.describe("tasks")["files"].startswith("Your own data: jsonl")
    assert list(catalogue.describe("tasks")) == catalogue.names("tasks")


@pytest.mark.slow
def test_describing_imports_neither_the_modules_nor_torch():
    code = (
        "import sys; from tunelab import catalogue\n"
        "for kind in catalogue.KINDS: catalogue.describe(kind)\n"
        "heavy = [name for name in sys.modules if name.split('.')[0] in ('torch', 'transformers', 'datasets')]\n"
        "ours = [name for name in sys.modules if name.startswith(('tunelab.tasks.', 'tunelab.methods.'))]\n"
        "assert not heavy + ours, heavy + ours"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", catalogue.names("tasks"))
def test_loading_gives_the_one_class_of_the_file(name):
    task = catalogue.load("tasks", name)
    assert issubclass(task, Task)
    assert task.__module__ == f"tunelab.tasks.{name}"


def test_unknown_name_says_the_nearest_and_all():
    with pytest.raises(ConfigError) as error:
        catalogue.load("tasks", "restaurant")
    assert str(error.value).startswith("Unknown task 'restaurant'. Did you mean 'restaurants'? Available: arithmetic, ")
    with pytest.raises(ConfigError, match=r"^Unknown task 'zzz'\. Available: "):
        catalogue.load("tasks", "zzz")


def test_near_ignores_case_and_hyphens():
    assert catalogue.near("lorra", ["full", "lora"]) == "lora"
    assert catalogue.near("E2E-NLG", ["e2e_nlg", "files"]) == "e2e_nlg"
    assert catalogue.near("qqq", ["full", "lora"]) is None


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A function that makes a package with one module and declares it as the task `poems`."""

    def declare(source: str, *, name: str = "poems") -> None:
        package = tmp_path / "poem_package"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text("raise RuntimeError('imported')" if "RAISES" in source else "")
        (package / "poem_module.py").write_text(source)
        points = [EntryPoint(name=name, value="poem_package.poem_module", group="tunelab.tasks")]
        monkeypatch.setattr(catalogue, "entry_points", lambda group: points if group == "tunelab.tasks" else [])
        monkeypatch.syspath_prepend(tmp_path)
        for module in ("poem_package", "poem_package.poem_module"):
            monkeypatch.delitem(sys.modules, module, raising=False)

    return declare


TASK = '''"""Poems, line by line."""
from tunelab.contracts import Task
class Poems(Task):
    def examples(self, split): return []
    def fingerprint(self): return ""
'''


def test_an_entry_point_is_listed_and_loaded(plugin):
    plugin(TASK)
    assert "poems" in catalogue.names("tasks")
    assert catalogue.load("tasks", "poems").__name__ == "Poems"


def test_describing_an_entry_point_does_not_import_its_package(plugin):
    plugin(TASK + "# RAISES when imported")
    assert catalogue.describe("tasks")["poems"] == "Poems, line by line."


def test_an_entry_point_may_not_hide_a_bundled_name(plugin):
    plugin(TASK, name="files")
    with pytest.raises(ConfigError, match="The task 'files' is part of tunelab and also declared by 'poem_package"):
        catalogue.load("tasks", "files")


def test_a_missing_package_is_named(plugin):
    plugin("import surely_not_installed")
    with pytest.raises(ConfigError, match="The task 'poems' needs the Python package 'surely_not_installed'"):
        catalogue.load("tasks", "poems")


def test_two_classes_in_one_file_are_refused(plugin):
    plugin(TASK + TASK.replace("Poems(", "Verses("))
    with pytest.raises(ConfigError, match="exactly one final subclass of Task; got Poems, Verses"):
        catalogue.load("tasks", "poems")
