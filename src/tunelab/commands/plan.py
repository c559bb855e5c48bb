"""`tunelab plan`: the runs of a study with their parameters, and what they will need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunelab.commands.options import (
    Json,
    Overrides,
    PlannedDevice,
    PlannedMemory,
    PlannedTime,
    Power,
    Price,
    StudyName,
)
from tunelab.commands.standing import print_json
from tunelab.launch.terminal.at_work import at_work

if TYPE_CHECKING:
    from tunelab.study.foresight.memory import Asked, StudyMemory
    from tunelab.study.planning.planned import Plan


def plan(
    study: StudyName,
    as_json: Json = False,
    memory: PlannedMemory = None,
    time: PlannedTime = False,
    device: PlannedDevice = None,
    price: Price = None,
    power: Power = None,
    overrides: Overrides = None,
) -> None:
    """Check a study, and print its runs with their parameters; with --memory, which of them fit; with --time, how long
    they take; with --device, both for that device."""
    import tunelab

    both = device is not None and memory is None and not time
    time = time or both or price is not None or power is not None
    with at_work(f"planning {study}"):
        from tunelab.config.price import as_overrides
        from tunelab.study.foresight.memory import asked_of, place_of

        by_part = memory is not None or both
        here = place_of(device) if time else None  # known to be a device before anything is done
        asked = asked_of(memory, device=device) if memory is not None else here if both else None
        planned = tunelab.load_study(study, overrides=(*(overrides or ()), *as_overrides(price, power)))
        from tunelab.launch.printing import console, plan_text, width_of
        from tunelab.study.foresight.published import published_lines
        from tunelab.study.planning.preview import preview

        shown, took = preview(planned), None
        shown = shown._replace(notes=(*shown.notes, *published_lines(planned)))
        needed = _memory(planned, asked)
        if time:
            from tunelab.study.foresight.time import study_time

            took = study_time(planned, device=device)
    if as_json:
        more = {name: each.as_json() for name, each in (("memory", needed), ("time", took)) if each is not None}
        print_json(shown.as_json() | more)
        return
    from tunelab.launch.control.memory_text import memory_text, summary

    width = width_of(console())
    if not by_part:
        shown = shown._replace(notes=(*shown.notes, *summary(needed)))
    print(plan_text(shown, width=width), end="")
    if needed is not None and by_part:
        print("\n" + memory_text(needed, width=width), end="")
    if took is not None:
        from tunelab.launch.control.time_text import time_text

        print("\n" + time_text(took, width=width), end="")


def _memory(planned: Plan, asked: Asked | None) -> StudyMemory | None:
    """What is asked for; else of this machine, where it is known. None where it is not, for it may take a minute, and
    where a cluster's machines matter."""
    from tunelab.device import num_cores
    from tunelab.study.foresight.memory import known_memory, place_of, study_memory

    if asked is not None:
        return study_memory(planned, asked=asked, processes=num_cores())
    return None if planned.study.launch.cluster == "slurm" else known_memory(planned, asked=place_of(None))
