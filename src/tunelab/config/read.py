"""A study file (its text, or a dict) and `--set` overrides -> a checked StudyConfig, or all its problems by place."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunelab.config.explain import Problem, explain, got
from tunelab.config.given_study import plain_study
from tunelab.config.overrides import apply_override, with_short_forms_spelled_out
from tunelab.config.places import Place, Places, dotted, split_dotted
from tunelab.config.schema import StudyConfig
from tunelab.config.study_yaml import dump_yaml, parse_yaml
from tunelab.errors import ConfigError, one_line
from tunelab.files import no_file

EMBEDDED_MODELS = "tunelab/"
PIPES = ("/dev/fd/", "/proc/self/fd/")
"""What a shell has opened already (`<(...)`): it has an end, unlike a pipe that stands in a folder."""
"""Model names with this prefix are never folders beside a study."""

LITERAL_ESCAPE = (
    r"holds \n or \t as two characters, a backslash and a letter: only double quotes make one of them, as in "
    r'"{question}\n"'
)
LITERAL_ESCAPE_IN_PYTHON = (
    r"holds \n or \t as two characters, a backslash and a letter: without r before the quotes it is one, as in "
    r'"{question}\n"'
)
_FILES = ("train", "validation", "test", "path")
"""Of a task: a backslash in them is a folder's."""


@dataclass(frozen=True)
class ReadStudy:
    """A checked study that still knows where each value stands, for the checks that come later."""

    config: StudyConfig
    source: str
    """The file as it was named, 'study text', or 'the study' where it was given as a dict."""
    places: Places
    problems: tuple[str, ...] = ()
    """Empty, unless read with `lenient`: then `config` has defaults where these values stood."""

    def where(self, dotted_path: str) -> str:
        """'methods.1.lora.rank' -> 'study.yaml:14', or '--set methods.1.lora.rank=4'; the nearest parent's place
        where the key itself is not given. Of a dict the path itself."""
        return self.places.find(split_dotted(dotted_path)).label

    def problem(self, dotted_path: str, message: str) -> str:
        """One line for a ConfigError: 'study.yaml:14: methods.1.lora.rank: MESSAGE'."""
        return self.places.problem(split_dotted(dotted_path), message)

    @property
    def notes(self) -> list[str]:
        """What is right, and probably not meant: a line break of a template that is none."""
        said = LITERAL_ESCAPE_IN_PYTHON if self.places.in_python else LITERAL_ESCAPE
        return [
            self.problem(dotted(path), said)
            for path in sorted(self.places.literal_escapes, key=str)
            if path and path[0] in ("tasks", "generation") and path[-1] not in _FILES
        ]

    def folder_of(self, dotted_path: str) -> Path:
        """What a relative path given there is relative to: the study's folder, or the working folder for `--set`."""
        return self.places.find(split_dotted(dotted_path)).folder


def read_study(
    path: Path | str | None = None,
    *,
    text: str | None = None,
    given: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    base_folder: Path | str | None = None,
    lenient: bool = False,
) -> ReadStudy:
    """Read a study from a file, from text, or from a dict.

    Args:
        path: the study file. Exactly one of `path`, `text` and `given`.
        text: the study itself.
        given: the study as its YAML would be read; messages name the key path instead of file and line.
        overrides: `--set` texts, applied in order before validation.
        base_folder: what relative paths are relative to; left out: the file's folder, else the working folder.
        lenient: where only optional sections are wrong, return with `problems` and their defaults instead of
            raising, so that a planner can add the problems of methods and tasks.

    Raises:
        ConfigError: every problem of the study, one line each.
    """
    assert [path, text, given].count(None) == 2, "give one of path, text and given"
    if path is not None:
        text = _file_text(Path(path))
    source = "study text" if path is None else str(path)
    folder = Path(base_folder) if base_folder is not None else Path.cwd() if path is None else Path(path).parent
    if given is not None:
        source = "the study"
        study, places, problems = _given(given, source, folder.absolute())
    else:
        assert text is not None
        study, places, problems = _parsed(text, source, folder.absolute())
    study = with_short_forms_spelled_out(study)
    for override in overrides:
        try:
            apply_override(study, override, places, folder=Path.cwd())
        except ConfigError as error:
            problems += error.problems
        study = with_short_forms_spelled_out(study)
    config, found = _validated(study)
    problems += [places.problem(*problem) for problem in found]
    if config is None or (problems and not lenient):
        raise ConfigError(*problems)
    config = _with_local_model(config, places)
    return ReadStudy(config=config, source=source, places=places, problems=tuple(problems))


