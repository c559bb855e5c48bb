"""The Colab notebook: what scripts/notebook.py makes of its source, and executed from its first cell to its last."""

import importlib.util
import re
import subprocess
import sys
import types
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "tunelab_colab.ipynb"
MISTAKE = 'tunelab.plan({"model": "tunelab/tiny", "tasks": ["restaurants"], "methods": [{"lora": {"rnk": 8}}]})'


def script():
    specification = importlib.util.spec_from_file_location("notebook", ROOT / "scripts" / "notebook.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def cells(kind="code"):
    return [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == kind]


def the_cell(part):
    (cell,) = [cell for cell in cells() if part in cell]
    return cell


def test_every_notebook_is_what_the_script_makes_of_its_source():
    made = {source.with_suffix(".ipynb"): script().text(source) for source in script().sources()}
    assert NOTEBOOK in made
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, "run: python scripts/notebook.py"
    assert set(made) == set(NOTEBOOK.parent.glob("*.ipynb"))


def test_it_asks_for_a_t4_and_begins_with_the_badge():
    metadata = nbformat.read(NOTEBOOK, as_version=4).metadata
    assert metadata.accelerator == "GPU" and metadata.colab.gpuType == "T4"
    badge = re.search(r"\(https://colab\.research\.google\.com/github/(.+?)/blob/main/(.+?)\)", cells("markdown")[0])
    assert badge and ROOT / badge[2] == NOTEBOOK
    assert f"git+https://github.com/{badge[1]}" in the_cell("def install")


def test_text_that_is_no_comment_is_no_cell_of_text(tmp_path):
    (tmp_path / "a.py").write_text("# %% [markdown]\nprint(1)\n")
    with pytest.raises(AssertionError, match="text stands in comments"):
        script().notebook(tmp_path / "a.py")


# ------------------------------------------------------------------ in Colab


@pytest.fixture
def colab(monkeypatch):
    """A kernel in which google.colab is imported, as Colab's are; what it was asked for."""
    asked = []
    package = types.ModuleType("google.colab")
    package.userdata = types.SimpleNamespace(get=lambda name: asked.append(name) or "a token")
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", package)
    return asked


def test_the_install_cell_keeps_the_torch_that_is_there(colab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = []

    def install(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", install)
    exec(the_cell("def install"), {})
    ((*_, constraint, name, package),) = commands
    assert (constraint, package.split()[0]) == ("--constraint", "tunelab")
    kept = Path(name).read_text().splitlines()
    assert f"torch=={version('torch')}" in kept and f"numpy=={version('numpy')}" in kept


def test_an_install_that_would_replace_torch_is_told_and_stops(colab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused = subprocess.CompletedProcess([], 1, "", "ERROR: ResolutionImpossible")
    monkeypatch.setattr(subprocess, "run", lambda command, **options: refused)
    with pytest.raises(SystemExit, match=r"beside \['torch==(.|\n)*ResolutionImpossible"):
        exec(the_cell("def install"), {})


def test_outside_colab_nothing_is_installed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *given, **options: pytest.fail("something was installed"))
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    exec(the_cell("def install"), {})
    assert not list(tmp_path.iterdir())


def test_a_token_is_asked_for_by_the_gated_model_alone(colab, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("tunelab.plan", lambda *given, **options: None)
    known = {"IN_COLAB": True, "GEMMA": False, "REHEARSE": False}
    exec("import tunelab\n" + the_cell("userdata"), known)
    exec(the_cell("gemma = None"), known)
    assert colab == [] and known["gemma"] is None
    monkeypatch.setattr("tunelab.run", lambda *given, **options: "an outcome")
    exec(the_cell("gemma = None"), known | {"GEMMA": True, "REHEARSE": True})
    assert colab == [], "stand-ins are nobody's"
    monkeypatch.setenv("HF_TOKEN", "")
    exec(the_cell("gemma = None"), known | {"GEMMA": True})
    assert colab == ["HF_TOKEN"]


# ------------------------------------------------------------------ executed


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """All of it with stand-ins, gemma too, in an empty folder outside Colab; then a mistake."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (settings,) = [cell for cell in notebook.cells if cell.source.startswith("GEMMA = False")]
    for name in ("GEMMA", "REHEARSE"):
        assert f"{name} = False" in settings.source
        settings.source = settings.source.replace(f"{name} = False", f"{name} = True")
    allowed = {"tags": ["raises-exception"]}
    notebook.cells.append(nbformat.v4.new_code_cell(MISTAKE, metadata=allowed, id="mistake"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR"):
            patch.setenv(name, str(folder.parent / name))
        client = NotebookClient(
            notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )  # fmt: skip
        client.execute()
    return folder, notebook


def shown(notebook, source):
    """What the cell with that last line shows: its outputs' data, by kind."""
    (cell,) = [cell for cell in notebook.cells if cell.source.splitlines()[-1:] == [source]]
    return [output.data for output in cell.outputs if output.output_type == "execute_result"]


@pytest.mark.slow
def test_every_cell_is_executed_outside_colab_too(executed):
    _, notebook = executed
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    failed = [cell for cell in code for output in cell.outputs if output.output_type == "error"]
    assert [cell.id for cell in failed] == ["mistake"]


@pytest.mark.slow
def test_results_are_tables_figures_and_the_page(executed):
    _, notebook = executed
    (plan,) = shown(notebook, 'tunelab.plan("quickstart")')
    assert "<table" in plan["text/html"] and "tunelab/tiny-seq2seq" in plan["text/plain"]
    for name in ("outcome", "gemma", "own"):
        (outcome,) = shown(notebook, name)
        assert "REHEARSAL" in outcome["text/html"] and "<table" in outcome["text/html"]
    for name in ("outcome.figures", "gemma and gemma.figures"):
        assert shown(notebook, name)[0]["text/html"].count("data:image/png;base64,") >= 3
    texts = shown(notebook, "gemma and gemma.examples(4)")[0]["text/html"]
    assert all(f">{who}<" in texts for who in ("base", "qlora", "galore", "reference"))
    assert "srcdoc=" in shown(notebook, "own.page")[0]["text/html"]
    assert "<mark" in shown(notebook, "tunelab.show(written.study, examples=2)")[0]["text/html"]
    assert "read again" in shown(notebook, "exported")[0]["text/html"]


@pytest.mark.slow
def test_the_model_to_keep_and_its_report_are_there_to_download(executed):
    import zipfile

    folder, _ = executed
    names = zipfile.ZipFile(folder / "tunelab-model.zip").namelist()
    assert {"config.json", "model.safetensors", "report.html", "README.md"} <= set(names)


@pytest.mark.slow
def test_a_users_mistake_is_one_line_and_no_traceback(executed):
    _, notebook = executed
    (output,) = notebook.cells[-1].outputs
    (line,) = output.traceback
    assert line.startswith("error: methods.0.lora.rnk: unknown key; did you mean 'rank'?")
