"""A model to score or to ask, by what a user types: a run's folder, an adapter, a model folder, a model's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.backend_contract import Session
from tunelab.config.run import RunConfig
from tunelab.config.schema import ModelSource
from tunelab.contracts import Method
from tunelab.errors import ModelError
from tunelab.files import write_atomically
from tunelab.kernels.peft_format import read_config
from tunelab.models.config_file import told
from tunelab.models.load import local_folder
from tunelab.records import TextSide
from tunelab.study.planning.plan import load_backend, method_of, parts, recognise
from tunelab.study.planning.planned import BASE
from tunelab.study.store import RunFolder

ORIGIN = "tunelab.json"
"""In an exported folder: the method with its options, the base model and its revision."""


class Saved(NamedTuple):
    """Found, not loaded."""

    source: ModelSource
    """The base model."""
    method: Method | None
    """None: the model as it is."""
    facts: dict[str, Any]
    """The method as run.json has it: name, label, its own fields."""
    folder: Path | None
    """What the method wrote."""
    run: RunConfig | None
    """The run it comes from."""
    revision: str | None = None
    """The base's revision; None: unknown, or as the run says."""
    run_folder: Path | None = None
    """Where the run's own records lie."""
    trained_by: str = ""
    """The back end that has trained it, where another one opens it."""

    @property
    def trained_on(self) -> str | None:
        """The revision of the base that the method was trained on, where it is known."""
        return self.revision if self.run is None else self.run.model_revision


class Opened(NamedTuple):
    session: Session
    text: TextSide
    notes: list[str]


def find_saved(name: str) -> Saved:
    """What `name` means: a folder that is there, else a hub id or an embedded model.

    Raises:
        ModelError: a folder that holds none of these, or a run that has not finished.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        local_folder(ModelSource(name=name))  # a path without a folder is no hub id
        return Saved(ModelSource(name=name), None, dict(BASE), None, None)
    folder = folder.absolute()
    if (folder / "run.json").exists():
        return _from_run(RunFolder(folder))
    if (folder / ORIGIN).exists():
        return _from_origin(folder)
    if (folder / "adapter_config.json").exists():
        return _from_adapter(folder)
    if (folder / "config.json").exists():
        return Saved(ModelSource(name=str(folder)), None, dict(BASE), None, None)
    if (folder / "runs").is_dir():
        runs = ", ".join(sorted(path.name for path in (folder / "runs").iterdir())[:3])
        raise ModelError(f"{name}: is a study's results; name one of its runs, as in {name}/runs/RUN ({runs}, ...)")
    raise ModelError(f"{name}: neither a run, nor an adapter, nor a Hugging Face model folder (with config.json)")


def open_saved(saved: Saved, run: RunConfig) -> Opened:
    """Load it under the settings of `run`.

    Raises:
        ModelError: missing, unreadable, or the base is not the one that was trained on.
    """
    backend = load_backend(run.backend)
    located = backend.locate(run.model)
    if saved.trained_on is not None and saved.trained_on != located.revision:
        trained = saved.folder if saved.run is None else saved.run.id
        raise ModelError(f"model '{run.model.name}' is not the one that {trained} was trained on: it has changed")
    text = backend.text(run.model, located)
    notes: list[str] = []
    if saved.trained_by:
        notes.append(f"trained by {saved.trained_by}; here {run.backend} computes")
    session = backend.session(run, saved.method, located=located, text=text, notes=notes)
    if saved.folder is not None:
        session.read_model(saved.folder)
    return Opened(session, text, notes)


def write_origin(folder: Path, saved: Saved) -> None:
    """What `find_saved` needs of an exported result whose run is elsewhere."""
    facts = {"method": saved.facts, "model": saved.source.model_dump(mode="json"), "revision": saved.trained_on}
    write_atomically(folder / ORIGIN, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _from_origin(folder: Path) -> Saved:
    try:
        facts = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        source, method = ModelSource.model_validate(facts["model"]), method_of(facts["method"])
        return Saved(source, method, facts["method"], folder, None, facts["revision"])
    except (ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{folder / ORIGIN}: written by another version, or damaged ({reason})") from None


def _from_run(folder: RunFolder) -> Saved:
    run = folder.read_run()
    method = parts(run).method
    if method is not None and not folder.model.is_dir():
        raise ModelError(f"{folder.path}: the run has saved no model; `tunelab run` its study to the end first")
    model = None if method is None else folder.model
    reader = load_backend(run.backend).opened_by
    trained_by, run = (run.backend, run.model_copy(update={"backend": reader})) if reader else ("", run)
    return Saved(run.model, method, run.method, model, run, run_folder=folder.path, trained_by=trained_by)


def _from_adapter(folder: Path) -> Saved:
    found = recognise(folder)
    config = read_config(folder)
    base = config.get("base_model_name_or_path")
    if found is None:
        raise ModelError(f"{folder}: no method here reads adapters of the kind {config.get('peft_type')!r}")
    if not base:
        raise ModelError(f"{folder}: adapter_config.json does not say which model it adapts (base_model_name_or_path)")
    name, method = found
    facts = {"name": name, "label": name, **method.model_dump(mode="json")}
    with told(f"{folder / 'adapter_config.json'}: base_model_name_or_path, revision"):
        source = ModelSource(name=base, revision=config.get("revision"))
    return Saved(source, method, facts, folder, None)
