"""Counts the parameters of the bundled studies' methods anew and writes them where a plan looks first.

    python scripts/counts.py

A test compares the file with what this makes.
"""

import json
from typing import Any

from tunelab.config.read import read_study
from tunelab.study.counts import SHIPPED, Counts
from tunelab.study.planning.bundled import names, study_path
from tunelab.study.planning.plan import load_backend, make_plan


def counts() -> dict[str, Any]:
    found = {}
    for name in names():
        plan = make_plan(read_study(study_path(name), lenient=True))
        model = plan.study.model
        methods = [candidate.method for planned in plan.methods for candidate in planned.candidates]
        for backend in map(load_backend, plan.study.backends):
            known = Counts(backend)
            for method in (None, *methods):
                found[known.count_key(model, method)] = backend.count(model, method)
            found[known.limits_key(model)] = backend.limits(model)
    return json.loads(json.dumps(found))


def main() -> None:
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(counts().items()))
    SHIPPED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
