"""The records of a run as files: read whole, or refused by the name of the file and of its line; and whether what a run
has left can be gone on with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tunelab.config.run import RunConfig
from tunelab.config.study_yaml import parse_yaml
from tunelab.errors import ConfigError, UnreadableRun
from tunelab.records import Prediction, RunResult, StepRecord, ValidationRecord

RUN, RESULT = "run.json", "result.json"
GROWING = {"steps.jsonl": StepRecord, "validation.jsonl": ValidationRecord}
"""Files whose lines are appended while a run is trained."""
EVALUATED = ("predictions.jsonl", "general.jsonl")
"""What an evaluation leaves beside the result, and makes again from the saved model."""
UNREADABLE = (ValueError, TypeError, AttributeError, KeyError, RecursionError, IsADirectoryError)
"""What reading a damaged file raises. Not PermissionError and its like: those say nothing of what is in it."""
DAMAGED = ("json_invalid", "model_type", "model_attributes_type")
"""By pydantic's names: what no version has written."""
LAST_BYTES = 8192
"""Longer than two lines of steps.jsonl."""
OTHER = "damaged, or written by another version of tunelab"

Read = TypeVar("Read")


def whole(path: Path, parsed: Callable[[bytes], Read]) -> Read:
    """
    Raises:
        UnreadableRun: the file is damaged.
        FileNotFoundError: it is not there.
    """
    try:
        return parsed(path.read_bytes())
    except UNREADABLE as error:
        ways = "put it back, or move the run's folder away and it is made again"
        raise UnreadableRun(f"{path}: {OTHER}; {ways}") from error


def complete_lines(path: Path) -> list[bytes]:
    """Lines that end; a process killed while writing leaves a last one that does not. None where there is no file."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except (FileNotFoundError, IsADirectoryError):
        return []


def lines_of(path: Path, parsed: Callable[[bytes], Read]) -> list[Read]:
    """
    Raises:
        UnreadableRun: a line is damaged, beside a last one that does not end.
    """
    found = []
    for number, line in enumerate(complete_lines(path), 1):
        try:
            found.append(parsed(line))
        except UNREADABLE as error:
            raise UnreadableRun(f"{path}, line {number}: {OTHER}") from error
    return found


def last_of(path: Path, parsed: Callable[[bytes], Read]) -> Read | None:
    """The last line that ends, without reading the others, which may be many. None: there is none, or it is damaged."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LAST_BYTES))
            lines = file.read().split(b"\n")[1 if file.tell() > LAST_BYTES else 0 : -1]
        return parsed(lines[-1]) if lines else None
    except (FileNotFoundError, *UNREADABLE):
        return None


def readable_lines(path: Path, parsed: Callable[[bytes], Read]) -> list[Read]:
    """Without those that are damaged: of what may be lost."""
    found = []
    for line in complete_lines(path):
        with suppress(*UNREADABLE):
            found.append(parsed(line))
    return found


def plain_values(study_file: Path) -> dict[str, Any]:
    """Empty: there is none, or it cannot be read."""
    try:
        value = parse_yaml(study_file.read_text(encoding="utf-8")).value
    except (OSError, ConfigError, *UNREADABLE):
        return {}
    return value if isinstance(value, dict) else {}


def damage(folder: Path) -> str | None:
    """Of a run's folder: the first record without which the run has to be made again. What is missing or damaged beside
    a result is the report's to say; a run without one can lose its run.json, which is written anew."""
    try:
        if (folder / RESULT).exists():
            whole(folder / RESULT, RunResult.model_validate_json)
            whole(folder / RUN, RunConfig.from_run_json)
        else:
            for name, kind in GROWING.items():
                if (folder / name).is_dir():
                    return f"{folder / name}: is a folder"
                lines_of(folder / name, kind.model_validate_json)
    except UnreadableRun as error:
        if _is_of_another_version(error):
            return None  # a result that another version reads is no damage: whoever reads it here is told so
        return str(error).partition(";")[0]
    except FileNotFoundError:
        return f"{folder / RUN}: is missing beside {RESULT}"
    return None


def evaluation_damage(folder: Path) -> str | None:
    """Of a run's folder: the first line that its evaluation has left and that cannot be read."""
    try:
        for name in EVALUATED:
            lines_of(folder / name, Prediction.model_validate_json)
    except UnreadableRun as error:
        return None if _is_of_another_version(error) else str(error)
    return None


def _is_of_another_version(error: UnreadableRun) -> bool:
    """JSON that is whole, an object with other fields than these."""
    cause = error.__cause__
    return isinstance(cause, ValidationError) and all(each["type"] not in DAMAGED for each in cause.errors())
