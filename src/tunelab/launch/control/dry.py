"""`tunelab run --dry-run`: the plan with what would be done about every run, and the scripts for a cluster."""

from __future__ import annotations

from pathlib import Path

from tunelab.launch.control.to_do import to_do_on_disk
from tunelab.launch.printing import plan_text
from tunelab.launch.run import refuse_other_study
from tunelab.launch.waves import scripts_text
from tunelab.ownership import holder_of
from tunelab.study.foresight.published import published_lines
from tunelab.study.planning.planned import Plan
from tunelab.study.planning.preview import preview
from tunelab.study.store import Store


def dry_text(
    plan: Plan, *, out: Path | None, cluster: str | None, replace: bool = False, width: int | None = None
) -> str:
    """What is on disk counts as the study's own whatever the revisions of model and data were: neither is asked.

    Raises:
        ConfigError: as `tunelab.run`.
    """
    folder = Path("results") / plan.study.name if out is None else out
    if not replace:
        refuse_other_study(plan, folder)
    runs, found = to_do_on_disk(plan, Store(folder))
    shown = preview(plan, runs=runs, to_do=[each.text for each in found.runs])
    held = holder_of(folder) if folder.is_dir() else None
    busy = [f"{held.holder.name} executes the study right now; this is as it stands"] if held and held.alive else []
    shown = shown._replace(notes=(*shown.notes, *busy, *found.lines, *published_lines(plan)))
    return plan_text(shown, width=width) + scripts_text(plan, out=folder, cluster=cluster)
