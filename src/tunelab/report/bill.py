"""What a study took: energy that was measured, and its device time in the money and the energy of a given price and
power. There only where anything of it is known.

RAPL counts a whole package, whatever ran on it. So its figures are said as the machine's, never as a run's own, and are
not divided; where runs went on at the same time they stand in each of them, and no sum is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import combinations
from typing import NamedTuple

from tunelab.config.price import cost, watt_hours
from tunelab.records import PhaseCost
from tunelab.report.frame import Comparison, Group, Row
from tunelab.report.numbers import MISSING, duration, significant
from tunelab.report.reading import RunRecords
from tunelab.report.rows import in_watt_hours
from tunelab.report.tables import Cell, Column, Table, words

PACKAGES = (
    "Packages (RAPL): all that the machine's processors took while a run trained, of other runs, users and the idle "
    "machine too; without memory modules, GPUs and power supplies."
)
TOGETHER = (
    "Runs of {} went on at the same time on one machine: the packages' energy of all stands at each, without a sum."
)
WHOLE_MACHINE = "Without a GPU a device is the machine, and is charged whole to each of the runs that shared it."
GPUS = "GPUs (NVML): the boards of the run's own GPUs, whatever else ran on them."
TRAINING = (
    "Of methods: the train phase, mean over the seeds. Of a study: all phases of all runs, where it is known of all."
)
GIVEN = "Price and energy by power: all phases of a seed (mean) and the whole search, on all devices. {}; not measured."


class Total(NamedTuple):
    """All phases of all of a study's runs that have ended, those that lost a search included. None: not known."""

    study: str
    num_runs: int
    device_seconds: float
    rapl_wh: float | None
    """None also where runs went on at the same time: each has counted all of them."""
    nvml_wh: float | None
    ran_together: bool
    price_per_hour: float | None
    currency: str
    price: float | None
    watts: float | None
    power_wh: float | None


def bill_table(comparison: Comparison) -> Table | None:
    """A row a method and task, and one a study."""
    totals, rows = totals_of(comparison), comparison.rows
    if not totals:
        return None
    several = {name: len({getattr(row, name) for row in rows}) > 1 for name in ("study", "task", "backend")}
    named = [name for name, differ in several.items() if differ]
    measured = {
        "Packages": any(row.train_rapl_wh is not None for row in rows) or any(total.rapl_wh for total in totals),
        "GPUs": any(row.train_nvml_wh is not None for row in rows) or any(total.nvml_wh for total in totals),
        "Price": any(total.price_per_hour is not None for total in totals),
        "By power": any(total.watts is not None for total in totals),
    }
    shown = [title for title, known in measured.items() if known]
    units = {"Packages": "Wh", "GPUs": "Wh", "Price": "", "By power": "Wh"}
    heads = {"study": "Study", "task": "Task", "backend": "Back end"}
    of_study = {total.study: total for total in totals}
    lines = [
        (
            Cell(row.method), *(Cell(getattr(row, name)) for name in named),
            *(_of_row(row, of_study[row.study])[title] for title in shown),
        )
        for row in rows if row.study in of_study
    ] + [
        (
            Cell("the whole study"), *(Cell(total.study if name == "study" else "") for name in named),
            *(_of_total(total)[title] for title in shown),
        )
        for total in totals
    ]  # fmt: skip
    columns = (
        words("Method"), *(words(heads[name]) for name in named), *(Column(title, units[title]) for title in shown)
    )  # fmt: skip
    return Table("", columns, tuple(lines), _feet(totals, shown), keys=1 + len(named))


def totals_of(comparison: Comparison) -> list[Total]:
    """Of each study that has a price, a power, or a run whose energy was measured."""
    studies = list(dict.fromkeys(group.study for group in comparison.groups))
    totals = [_total(study, [group for group in comparison.groups if group.study == study]) for study in studies]
    return [total for total in totals if total is not None]


