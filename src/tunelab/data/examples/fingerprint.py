"""A short digest of everything that decides a task's rows, so that runs on other rows are other runs."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from tunelab.contracts import Task
from tunelab.data.reading.rows import sha256


def row_options(task: Task, *, leave_out: Iterable[str] = ()) -> dict[str, Any]:
    """The options of a task that shape its rows: not how they are scored, and not the places of its files."""
    return task.model_dump(mode="json", exclude={"name", "metrics", "generation", *leave_out})


def fingerprint(*, options: Mapping[str, Any], files: Mapping[str, Path] | None = None) -> str:
    """16 hex digits over the options that shape rows and the contents (not the places) of files, by role."""
    content = {
        "options": dict(options),
        "files": {role: sha256(path) for role, path in sorted((files or {}).items())},
    }
    return _digest(json.dumps(content, sort_keys=True, default=str))


def of_generator(module: ModuleType, *, options: Mapping[str, Any]) -> str:
    """For generated rows: the generator's source and those it imports beside it change the rows as a data file's
    bytes would. Other generators of the package do not."""
    folder = _file(module).parent
    files = {str(path.relative_to(folder)): path for path in _imported_files(module)}
    return fingerprint(options=options, files=files)


def _file(module: ModuleType) -> Path:
    assert module.__file__ is not None, f"{module.__name__} has no file"
    return Path(module.__file__)


def _imported_files(module: ModuleType) -> set[Path]:
    """The module's file and every file of its package that it imports, however far."""
    start, package = _file(module), module.__package__ or ""
    found, waiting = set(), [start]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            inside = [name.removeprefix(package).strip(".") for name in names if name.startswith(f"{package}.")]
            stems = [start.parent.joinpath(*name.split(".")) for name in inside]
            waiting += [
                file for stem in stems for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file()
            ]
    return found


def of_reading(task: Task, *more: Path, rows: str = "") -> str:
    """Over everything that decides what reading a task gives: its rows and options, the code of `data/`, the task's
    own file, and `more` files of code. `rows` is the task's fingerprint, where it is known already.

    Raises:
        DataError: the rows cannot be read.
    """
    own = getattr(sys.modules.get(type(task).__module__), "__file__", None)  # None: written at a Python prompt
    code = [*_code(), *([Path(own)] if own else []), *more]
    return fingerprint(
        options={"task": type(task).__module__, "rows": rows or task.fingerprint(), "options": row_options(task)},
        files={f"{path.parent.name}/{path.name}": path for path in code},
    )


def _code() -> Iterator[Path]:
    """Of `data/`, without the generators: their rows' fingerprint covers those."""
    data = Path(__file__).parents[1]
    return (path for path in sorted(data.rglob("*.py")) if path.relative_to(data).parts[0] != "synthetic")


def of_tokenizer(tokenizer: Any) -> str:
    """For a Hugging Face tokenizer: everything that decides which ids it gives, chat template included."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    state = {
        "class": type(tokenizer).__qualname__,
        "state": _saved_files(tokenizer) if fast is None else fast.to_str(),
        "special": tokenizer.special_tokens_map,
        "options": tokenizer.init_kwargs,
        "chat_template": tokenizer.chat_template,
    }
    return _digest(json.dumps(state, sort_keys=True, default=str))


def _saved_files(tokenizer: Any) -> dict[str, str]:
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
