"""Our side: a run of tunelab by its worker's own path, in this process, with a clock that hears the run's events."""

# The worker's module comes first: what it sets before torch is imported holds here as it does in a run.
import tunelab.launch.worker as worker  # isort: skip

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from side_by_side.measure import Clock, give_back, held_weights_mib, import_model_code, summary, warm_libraries
from side_by_side.prepare import planned_run, study, work_folder
from side_by_side.workloads import Mode, Workload
from tunelab.training.telemetry import ResidentMemory


def train(
    folder: Path, workload: Workload, about: dict[str, Any], *, mode: Mode, steps: int, warm_up: int, threads: int,
    method: dict[str, Any], out: Path, profile: bool = False, floor: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Execute the run and tell what it took. Raises SystemExit with the run's own reason where it failed."""
    place, model = work_folder(folder, workload, steps), Path(about["model"])
    file = study(place, workload, model, method=method, mode=mode, steps=steps, threads=threads)
    run, _, run_folder = planned_run(file, out)
    import_model_code(workload)
    import tunelab.backends.torch.loading  # noqa: F401  what a run imports when it loads

    warm_libraries(run.precision)
    heard = _Heard(profile=profile, last_step=steps)
    with contextlib.redirect_stdout(sys.stderr):
        worker.work(run_folder, heard)
    result = run_folder.read_result()
    if result is None:
        raise SystemExit(f"{workload.name}, tunelab: {heard.failure}")
    told = [record.model_dump() for record in run_folder.steps()]
    found = summary(
        heard.clock, told, warm_up=warm_up, before_gib=result.process_gib, loaded_gib=heard.loaded_gib,
        peak_gib=result.phases["train"].peak_gib, weights_mib=heard.weights_mib,
    )  # fmt: skip
    found |= {"precision": run.precision, "trainable": result.trainable_parameters, "notes": list(result.notes)}
    found["prepare_seconds"] = result.phases["prepare"].seconds
    if floor:
        from side_by_side.floor import floor_of

        found["floor"] = floor_of(model, workload, method, place, warm_up=warm_up, precision=run.precision)
    return found


class _Heard:
    """Hears a run's events: marks the clock at each step, and looks at the weights when they are loaded."""

    def __init__(self, *, profile: bool, last_step: int) -> None:
        self.clock = Clock()
        self.weights_mib = self.loaded_gib = 0.0
        self._memory = ResidentMemory()
        self.failure = "it ended without a result"
        self._last_step = last_step
        self._profiler: Any = None
        if profile:
            import torch

            self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "phase" and event["phase"] == "load":
            give_back()
        elif kind == "phase" and event["phase"] == "prepare" and not self.weights_mib:
            self.weights_mib = held_weights_mib()
            self.loaded_gib = self._memory.current_gib()
        elif kind == "train":
            self.clock.mark()
        elif kind == "step":
            self.clock.mark()
            self._profile(event["step"])
        elif kind in ("failed", "stopped", "busy"):
            self.failure = event["error"]

    def _profile(self, step: int) -> None:
        """The last step alone."""
        if self._profiler is None:
            return
        if step == self._last_step - 1:
            self._profiler.__enter__()
        elif step == self._last_step:
            self._profiler.__exit__(None, None, None)
            table = self._profiler.key_averages().table(
                sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=50
            )
            print(table, file=sys.stderr)


os.environ.setdefault("HF_HUB_OFFLINE", "1")
