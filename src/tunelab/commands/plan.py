"""`tunelab plan`: the runs of a study with their parameters, and what they will need."""

from __future__ import annotations

from tunelab.commands.options import Json, MemoryDevice, Overrides, PlannedMemory, StudyName
from tunelab.commands.standing import print_json
from tunelab.errors import ConfigError
from tunelab.launch.terminal.at_work import at_work


def plan(
    study: StudyName,
    as_json: Json = False,
    memory: PlannedMemory = None,
    device: MemoryDevice = None,
    overrides: Overrides = None,
) -> None:
    """Check a study, and print its runs with their parameters; with --memory, which of them fit."""
    import tunelab

    if device is not None and memory is None:
        raise ConfigError("--device says where the size of --memory is: give --memory too")
    with at_work(f"planning {study}"):
        planned = tunelab.load_study(study, overrides=overrides or ())
        from tunelab.launch.printing import console, plan_text, width_of
        from tunelab.study.foresight.published import published_lines
        from tunelab.study.planning.preview import preview

        shown, needed = preview(planned), None
        shown = shown._replace(notes=(*shown.notes, *published_lines(planned)))
        if memory is not None:
            from tunelab.study.foresight.memory import asked_of, study_memory

            needed = study_memory(planned, asked=asked_of(memory, device=None if device is None else device.value))
    if as_json:
        print_json(shown.as_json() | ({} if needed is None else {"memory": needed.as_json()}))
        return
    print(plan_text(shown, width=width_of(console())), end="")
    if needed is not None:
        from tunelab.launch.control.memory_text import memory_text

        print("\n" + memory_text(needed, width=width_of(console())), end="")
