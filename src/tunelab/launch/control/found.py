"""Which results folder a user means by a study or by the folder itself, and the command that goes on with it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tunelab.config.read import read_study
from tunelab.errors import ConfigError
from tunelab.slurm.ledger import Ledger
from tunelab.study.planning.bundled import study_path
from tunelab.study.planning.plan import make_plan
from tunelab.study.planning.planned import Plan
from tunelab.study.record_files import OTHER
from tunelab.study.store import Store


class Found(NamedTuple):
    store: Store
    plan: Plan
    """As it was started."""
    goes_on: str
    """The command that executes what is unfinished."""


def find_results(what: str, out: Path | None) -> Found:
    """
    Args:
        what: a study file, a bundled study's name, or a results folder.
        out: the results folder of a study where it is not results/<study name>.

    Raises:
        ConfigError: nothing was started there.
    """
    given = Path(what).expanduser()
    is_folder = out is None and given.is_dir() and (given / "study.yaml").exists()
    folder = given if is_folder else out
    if folder is None:
        if given.is_dir():
            raise ConfigError(f"{what}: no study.yaml in it; give a study, or a folder that `tunelab run` wrote")
        folder = Path("results") / read_study(study_path(what), lenient=True).config.name
    store = Store(folder)
    if not store.study_file.exists():
        way = f"`tunelab run {what}` starts it" if out is None else "give the folder that `tunelab run --out` was given"
        raise ConfigError(f"{folder}: nothing was started there (no study.yaml in it); {way}")
    words = [str(store.study_file), "--out", str(folder)] if is_folder else [what]
    words += ["--out", str(out)] if out is not None else []
    words += ["--cluster", "slurm"] if Ledger(folder).read() else []
    return Found(store, plan_of(store), f"tunelab run {shlex.join(words)}")


def plan_of(store: Store, *, overrides: Sequence[str] = ()) -> Plan:
    """What a results folder was started with.

    Raises:
        ConfigError: its study.yaml is damaged, in one line; its study no longer plans; or the overrides are wrong.
    """
    try:
        read_study(store.study_file)
    except ConfigError as error:
        first = error.problems[0].removeprefix(f"{store.study_file}:").strip()
        way = f"`tunelab run STUDY --out {shlex.quote(str(store.folder))}` with its study writes it anew"
        raise ConfigError(f"{store.study_file}: {OTHER} ({first}); {way}") from None
    return make_plan(read_study(store.study_file, overrides=overrides))
