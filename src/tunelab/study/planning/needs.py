"""Methods that are made of the finished runs of others: whether the study has those, and whether they are there."""

from __future__ import annotations

from collections.abc import Sequence

from tunelab.config.run import RunConfig
from tunelab.near import did_you_mean
from tunelab.study.planning.planned import Candidate, PlannedMethod
from tunelab.study.store import Store


def missing_needs(planned: Sequence[PlannedMethod]) -> list[tuple[int, str]]:
    """The method's position in the study, and what is wrong with what it needs. What others build on must be trained
    itself: so no two runs can wait for each other."""
    trained = [method.label for method in planned if not method.method.needs]
    made = [method.label for method in planned if method.method.needs]
    problems = []
    for index, method in enumerate(planned):
        for label in method.method.needs:
            if label in made:
                problems.append((index, f"needs '{label}', which is made of other runs itself; name trained methods"))
            elif label not in trained:
                rule = f"needs '{label}', and no method has that label.{did_you_mean(label, trained)}"
                problems.append((index, f"{rule} Methods trained here: {', '.join(trained) or 'none'}."))
    return problems


def with_needed(planned: Sequence[PlannedMethod]) -> list[PlannedMethod]:
    """Hand the methods over that others need."""
    known = {method.label: method.method for method in planned}
    return [
        one._replace(candidates=(Candidate(one.method.with_members([known[label] for label in one.method.needs])),))
        if one.method.needs
        else one
        for one in planned
    ]


def unfinished_parents(run: RunConfig, store: Store) -> list[str]:
    """Labels of the runs it is made of that have no result."""
    return [parent.method["label"] for parent in run.parents if not store.run(parent.id).has_result]
