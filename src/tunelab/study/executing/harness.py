"""lm-evaluation-harness on a run's model: its own tasks, prompts and metrics, beside ours in harness.json."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from tunelab.backend_contract import Session
from tunelab.config.run import RunConfig
from tunelab.errors import RunError
from tunelab.records import TextSide

KEPT = ("results", "groups", "versions", "n-shot", "higher_is_better", "n-samples")
"""Of what the harness returns: numbers, and what they were made with; not its documents."""
BATCH = 8


def harness_results(session: Session, text: TextSide, run: RunConfig) -> dict[str, Any]:
    """What harness.json holds. Its defaults hold for all that a task does not say: few-shot examples, seeds, limits.

    Raises:
        RunError: a task that it does not know, or whose data it cannot get.
    """
    from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports] optional, not installed here
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports] optional, not installed here
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports] optional, not installed here

    plain = session.plain_model()
    mixed = {"bf16": "bfloat16", "fp16": "float16"}.get(run.precision) if plain is session.model else None
    model = HFLM(pretrained=plain, tokenizer=text.tokenizer, batch_size=BATCH, mixed_precision_dtype=mixed)
    tasks = run.evaluation.harness
    files = [Path(task).absolute() for task in tasks if Path(task).suffix in (".yaml", ".yml")]
    try:
        manager = TaskManager(include_path=[str(folder) for folder in {file.parent for file in files}] or None)
        found = simple_evaluate(
            model=model, tasks=[_name(task) for task in tasks], task_manager=manager, log_samples=False
        )
    except (KeyError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"lm-evaluation-harness could not run {', '.join(tasks)} ({type(error).__name__}: {reason}); see "
            "`lm_eval ls tasks` for names, and whether its data can be reached"
        ) from None
    return {"lm_eval": version("lm_eval"), "tasks": list(tasks), **{key: found[key] for key in KEPT if key in found}}


def _name(task: str) -> str:
    """A task's name, or that of the task in a file."""
    if Path(task).suffix not in (".yaml", ".yml"):
        return task
    return yaml.safe_load(Path(task).read_text(encoding="utf-8"))["task"]
