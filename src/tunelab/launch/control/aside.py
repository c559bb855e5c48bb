"""Runs whose records are damaged: put out of the way, so that the study makes them again and loses nothing; and named
by a report that cannot show them. Finished ones are rid of what a killed process has left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tunelab.entries import BASE
from tunelab.errors import RunBusy, UnreadableRun
from tunelab.study.executing.attempt import TO_GO_ON, sweep
from tunelab.study.record_files import EVALUATED, evaluation_damage
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
        elif folder.finished:
            yield from _put_texts_aside(store, folder)


def _put_texts_aside(store: Store, folder: RunFolder) -> Iterator[str]:
    """Damaged ones are generated again from the saved model; without one the whole run is made again."""
    damage, kept = evaluation_damage(folder.path), None
    if damage is None:
        return
    try:
        with folder.lock():
            again = folder.model.is_dir() or folder.read_run().method["label"] == BASE
            for path in (folder.path / name for name in EVALUATED):
                if again and path.exists():
                    kept = kept or _place(store, folder.path.name)
                    kept.mkdir(parents=True, exist_ok=True)
                    path.rename(kept / path.name)
    except RunBusy:
        return
    how = "its model is evaluated again" if again else "its saved model is gone, so it is made again"
    yield f"{damage}; {how}, and what was there is kept in {kept or _put_aside(store, folder.path)}"


def sweep_finished(store: Store) -> None:
    """Of runs whose process was killed between their result and the end of its work, checkpoint and lock go."""
    for folder in store.all_runs():
        if folder.finished and (folder.held() or any((folder.path / name).exists() for name in TO_GO_ON)):
            with suppress(RunBusy), folder.lock():
                sweep(folder)


def _place(store: Store, name: str) -> Path:
    names = [name, *(f"{name}-{number}" for number in range(2, 1000))]
    return next(place for each in names if not (place := store.folder / "damaged" / each).exists())


def _put_aside(store: Store, run: Path) -> Path:
    kept = _place(store, run.name)
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