def _total(study: str, groups: Sequence[Group]) -> Total | None:
    runs = [run for group in groups for run in (*group.runs, *group.diverged)]
    phases = [own for run in runs if (own := own_phases(run))]
    deciding = groups[0].deciding
    every = [phase for of_run in phases for phase in of_run]
    rapl, nvml = ([getattr(phase, name) for phase in every] for name in ("rapl_joules", "nvml_joules"))
    price, watts = deciding.price_per_hour, deciding.watts
    if not every or (price is None and watts is None and not any(each is not None for each in (*rapl, *nvml))):
        return None
    seconds, together = sum(phase.seconds_in_all for phase in every), ran_together(runs)
    return Total(
        study=study, num_runs=len(phases), device_seconds=seconds,
        rapl_wh=None if together else in_watt_hours(_sum(rapl)), nvml_wh=in_watt_hours(_sum(nvml)),
        ran_together=together, price_per_hour=price, currency=deciding.currency,
        price=None if price is None else cost(seconds, price),
        watts=watts, power_wh=None if watts is None else watt_hours(seconds, watts),
    )  # fmt: skip


def own_phases(run: RunRecords) -> list[PhaseCost]:
    """Of a run that has ended; the training of one that is made of other runs is theirs."""
    phases = run.result.phases if run.state == "finished" else run.divergence.phases if run.divergence else {}
    made_of_others = run.config is not None and bool(run.config.parents)
    return [phase for name, phase in phases.items() if not (made_of_others and name == "train")]


def ran_together(runs: Sequence[RunRecords]) -> bool:
    """Whether two of them were executed at the same time on one host, as far as their attempts tell."""
    spans = [
        (each.host, datetime.fromisoformat(each.started), datetime.fromisoformat(each.ended))
        for run in runs for each in run.attempts if each.ended is not None
    ]  # fmt: skip
    return any(one[0] == other[0] and one[1] < other[2] and other[1] < one[2] for one, other in combinations(spans, 2))


def _of_row(row: Row, total: Total) -> dict[str, Cell]:
    return {
        "Packages": Cell(significant(row.train_rapl_wh)),
        "GPUs": Cell(significant(row.train_nvml_wh)),
        "Price": _money(row.price, total),
        "By power": Cell(significant(row.power_wh)),
    }


def _of_total(total: Total) -> dict[str, Cell]:
    return {
        "Packages": Cell(significant(total.rapl_wh)),
        "GPUs": Cell(significant(total.nvml_wh)),
        "Price": _money(total.price, total)._replace(below=f"{duration(total.device_seconds)} of a device"),
        "By power": Cell(significant(total.power_wh)),
    }


def _money(price: float | None, total: Total) -> Cell:
    return Cell(MISSING if price is None else f"{significant(price)} {total.currency}".rstrip())


def _feet(totals: Sequence[Total], shown: Sequence[str]) -> tuple[str, ...]:
    together = [total.study for total in totals if total.ran_together]
    by_packages = [PACKAGES, *([TOGETHER.format(", ".join(together))] if together else [])]
    rates = [
        " and ".join(filter(None, (
            "" if total.price_per_hour is None else f"{total.price_per_hour:g} {total.currency}".rstrip() + " an hour",
            "" if total.watts is None else f"{total.watts:g} W",
        )))
        for total in totals
    ]  # fmt: skip
    said = "; ".join(dict.fromkeys(f"{rate} of a device" for rate in rates if rate))
    return (
        *([TRAINING] if {"Packages", "GPUs"} & set(shown) else []),
        *(by_packages if "Packages" in shown else []),
        *([GPUS] if "GPUs" in shown else []),
        *([GIVEN.format(f"At {said}")] if said else []),
        *([WHOLE_MACHINE] if said and together else []),
    )


def _sum(joules: Sequence[float | None]) -> float | None:
    """None: of one phase it is not known."""
    known = [each for each in joules if each is not None]
    return sum(known) if len(known) == len(joules) else None