def dump(config: StudyConfig) -> str:
    """YAML text of everything, defaults included; `read_study(text=...)` reads it back to an equal config."""
    return dump_yaml(config.model_dump(mode="json"))


def _file_text(path: Path) -> str:
    way_out = "`tunelab init` writes a study"
    try:
        if not path.as_posix().startswith(PIPES) and (kind := no_file(path)):
            raise ConfigError(f"{path}: is {kind}; a study is a YAML file, and {way_out}")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; {way_out}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save the study as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the file's permissions") from None


def _parsed(text: str, source: str, folder: Path) -> tuple[dict[str, Any], Places, list[str]]:
    try:
        value, lines, problems, escapes = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(one_line(f"{source}:{error}")) from None
    if value is None or value == {}:
        raise ConfigError(
            f"{source}: the study is empty; it needs model, tasks and methods, and `tunelab init` writes one"
        )
    if not isinstance(value, dict):
        raise ConfigError(
            f"{source}:{lines[()]}: a study is a mapping with the keys model, tasks and methods; got {got(value)}"
        )
    known = {path: Place(label=f"{source}:{line}", folder=folder) for path, line in lines.items() if path}
    places = Places(root=Place(label=source, folder=folder), known=known, literal_escapes=set(escapes))
    return value, places, [one_line(f"{source}:{problem}") for problem in problems]


def _given(given: Mapping[str, Any], source: str, folder: Path) -> tuple[dict[str, Any], Places, list[str]]:
    if not given:
        raise ConfigError(f"{source} is empty; it needs model, tasks and methods")
    value, paths, problems, escapes = plain_study(given)
    known = {path: Place(label=dotted(path), folder=folder) for path in paths if path}
    root = Place(label=source, folder=folder)
    places = Places(root=root, known=known, literal_escapes=set(escapes), in_python=True)
    return value, places, [places.problem(path, message) for path, message in problems]


def _validated(study: dict[str, Any]) -> tuple[StudyConfig | None, list[Problem]]:
    """The config, and what is wrong. With problems in optional sections only, the config that has their defaults."""
    try:
        # Strict, so that `examples: true` is not 1; as JSON, because strictness then still takes a list for a tuple.
        return StudyConfig.model_validate_json(_as_json(study), strict=True), []
    except ValidationError as error:
        problems = explain(error, given=study, model=StudyConfig)
    if any(not problem.path or problem.path[0] in ("model", "tasks", "methods") for problem in problems):
        return None, problems
    usable = {key: value for key, value in study.items() if key not in {problem.path[0] for problem in problems}}
    try:
        return StudyConfig.model_validate_json(_as_json(usable), strict=True), problems
    except ValidationError:
        return None, problems


def _as_json(study: dict[str, Any]) -> bytes:
    # Half characters were named when the YAML was read; here they would make all of it unreadable.
    return json.dumps(study, default=str, ensure_ascii=False).encode(errors="replace")


def _with_local_model(config: StudyConfig, places: Places) -> StudyConfig:
    name = config.model.name
    if name.startswith(EMBEDDED_MODELS):
        return config
    folder = places.find(("model", "name")).folder / os.path.expanduser(name)
    if not folder.is_dir():
        return config
    # resolve() would follow links, and a cache of models is often links: the name as given is kept readable.
    return config.model_copy(update={"model": config.model.model_copy(update={"name": str(folder.absolute())})})
