"""A rehearsal: the whole study end to end with stand-ins (a toy model, few rows, few steps), to find what would break.

Every method keeps its own options. What cannot hold at toy size is changed by the rules below, which name no method,
and every change is said.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tunelab.config.read import dump, read_study
from tunelab.config.schema import StudyConfig
from tunelab.errors import ConfigError
from tunelab.files import write_atomically
from tunelab.models.stand_in import LARGEST_RANK, StandIn, stand_in
from tunelab.study.planning.labels import labels
from tunelab.study.planning.plan import build_method, load_backend, make_plan
from tunelab.study.planning.planned import Plan
from tunelab.study.planning.preview import count_parameters
from tunelab.study.planning.search import AUTO
from tunelab.study.store import Store

REHEARSED = "REHEARSAL: a toy model, few rows and few steps; these numbers mean nothing"

NUM_SEEDS, NUM_VALUES = 2, 2
NUM_STEPS = 10
FEW_STEPS = 3
"""Of anything that counts steps, so that it comes to pass, and more than once where it repeats."""
NUM_EXAMPLES, MAX_TOKENS, MAX_LENGTH = 4, 256, 128
VALIDATION_EVERY = 0.4
"""Of an epoch: of 48 rows, twice in 10 steps of 4 examples."""
MAX_NEW_TOKENS = 8

COUNTS_STEPS = ("_steps", "_gap")
"""How the names of options that count steps end."""
AT_MOST = {"rank": LARGEST_RANK, "tinit": FEW_STEPS, "tfinal": FEW_STEPS, "deltaT": FEW_STEPS, "total_step": NUM_STEPS}
"""Other options that cannot be as large as in the study; the last four are PEFT's own names."""
KEYWORDS = ("all-linear", "attention")
"""Targets that every architecture has."""
BY_LAYER = ("ranks", "alphas", "rank_pattern", "alpha_pattern")
"""Options whose keys name layers; the last two are PEFT's own."""


def rehearsal_folder(out: Path) -> Path:
    """Beside the study's own results, never among them."""
    return out.with_name(f"{out.name}-rehearsal")


def rehearse(plan: Plan, folder: Path) -> Plan:
    """The study to execute instead, its stand-ins written into `folder`, which is emptied first: what was rehearsed
    before says nothing of what would break today.

    Raises:
        ConfigError: what planning says of the study itself; or `folder` is something else.
        ModelError: the model is not there, or gated.
    """
    count_parameters(plan)  # whether every method fits the real model
    lacks = {name: load_backend(name).missing() for name in plan.study.backends}
    backends = [name for name, lack in lacks.items() if not lack]
    if not backends:
        raise ConfigError(*(plan.read.problem(f"backends.{at}", lack) for at, lack in enumerate(lacks.values())))
    folder = folder.absolute()
    _empty(folder)
    model = stand_in(plan.study.model, folder / "stand-in")
    facts = _smaller_study(plan, folder, model)
    facts["backends"] = backends
    tasks = zip(plan.tasks, facts["tasks"], strict=True)
    rows = [f"task {task.name}: {_rows_said(task.options, smaller)}" for task, smaller in tasks]
    left_out = [f"left out: {lack}" for lack in lacks.values() if lack]
    said = (model.said, *left_out, *rows, *_differences(plan.study.model_dump(mode="json"), facts))
    write_atomically(_record(folder), json.dumps({"study": plan.study.name, "said": said}, indent=2) + "\n")
    write_atomically(Store(folder).study_file, dump(StudyConfig.model_validate_json(json.dumps(facts))))
    return make_plan(read_study(Store(folder).study_file))


def rehearsed(folder: Path) -> tuple[str, ...]:
    """Of the rehearsal whose results lie in the folder: what stands in for what, and every setting that differs. Empty:
    they are a study's own."""
    path = _record(folder)
    return tuple(json.loads(path.read_text(encoding="utf-8"))["said"]) if path.exists() else ()


def _record(folder: Path) -> Path:
    return folder / "rehearsal.json"


