"""`tunelab report`: the report again, from records alone, also over several studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tunelab.config.price import as_overrides
from tunelab.errors import ConfigError
from tunelab.launch.control.found import plan_of
from tunelab.launch.run import config_facts, runs_to_report, warning_of, write_study_report
from tunelab.report.frame import Comparison
from tunelab.report.write import write_report
from tunelab.study.planning.planned import Plan
from tunelab.study.store import Store


class Rebuilt(NamedTuple):
    comparison: Comparison
    folder: Path
    warning: str
    """Said above the numbers; empty: nothing."""


def rebuild_report(
    folders: Sequence[Path], *, out: Path | None = None, price: str | None = None, power: str | None = None
) -> Rebuilt:
    """One study's report is written into its own folder; that of several into `out` (default: results/report).

    Args:
        price: of an hour of one device, instead of the studies' `decision.price_per_hour`: '2.5EUR/h'.
        power: of one device in watts, instead of their `decision.power_watts`.

    Raises:
        ConfigError: a folder without study.yaml, or its study no longer plans; `out` has a report of its own; price
            or power are none.
    """
    overrides = as_overrides(price, power)
    stores = [Store(folder) for folder in dict.fromkeys(folders)]
    missing = [str(store.folder) for store in stores if not store.study_file.exists()]
    if missing:
        raise ConfigError(*(f"{folder}: no study.yaml; give a folder that `tunelab run` wrote" for folder in missing))
    plans = [plan_of(store, overrides=overrides) for store in stores]
    own = stores[0].folder
    if len(stores) == 1 and (out is None or out.absolute() == own.absolute()):
        return Rebuilt(write_study_report(plans[0], stores[0]), own, warning_of(stores[0]))
    folder = out or Path("results") / "report"
    if Store(folder).study_file.exists():
        raise ConfigError(f"--out {folder}: holds a study's results and its own report; choose another folder")
    studies = [
        runs_to_report(plan, store, name=_name(plan, store, plans)) for plan, store in zip(plans, stores, strict=True)
    ]
    metrics = {name: metric for plan in plans for task in plan.tasks for name, metric in task.metrics.items()}
    facts = {
        f"{study.name}: {key}": value
        for study, plan in zip(studies, plans, strict=True)
        for key, value in config_facts(plan).items()
    }
    said: dict[str, list[str]] = {}
    for store in stores:
        said.setdefault(warning_of(store), []).append(str(store.folder))
    warning = ". ".join(f"{', '.join(folders)}: {text}" for text, folders in said.items() if text)
    written = write_report(studies, metrics=metrics, folder=folder, config_facts=facts, warning=warning)
    return Rebuilt(written, folder, warning)


def _name(plan: Plan, store: Store, plans: Sequence[Plan]) -> str:
    """The study's name; its folder's where two studies have the same."""
    same = [other for other in plans if other.study.name == plan.study.name]
    return plan.study.name if len(same) == 1 else str(store.folder)
