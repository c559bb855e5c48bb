"""Whether a study's rule of what to keep fits its tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunelab.config.schema import Decision
from tunelab.near import did_you_mean
from tunelab.study.planning.planned import PlannedTask


def decision_problems(decision: Decision, tasks: Sequence[PlannedTask]) -> Iterator[tuple[str, str]]:
    """Key and fault: a metric that no task has, a number as margin for tasks that decide by different metrics."""
    known = list(dict.fromkeys(name for task in tasks for name in task.metrics))
    if decision.metric is not None and decision.metric not in known:
        hint = did_you_mean(decision.metric, known)
        fault = f"no task of this study has the metric '{decision.metric}'.{hint} They have {', '.join(known)}"
        yield "decision.metric", fault
        return
    deciding = {
        task.name: decision.metric if decision.metric in task.metrics else next(iter(task.metrics)) for task in tasks
    }
    if isinstance(decision.margin, float) and len(set(deciding.values())) > 1:
        by_task = ", ".join(f"{name} of {task}" for task, name in deciding.items())
        yield (
            "decision.margin",
            f"{decision.margin:g} is in one metric's unit, and the tasks decide by different ones ({by_task}): give "
            "decision.metric one that all have, or a share of the gain such as '10 %'",
        )  # fmt: skip
