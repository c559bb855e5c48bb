"""A folder per run: what is finished, what failed, and the records a run leaves. Lines are only appended; a resumed
run first rewinds them to its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunelab.config.run import RunConfig
from tunelab.entries import Attempt, Looks
from tunelab.errors import RunError, UnreadableRun
from tunelab.files import write_atomically
from tunelab.ownership import Held, Ownership, holder_of, own
from tunelab.records import Divergence, Prediction, RunResult, StepRecord, ValidationRecord
from tunelab.study.evaluations import FILES, Evaluations
from tunelab.study.record_files import (  # fmt: skip
    GROWING,
    RESULT,
    RUN,
    UNREADABLE,
    complete_lines,
    damage,
    last_of,
    lines_of,
    plain_values,
    readable_lines,
    whole,
)


class RunFolder:
    """OUT/runs/<run id>."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ownership: Ownership | None = None

    @property
    def study_folder(self) -> Path:
        return self.path.parent.parent

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def texts(self) -> Path:
        """Generated texts of an evaluation that is not finished; see text_log.py."""
        return self.path / "texts.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def finished(self) -> bool:
        """It has a result, and no evaluation by other settings is asked for."""
        return self.has_result and self.evaluations.asked() is None

    @property
    def has_result(self) -> bool:
        """It is trained and evaluated, though perhaps by other settings than are asked for now."""
        return (self.path / RESULT).exists()

    @property
    def evaluations(self) -> Evaluations:
        return Evaluations(self.path, check=self.check)

    # ------------------------------------------------------------ what a run is

    def write_run(self, run: RunConfig, provenance: dict[str, Any]) -> None:
        facts = {**run.model_dump(mode="json"), "provenance": provenance}
        self._write(RUN, _json_text(facts))

    def ensure_run(self, run: RunConfig) -> None:
        """Write run.json unless it says this run already: another process may be executing it."""
        if self.has_result:  # what is asked for beside it stands in asked.json
            return
        try:
            if self.read_run() == run:
                return
        except (FileNotFoundError, ValueError):  # none yet, or written by another version
            pass
        self.write_run(run, {})

    def read_run(self) -> RunConfig:
        return whole(self.path / RUN, RunConfig.from_run_json)

    def to_execute(self) -> RunConfig:
        """The run, with the settings of an evaluation that it is asked for since it finished."""
        return self.evaluations.asked() or self.read_run()

    # ------------------------------------------------------------ what it leaves (training.loop.Recorder)

    def step(self, record: StepRecord) -> None:
        self._append("steps.jsonl", record.model_dump_json(exclude_none=True))

    def validation(self, record: ValidationRecord) -> None:
        self._append("validation.jsonl", record.model_dump_json())

    def rewind(self, *, step: int) -> None:
        """
        Raises:
            UnreadableRun: a line is damaged, beside a last one that does not end.
        """
        for name, kind in GROWING.items():
            path = self.path / name
            if path.exists():
                steps = [record.step for record in lines_of(path, kind.model_validate_json)]
                kept = [line for line, at in zip(complete_lines(path), steps, strict=True) if at <= step]
                self._write(name, b"".join(line + b"\n" for line in kept))

    def steps(self) -> list[StepRecord]:
        return lines_of(self.path / "steps.jsonl", StepRecord.model_validate_json)

    def last_step(self) -> StepRecord | None:
        """Without reading the others, which may be many. None: there is none that can be read."""
        return last_of(self.path / "steps.jsonl", StepRecord.model_validate_json)

    def write_predictions(self, predictions: list[Prediction]) -> None:
        self._write("predictions.jsonl", _lines_of(predictions))

    def read_predictions(self) -> list[Prediction]:
        """Empty where the file is gone."""
        return lines_of(self.path / "predictions.jsonl", Prediction.model_validate_json)

    def write_general(self, predictions: list[Prediction]) -> None:
        """Losses of the fixed general text, for metrics that compare them with the base's."""
        self._write("general.jsonl", _lines_of(predictions))

    def read_general(self) -> list[Prediction]:
        """Empty where no metric asked for it."""
        return lines_of(self.path / "general.jsonl", Prediction.model_validate_json)

    def write_result(self, result: RunResult) -> None:
        """Last of all: from here on the run is finished."""
        self._write(RESULT, _result_text(result))
        self.forget_failure()

    def replace_evaluation(
        self, run: RunConfig, result: RunResult, predictions: list[Prediction], general: list[Prediction] | None
    ) -> None:
        """By one of other settings, which is whole; the one in place is kept."""
        facts = json.loads((self.path / RUN).read_bytes()) | run.model_dump(mode="json")
        texts = (_json_text(facts), _lines_of(predictions), _lines_of(general or []), _result_text(result))
        contents = dict(zip(FILES, texts, strict=True))
        self.evaluations.put_in_place(run, {name: text for name, text in contents.items() if text})
        self.forget_failure()

    def forget_failure(self) -> None:
        """It is being tried again."""
        (self.path / "failure.json").unlink(missing_ok=True)

    def write_harness(self, results: dict[str, Any]) -> None:
        self._write("harness.json", json.dumps(results, indent=2, default=str) + "\n")

    def harness_tasks(self) -> list[str]:
        """None where the file is gone or damaged: the harness is asked again."""
        with suppress(FileNotFoundError, *UNREADABLE):
            return list(json.loads((self.path / "harness.json").read_bytes())["tasks"])
        return []

    def read_result(self) -> RunResult | None:
        """Also while an evaluation by other settings is asked for."""
        return whole(self.path / RESULT, RunResult.model_validate_json) if self.has_result else None

    def write_failure(self, error: str, *, divergence: Divergence | None = None) -> None:
        """Named in the report; the run is tried again next time, unless it is a candidate of a search that diverged."""
        facts: dict[str, Any] = {"run": self.path.name}
        with suppress(UnreadableRun, FileNotFoundError):  # that may be why it failed
            run = self.read_run()
            facts |= {"method": run.method["label"], "task": run.task, "seed": run.seed}
            facts["learning_rate"] = run.method.get("learning_rate")
        facts |= {"error": error, "when": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        facts |= {"diverged": divergence.model_dump()} if divergence else {}
        self._write("failure.json", _json_text(facts))

    @property
    def failed(self) -> bool:
        return (self.path / "failure.json").exists() and not self.finished

    def failure(self) -> str | None:
        """Why it failed."""
        try:
            return str(self._failure()["error"]) if self.failed else None
        except FileNotFoundError:  # it is tried again since
            return None
        except UNREADABLE:
            return "failed; failure.json cannot be read"

    @property
    def settled(self) -> bool:
        """It has a result, or a named failure."""
        return self.finished or self.failed

    def divergence(self) -> Divergence | None:
        """Of a run that ended because its loss was no longer finite."""
        if not self.failed:
            return None
        with suppress(FileNotFoundError, *UNREADABLE):
            return Divergence.model_validate(self._failure()["diverged"])
        return None

    def _failure(self) -> dict[str, Any]:
        return json.loads((self.path / "failure.json").read_bytes())

    def damage(self) -> str | None:
        """Why it has to be made again, in one line that names the file. None: what it has left can be read."""
        return None if self.evaluations.interrupted else damage(self.path)

    def _write(self, name: str, text: str | bytes) -> None:
        self.check()
        write_atomically(self.path / name, text)

    def _append(self, name: str, line: str) -> None:
        self.check()
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    # ------------------------------------------------------------ one writer

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Admit one writer (ownership.py); until the end every write looks first whether this is still it.

        Raises:
            RunBusy: a living process holds it.
        """
        with own(self.path) as self._ownership:
            try:
                yield
            finally:
                if self._ownership.holds:  # else this process writes nothing more, no failure either
                    self._ownership = None

    def check(self) -> None:
        """The fence of a run that this process executes, before a write that is not made by this class.

        Raises:
            RunBusy: the run was taken over.
        """
        if self._ownership is not None:
            self._ownership.check()

    def tell(self, **facts: Any) -> None:
        """How far it is, for `tunelab status`, with the next heartbeat."""
        if self._ownership is not None:
            self._ownership.tell(**facts)

    def held(self) -> Held | None:
        """Who executes it, dead or alive."""
        return holder_of(self.path) if self.path.is_dir() else None

    # ------------------------------------------------------------ attempts

    @property
    def progress(self) -> tuple[int, int]:
        """Steps and generated texts that are written down."""
        steps, texts = (len(complete_lines(path)) for path in (self.path / "steps.jsonl", self.texts))
        return steps, max(0, texts - 1)  # the first line says what the texts are of

    def write_attempt(self, attempt: Attempt) -> None:
        """At its start, and again at its end."""
        lines = [each.model_dump_json() for each in (*self.attempts(), attempt)]
        self._write("attempts.jsonl", "".join(f"{line}\n" for line in lines))

    def attempts(self) -> list[Attempt]:
        """Every time that the run was executed, the last one last; without those whose line is damaged."""
        found = readable_lines(self.path / "attempts.jsonl", Attempt.model_validate_json)
        return list({attempt.nonce: attempt for attempt in found}.values())


def _json_text(facts: dict[str, Any]) -> str:
    return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"


def _lines_of(predictions: list[Prediction]) -> str:
    return "".join(f"{prediction.model_dump_json()}\n" for prediction in predictions)


def _result_text(result: RunResult) -> str:
    return result.model_dump_json(indent=2) + "\n"


class Store:
    """OUT: the runs of a study by id, and the study as resolved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def study_file(self) -> Path:
        return self.folder / "study.yaml"

    @property
    def looks_file(self) -> Path:
        return self.folder / "looks.json"

    def run(self, run_id: str) -> RunFolder:
        return RunFolder(self.folder / "runs" / run_id)

    def read_looks(self) -> Looks:
        """Empty where the study's seeds are its own alone."""
        if not self.looks_file.exists():
            return Looks()
        try:
            return Looks.model_validate_json(self.looks_file.read_bytes())
        except ValidationError as error:
            problem = f"{self.looks_file} cannot be read ({error.error_count()} problems)"
            raise RunError(f"{problem}; put it back, or delete it to decide anew") from None

    def write_looks(self, looks: Looks) -> None:
        write_atomically(self.looks_file, looks.model_dump_json(indent=2) + "\n")

    def resolved(self) -> dict[str, Any]:
        """study.yaml as plain values. Empty: there is none, or it cannot be read."""
        return plain_values(self.study_file)

    def all_runs(self) -> list[RunFolder]:
        return [RunFolder(path.parent) for path in sorted(self.folder.glob("runs/*/run.json"))]
