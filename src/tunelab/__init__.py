"""tunelab fine-tunes one language model every way that fits, on your task, and tells which way to keep.

    import tunelab

    tunelab.init("train.jsonl", model="tunelab/tiny")   # a study for your own rows
    tunelab.plan("study.yaml")                          # what would be executed, with parameter counts
    tunelab.memory("study.yaml", "16GiB")               # what its methods will need, and which of them fit
    tunelab.time("study.yaml", "h100")                  # how long they will take
    outcome = tunelab.run("study.yaml")                 # execute what is not finished, write the report
    outcome                                             # the comparison: a table in a notebook; outcome.to_pandas()
    best = outcome.run_folder("lora")                   # what generate, evaluate, export and show take
    tunelab.generate(best, ["..."], temperature=0.7)
    tunelab.evaluate(best, tasks=["restaurants"])
    tunelab.export(best, "exported", merge=True)
    tunelab.report("results/study")                     # the report again, from records
    tunelab.score(["an output"], [["a reference"]], metrics=["bleu", "chrf"])

A study is a file, the name of a bundled one, or a dict as its YAML would be. docs/python.md has more.
Everything heavy is imported when it is called: importing tunelab imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tunelab.api.models import evaluate, generate, init, score, show
from tunelab.api.models import export as _export
from tunelab.api.studies import load_study, memory, plan, run, time
from tunelab.api.studies import report as _report

__all__ = [
    "evaluate", "export", "generate", "init", "load_study", "memory", "plan", "report", "run", "score", "show",
    "time",
]  # fmt: skip
__version__ = "0.1.0"


def _make_callable(folder: ModuleType, function: Callable[..., Any]) -> None:
    """Where a folder and a function have one name, importing anything below the folder would otherwise put it in the
    function's place."""

    class CallableFolder(ModuleType):
        __call__ = staticmethod(function)
        __wrapped__ = staticmethod(function)  # for inspect.signature and help in notebooks

    folder.__class__ = CallableFolder
    folder.__doc__ = function.__doc__


if TYPE_CHECKING:
    export, report = _export, _report
else:
    from tunelab import export, report  # empty folders

    _make_callable(export, _export)
    _make_callable(report, _report)