def _empty(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not rehearsed(folder):
        raise ConfigError(f"{folder}: is where the rehearsal goes, and holds something else; give another --out")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


# ------------------------------------------------------------------ what is smaller


def _smaller_study(plan: Plan, folder: Path, model: StandIn) -> dict[str, Any]:
    study = plan.study
    batch, warmup = study.batch, study.schedule.warmup
    changes = {
        "name": f"{study.name}-rehearsal",
        "model": study.model.model_dump(mode="json", include={"initialize", "tokens"}) | {"name": model.name},
        "tasks": [_smaller_task(task, folder) for task in plan.tasks],
        "methods": _smaller_methods(plan, same_family=model.same_family),
        "seeds": study.seeds[:NUM_SEEDS],
        "budget": {"steps": NUM_STEPS},
        "batch": batch.model_dump() | {
            "examples": min(batch.examples, NUM_EXAMPLES),
            "max_tokens": MAX_TOKENS if batch.max_tokens == "auto" else min(batch.max_tokens, MAX_TOKENS),
            "max_length": min(batch.max_length, MAX_LENGTH),
        },
        "threads": 1,
        "schedule": study.schedule.model_dump() | {"warmup": warmup if warmup < 1 else min(warmup, FEW_STEPS)},
        "validation": study.validation.model_dump() | {"every": VALIDATION_EVERY},
        "generation": _fewer_new_tokens(study.generation.model_dump()),
        "launch": {"cluster": "in-process"},
    }  # fmt: skip
    return study.model_dump(mode="json") | json.loads(json.dumps(changes))


def _smaller_task(planned: Any, folder: Path) -> dict[str, Any]:
    task = planned.task.rehearsal(folder / "rows" / planned.name)
    options = task.model_dump(mode="json")
    return options | {"generation": _fewer_new_tokens(options["generation"])}


def _fewer_new_tokens(generation: dict[str, Any]) -> dict[str, Any]:
    fewer = {key: min(value, MAX_NEW_TOKENS) for key, value in generation.items() if key.endswith("_new_tokens")}
    return generation | fewer


def _smaller_methods(plan: Plan, *, same_family: bool) -> list[dict[str, Any]]:
    """A method stays as it is where it would become the same as one before it. Labels may change with what they
    show; where one method names another's, the name follows."""
    entries: list[dict[str, Any]] = []
    for planned, whole in zip(plan.methods, plan.study.methods, strict=True):
        entry = {planned.name: whole[planned.name] | _fewer_values(planned.searched)}
        smaller = _smaller(entry) if same_family else _on_any_targets(_smaller(entry))
        entries.append(whole if smaller in entries else smaller)
    built = []
    for entry, planned in zip(entries, plan.methods, strict=True):
        ((name, options),), fields = entry.items(), planned.searched
        searched = {key: options[key] for key in fields if options[key] == AUTO or isinstance(options[key], list)}
        plain = {key: value for key, value in options.items() if key not in searched}
        first = {key: value[0] for key, value in searched.items() if value != AUTO}
        built.append((name, build_method(name, plain | first), searched))
    names = dict(zip((method.label for method in plan.methods), labels(built), strict=True))
    made_of = [bool(method.method.needs) for method in plan.methods]
    return [_renamed(entry, names) if made else entry for entry, made in zip(entries, made_of, strict=True)]


def _fewer_values(searched: dict[str, Any]) -> dict[str, Any]:
    """Of each list the first ones, once they are as small as a rehearsal wants them."""
    found: dict[str, Any] = {}
    for field, values in searched.items():
        smaller = [_smaller(value, field) for value in values if values != AUTO]
        different = [value for place, value in enumerate(smaller) if value not in smaller[:place]]
        found[field] = different[:NUM_VALUES] or AUTO
    return found


def _smaller(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _smaller(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_smaller(each) for each in value]
    most = FEW_STEPS if key.endswith(COUNTS_STEPS) else AT_MOST.get(key)
    counted = isinstance(value, int) and not isinstance(value, bool)
    return min(value, most) if counted and most is not None else value


def _on_any_targets(value: Any) -> Any:
    """Names of layers mean nothing in another architecture."""
    if isinstance(value, list):
        return [_on_any_targets(each) for each in value]
    if not isinstance(value, dict):
        return value
    named = value.get("targets") not in (None, *KEYWORDS)
    anywhere = {key: {} if key in BY_LAYER else _on_any_targets(each) for key, each in value.items()}
    return anywhere | ({"targets": "all-linear"} if named else {})


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, names) for each in value]
    return names.get(value, value) if isinstance(value, str) else value


# ------------------------------------------------------------------ what is said


def _rows_said(before: dict[str, Any], after: dict[str, Any]) -> str:
    changed = {key for key in before if before[key] != after.get(key)} - {"generation"}
    return f"few rows ({', '.join(sorted(changed))})" if changed else "as it is"


def _differences(before: Any, after: Any, path: str = "") -> list[str]:
    """Every setting of the study that differs, tasks and model left out: those have lines of their own."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [key for key in before if path or key not in ("name", "model", "tasks", "launch", "threads")]
        return [line for key in keys for line in _differences(before[key], after.get(key), f"{path}.{key}".lstrip("."))]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for index, (old, new) in pairs for line in _differences(old, new, f"{path}.{index}")]
    return [] if before == after else [f"{path}: {json.dumps(after)} instead of {json.dumps(before)}"]
