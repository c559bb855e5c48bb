"""TensorBoard: event files in the results folder, a folder a run; `tensorboard --logdir` shows them.

Written as records of the event protocol, because TensorBoard's own writer puts the name of the host into the file's
name. In a file that continues a run, training begins with a session start: readers then drop what comes twice.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from tunelab.tracker_contract import Ending, Point, TrackedRun, Tracker, flat

DT_FLOAT, DT_STRING = 1, 7
"""Of tensorboard/compat/proto/types.proto."""


class TensorBoard(Tracker):
    packages: ClassVar[tuple[str, ...]] = ("tensorboard",)
    install: ClassVar[str] = "pip install 'tunelab[tensorboard]'"
    look: ClassVar[str] = "tensorboard --logdir {folder}"

    def __init__(self, folder: Path, study: str) -> None:
        super().__init__(folder, study)
        self._files: dict[str, _EventFile] = {}

    def begin(self, run: TrackedRun, *, anew: bool) -> bool:
        home = self.folder / run.id
        if anew:
            shutil.rmtree(home, ignore_errors=True)
        earlier = sorted(home.glob("events.out.tfevents.*"))
        self._files[run.id] = file = _EventFile(home, number=len(earlier))
        if not earlier:
            file.text("configuration", json.dumps(run.configuration, indent=2, ensure_ascii=False), run.began)
            file.text("tags", "\n".join(f"{key}: {value}" for key, value in run.tags.items()), run.began)
            file.session_start({**flat(run.configuration), **run.tags}, run)
        return bool(earlier)

    def send(self, run_id: str, points: Sequence[Point]) -> None:
        for point in points:
            self._files[run_id].scalars(point.step, point.when, point.values)
        self._files[run_id].flush()

    def end(self, run_id: str, ending: Ending) -> None:
        file = self._files.pop(run_id)
        file.scalars(ending.step, ending.when, ending.values)
        file.text("status", ending.status, ending.when)
        file.session_end(ending)
        file.close()


class _EventFile:
    """One file of events; `number` of the run's files before it."""

    def __init__(self, home: Path, *, number: int) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        home.mkdir(parents=True, exist_ok=True)
        # Readers take the files of a folder in the order of their names.
        path = home / f"events.out.tfevents.{int(time.time()):010d}.{number:04d}.{home.name}"
        self._writer = RecordWriter(path.open("wb"))
        self._continues = number > 0
        self._event(time.time(), file_version="brain.Event:2")
        self.flush()

    def scalars(self, step: int, when: float, values: Mapping[str, float]) -> None:
        if self._continues and any(name.startswith("train/") for name in values):
            # Readers drop all values from this step on. Of a validation alone it may be the step's training, too.
            log = _proto("compat.proto.event").SessionLog
            self._event(when, step=step, session_log=log(status=log.START))
            self._continues = False
        if values:
            self._values(when, *({"tag": name, "simple_value": value} for name, value in values.items()), step=step)

    def text(self, tag: str, text: str, when: float) -> None:
        """As it is: TensorBoard reads text as Markdown, where four spaces keep it."""
        from tensorboard.plugins.text.metadata import create_summary_metadata

        kept = "\n".join(f"    {line}" for line in text.splitlines()).encode()
        tensor = _proto("compat.proto.tensor").TensorProto(dtype=DT_STRING, string_val=[kept])
        metadata = create_summary_metadata(display_name="", description="")
        self._values(when, {"tag": tag, "metadata": metadata, "tensor": tensor})

    def session_start(self, settings: Mapping[str, str | int | float | bool], run: TrackedRun) -> None:
        """For the tab that compares runs by their settings."""
        value = import_module("google.protobuf.struct_pb2").Value
        info = _proto("plugins.hparams.plugin_data").SessionStartInfo(start_time_secs=run.began, group_name=run.id)
        for name, setting in settings.items():
            kind = {bool: "bool_value", str: "string_value"}.get(type(setting), "number_value")
            info.hparams[name].CopyFrom(value(**{kind: setting}))
        self._session("_hparams_/session_start_info", run.began, session_start_info=info)

    def session_end(self, ending: Ending) -> None:
        """Readers keep the first one: of a run that may go on there is none."""
        names = {"finished": "STATUS_SUCCESS", "diverged": "STATUS_FAILURE"}
        if ending.status not in names:
            return
        status = _proto("plugins.hparams.api").Status.Value(names[ending.status])
        info = _proto("plugins.hparams.plugin_data").SessionEndInfo(status=status, end_time_secs=ending.when)
        self._session("_hparams_/session_end_info", ending.when, session_end_info=info)

    def _session(self, tag: str, when: float, **info: Any) -> None:
        """The data stand in the metadata; the tensor has no elements."""
        from tensorboard.plugins.hparams.metadata import create_summary_metadata

        data = _proto("plugins.hparams.plugin_data").HParamsPluginData(**info)
        shape = {"dim": [{"size": 0}]}
        tensor = _proto("compat.proto.tensor").TensorProto(dtype=DT_FLOAT, tensor_shape=shape)
        self._values(when, {"tag": tag, "metadata": create_summary_metadata(data), "tensor": tensor})

    def _values(self, when: float, *values: Mapping[str, Any], step: int = 0) -> None:
        summary = _proto("compat.proto.summary").Summary
        self._event(when, step=step, summary=summary(value=[summary.Value(**value) for value in values]))

    def _event(self, when: float, **fields: Any) -> None:
        event = _proto("compat.proto.event").Event(wall_time=when, **fields)
        self._writer.write(event.SerializeToString())

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _proto(name: str) -> Any:
    """A module of messages; its names are made when it is imported, and no type checker knows them."""
    return import_module(f"tensorboard.{name}_pb2")
