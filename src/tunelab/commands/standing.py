"""The verbs of the command line that tell how things stand: runs of a study, results on disk, names, this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tunelab.commands.options import Calibrate, Json, Listed, ListedFolder, Prepare, Results, ResultsOut, Trackers
from tunelab.errors import ConfigError
from tunelab.launch.terminal.at_work import at_work


def add_verbs(app: typer.Typer) -> None:
    app.command()(status)
    app.command()(cancel)
    app.command()(track)
    app.command(name="list")(list_names)
    app.command()(doctor)


def status(study: Results, out: ResultsOut = None, as_json: Json = False) -> None:
    """Tell how every run of a study stands: here, elsewhere, or in a cluster's queue."""
    with at_work(f"looking at {study}"):
        from tunelab.launch.control.status import study_status
        from tunelab.launch.control.status_text import print_status
        from tunelab.launch.printing import console

        found = study_status(study, out=out)
    print_json(found.as_json()) if as_json else print_status(found, console())


def cancel(study: Results, out: ResultsOut = None) -> None:
    """End what executes a study; running steps write their checkpoints, finished runs stay."""
    with at_work(f"ending what executes {study}"):
        from tunelab.launch.control.cancel import cancel_study

        cancelled = cancel_study(study, out=out)
    print("\n".join(cancelled.lines))
    raise typer.Exit(1 if cancelled.remaining else 0)


def track(study: Results, to: Trackers = None, out: ResultsOut = None) -> None:
    """Mirror what a results folder has into trackers; a study with `track:` does so by itself while it runs."""
    with at_work(f"looking at {study}"):
        from tunelab.launch.tracking.track import track_text
    print(track_text(study, out=out, names=to or ()))


def list_names(
    what: Annotated[Listed, typer.Argument(help="What to list.")],
    folder: ListedFolder = None,
    as_json: Json = False,
) -> None:
    """List methods, tasks, metrics, models, studies or trackers; the runs of a results folder; or all results."""
    if what in (Listed.runs, Listed.results):
        _list_contents(what, folder, as_json=as_json)
        return
    if folder is not None:
        raise ConfigError(f"list {what.value} takes no folder: {folder} is for `tunelab list runs` and `list results`")
    from tunelab.study.verbs import listing

    names = listing.listing(what.value)
    if as_json:
        print_json(names)
        return
    from tunelab.launch.terminal.texts import names_text, terminal_columns

    print(names_text(names, width=terminal_columns()))


def _list_contents(what: Listed, folder: Path | None, *, as_json: bool) -> None:
    from tunelab.study.verbs import contents

    if what is Listed.runs and folder is None:
        raise ConfigError("list the runs of what? Give a results folder: `tunelab list runs results/STUDY`")
    place = folder or Path("results")
    with at_work(f"reading {place}"):
        from tunelab.launch.terminal import contents_text, texts

        runs = contents.runs(place) if what is Listed.runs else []
        results = contents.results(place) if what is Listed.results else []
    if as_json:
        print_json({what.value: [each._asdict() for each in (*runs, *results)]})
    elif what is Listed.runs:
        print(contents_text.runs_table(place, runs, width=texts.terminal_columns()), end="")
    else:
        print(contents_text.results_table(place, results, width=texts.terminal_columns()), end="")


def doctor(prepare: Prepare = None, calibrate: Calibrate = False, as_json: Json = False) -> None:
    """Tell what this machine can do, and what to change for the rest."""
    with at_work("looking at this machine"):
        from tunelab.launch import doctor as examiner
        from tunelab.launch.terminal.texts import finding_text, terminal_columns
    if prepare is not None:
        return examiner.prepare(prepare, told=lambda line: print(line, flush=True))
    found, coming = [], examiner.examine(calibrate=calibrate)
    while True:
        with at_work("looking at this machine"):
            finding = next(coming, None)
        if finding is None:
            break
        found.append(finding)
        if not as_json:
            print(finding_text(finding.name, finding.text, finding.advice, width=terminal_columns()), flush=True)
    if as_json:
        print_json(examiner.as_json(found))


def print_json(value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # JSON's own escapes, so that nothing is another text
        text = json.dumps(value, indent=2)
    print(text)
