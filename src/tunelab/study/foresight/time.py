"""The time of a study before anything is loaded: of each method one run, and all of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tunelab.backends.torch.speed.calibration import Calibration
from tunelab.backends.torch.speed.duration import Speed, wanted_shapes
from tunelab.backends.torch.speed.kept import calibration
from tunelab.backends.torch.speed.peaks import Estimate, peak
from tunelab.computation.effort import Effort
from tunelab.config.price import cost, watt_hours
from tunelab.config.run import RunConfig
from tunelab.data.tokens.batching import largest_batch
from tunelab.device import chosen, name
from tunelab.entries import Efforts, Forecast
from tunelab.stages import stage
from tunelab.study.foresight.duration import Duration, duration
from tunelab.study.foresight.known import foreseen
from tunelab.study.foresight.lengths import Lengths, lengths, unknown_lengths
from tunelab.study.foresight.memory import Asked, place_of, revisions
from tunelab.study.planning.planned import Plan, PlannedMethod, PlannedTask
from tunelab.study.planning.run_config import cells, method_run
from tunelab.training.step import run_order

USUAL_SLOWER = 1.2


class MethodTime(NamedTuple):
    method: str
    """The label."""
    task: str
    backend: str
    num_runs: int
    """Of this method on this task: seeds, and candidates of a search."""
    duration: Duration | None
    """Of one of them, alone on its device. None: it cannot be told here."""

    @property
    def all(self) -> float | None:
        """Seconds of all its runs, one after the other."""
        return None if self.duration is None else self.num_runs * self.duration.all


class StudyTime(NamedTuple):
    study: str
    model: str
    place: str
    """What it is predicted for."""
    methods: tuple[MethodTime, ...]
    price_per_hour: float | None
    currency: str
    watts: float | None
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Of every run that can be told, one after the other."""
        return sum(each.all or 0.0 for each in self.methods)

    @property
    def price(self) -> float | None:
        """None: no price was given."""
        return None if self.price_per_hour is None else cost(self.seconds, self.price_per_hour)

    @property
    def energy(self) -> float | None:
        """Watt hours, by a power that was given."""
        return None if self.watts is None else watt_hours(self.seconds, self.watts)

    def as_json(self) -> dict[str, Any]:
        """What `tunelab plan --time --json` adds. Seconds."""
        return {
            "device": self.place,
            "methods": [_as_json(each) for each in self.methods],
            "seconds": self.seconds,
            "price": self.price,
            "watt_hours": self.energy,
            "notes": list(self.notes),
        }


def _as_json(each: MethodTime) -> dict[str, Any]:
    facts = {"method": each.method, "task": each.task, "backend": each.backend, "num_runs": each.num_runs}
    took = each.duration
    return facts if took is None else {**facts, **took._asdict(), "run": took.all, "all": each.all}


class _Cell(NamedTuple):
    run: RunConfig
    planned: PlannedMethod
    task: PlannedTask
    rows: Lengths | None
    forecast: Forecast | None


def study_time(plan: Plan, *, device: str | None = None) -> StudyTime:
    """Of every method, task and back end of the study: of the first candidate of a search.

    Args:
        device: 'cpu' or 'gpu' of this machine, or a GPU by its name; None: where runs execute here.

    Raises:
        ConfigError: a method that does not fit the model, or no such GPU.
        DataError: data that is here and cannot be read.
    """
    asked = place_of(device)
    estimate = None if device in (None, "cpu", "gpu") else Estimate(peak(device))
    known: dict[str, Lengths | None] = {}
    found = [_cell(plan, *each, asked=asked, known=known) for each in cells(plan)]
    told = [each.forecast for each in found if each.forecast is not None]
    speed: Speed | None = estimate
    if speed is None and told:
        speed = machine_speed(told, threads=found[0].run.threads)
    deciding, price = plan.study.decision, plan.study.decision.price
    place = name(chosen()) if estimate is None else f"{device} (an estimate)"
    return StudyTime(
        plan.study.name,
        plan.study.model.name,
        place,
        tuple(_timed(plan, each, speed) for each in found),
        price and price.per_hour,
        price.currency if price else "",
        deciding.power_watts,
        tuple(_notes(found, speed)),
    )


def machine_speed(forecasts: Sequence[Forecast], *, threads: int) -> Speed:
    """This machine's, measured at the shapes that these need and that were not measured before."""
    efforts = [effort for each in forecasts for part in each.efforts for effort in computed(part)]
    with stage("measuring this machine's products"):
        found = calibration(threads=threads)
        for dtype, shapes in wanted_shapes(efforts).items():
            found = calibration(threads=threads, shapes=shapes, dtypes=[dtype])  # pyright: ignore[reportArgumentType]
    return found


def computed(part: Efforts) -> tuple[Effort, ...]:
    return (part.micro_batch, part.update, part.losses)


def _cell(
    plan: Plan, backend: str, task: PlannedTask, planned: PlannedMethod, *, asked: Asked,
    known: dict[str, Lengths | None],
) -> _Cell:  # fmt: skip
    candidate, seed = planned.candidates[0], plan.study.seeds[0]
    here = revisions(plan, backend, asked)
    run = method_run(plan, task, backend, here, method=planned, seed=seed, candidate=candidate)
    if task.name not in known:
        with stage(f"reading the lengths of {task.name}"):
            known[task.name] = lengths(task.task, run)
    rows = known[task.name]
    if rows is None and run.budget.steps is not None:
        rows = unknown_lengths(run)
    if rows is None or not candidate.method.trains:
        return _Cell(run, planned, task, rows, None)
    largest = largest_batch(run_order(run, rows.train), max_tokens=run.batch.max_tokens, padded=asked.device == "cuda")
    with stage(f"following a step of {planned.label} on {task.name}"):
        return _Cell(run, planned, task, rows, foreseen(run, candidate.method, largest, on=asked.device))


def _timed(plan: Plan, cell: _Cell, speed: Speed | None) -> MethodTime:
    runs = len(plan.study.seeds) + len(cell.planned.candidates) - 1
    took = None
    if speed is not None and cell.forecast is not None and cell.rows is not None and cell.forecast.efforts:
        reads = {metric.reads for metric in cell.task.metrics.values()}
        took = duration(cell.run, cell.planned.method, cell.forecast.efforts, cell.rows, speed, reads=reads)
    return MethodTime(cell.planned.label, cell.task.name, cell.run.backend, runs, took)


def _notes(cells: Sequence[_Cell], speed: Speed | None) -> list[str]:
    notes = [
        "One run after the other, each alone on its device, without loading, reading data and saving; texts are taken "
        "to be as long as their references"
    ]
    if isinstance(speed, Estimate):
        notes.append(f"An estimate that no such GPU has confirmed: {speed.said}")
    elif isinstance(speed, Calibration) and speed.slower > USUAL_SLOWER:
        notes.append(
            f"When this machine was measured it had other work ({speed.slower:.1f} times as slow as alone); times are "
            "of a machine without"
        )
    notes += dict.fromkeys(each.rows.guessed for each in cells if each.rows is not None and each.rows.guessed)
    untold = [each.planned.label for each in cells if each.forecast is None]
    if untold:
        notes.append(
            f"{', '.join(dict.fromkeys(untold))}: not told: nothing is trained, the layers cannot be made without "
            "weights, or the model's configuration or the data is not on this machine (of data, with budget.steps, the "
            "longest rows are taken)"
        )
    return notes
