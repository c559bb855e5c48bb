"""Runs whose records are damaged: put out of the way, so that the study makes them again and loses nothing; and named
by a report that cannot show them. Finished ones are rid of what a killed process has left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tunelab.errors import RunBusy, UnreadableRun
from tunelab.study.executing.attempt import TO_GO_ON, sweep
from tunelab.study.store import RunFolder, Store


def put_aside_damaged(store: Store) -> Iterator[str]:
    """A line for each that nobody executes right now: whether it is damaged is asked while nobody else can write."""
    for path in sorted(each for each in store.folder.glob("runs/*") if each.is_dir()):
        folder, damage = RunFolder(path), None
        if folder.damage() is not None:
            with suppress(RunBusy), folder.lock():
                damage = folder.damage()
        if damage is not None:
            yield f"{damage}; it is made again, and what was there is kept in {_put_aside(store, path)}"


def sweep_finished(store: Store) -> None:
    """Of runs whose process was killed between their result and the end of its work, checkpoint and lock go."""
    for folder in store.all_runs():
        if folder.finished and (folder.held() or any((folder.path / name).exists() for name in TO_GO_ON)):
            with suppress(RunBusy), folder.lock():
                sweep(folder)


def _put_aside(store: Store, run: Path) -> Path:
    names = [run.name, *(f"{run.name}-{number}" for number in range(2, 1000))]
    kept = next(place for name in names if not (place := store.folder / "damaged" / name).exists())
    kept.parent.mkdir(exist_ok=True)
    run.rename(kept)
    return kept


def unreadable_text(store: Store) -> str:
    """Of runs that a report cannot name because their run.json is damaged; empty: there are none."""
    names = [folder.path.name for folder in store.all_runs() if _is_unreadable(folder)]
    return f"run.json is damaged and left out: {', '.join(names)}; `tunelab run` makes them again" if names else ""


def _is_unreadable(folder: RunFolder) -> bool:
    try:
        folder.read_run()
    except UnreadableRun:
        return True
    return False
