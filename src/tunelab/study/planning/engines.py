"""Which engines a study asks for beside its back end (vLLM, lm-evaluation-harness), and whether they can serve it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence

from tunelab.config.schema import Evaluation, Generation
from tunelab.contracts import Method
from tunelab.study.planning.planned import PlannedMethod

INSTALL = {
    "vllm": "pip install vllm (Linux with CUDA; for a CPU see docs/generation.md), or set evaluation.engine: torch",
    "lm_eval": "pip install 'tunelab[harness]', or leave evaluation.harness out",
}

PLAIN_ONLY = "vllm takes one model of plain weights"


def is_plain(method: Method) -> bool:
    """Whether what it trains is one model of plain weights."""
    return method.one_model and method.base_storage == "float"


def missing_packages(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """Keys of a study and which package they want that is not here. Asked where something is to be executed: a report
    of what was executed elsewhere needs none of them."""
    if evaluation.harness and importlib.util.find_spec("lm_eval") is None:
        yield "evaluation.harness", f"lm-evaluation-harness is not installed: {INSTALL['lm_eval']}"
    if evaluation.engine == "vllm" and importlib.util.find_spec("vllm") is None:
        yield "evaluation.engine", f"vllm is not installed: {INSTALL['vllm']}"


def engine_problems(
    evaluation: Evaluation, methods: Sequence[PlannedMethod], settings: Sequence[Generation]
) -> Iterator[tuple[str, str]]:
    """Keys of a study and what is wrong with them."""
    several = [each.label for each in methods if not each.method.one_model]
    if evaluation.harness and several:
        yield "evaluation.harness", f"the harness asks one model, and {several[0]} is several; leave one of them out"
    if evaluation.engine != "vllm":
        return
    if any(each.beams > 1 or each.no_repeat_ngram for each in settings):
        rule = "vllm has neither beam search as it is here nor no_repeat_ngram; set beams: 1 and no_repeat_ngram: 0"
        yield "evaluation.engine", f"{rule}, or engine: torch"
    others = [each.label for each in methods if not all(is_plain(tried.method) for tried in each.candidates)]
    if others:
        yield "evaluation.engine", f"{PLAIN_ONLY}, and {others[0]} has none; set engine: torch"
