"""What generates the texts that are scored: the session itself, or vLLM on the weights that it writes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tunelab.config.run import RunConfig
from tunelab.config.schema import Evaluation, Generation
from tunelab.contracts import Method, Session
from tunelab.errors import ModelError
from tunelab.records import Decoded, TextSide

if TYPE_CHECKING:
    from tunelab.study.planning.plan import PlannedMethod

INSTALL = {
    "vllm": "pip install vllm (Linux with CUDA), or set evaluation.engine: torch",
    "lm_eval": "pip install 'tunelab[harness]', or leave evaluation.harness out",
}


PLAIN_ONLY = "vllm takes one model of plain weights"


class Generator(Protocol):
    """As Session.generate."""

    def generate(
        self,
        prompts: Sequence[np.ndarray],
        settings: Generation,
        *,
        progress: Callable[[Decoded], None],
        examples: Sequence[int] | None = None,
    ) -> list[list[int]]: ...


def generator(run: RunConfig, session: Session, text: TextSide, method: Method | None) -> Generator:
    """The engine that the run names.

    Raises:
        ModelError: the engine cannot serve this model.
    """
    if run.evaluation.engine == "torch":
        return session
    from tunelab.models.vllm_engine import VllmEngine

    if text.encoder_decoder:
        raise ModelError(f"model '{run.model.name}': vLLM serves no encoder-decoder here; set evaluation.engine: torch")
    if method is not None and not _plain(method):
        raise ModelError(f"{run.method['label']}: {PLAIN_ONLY}; set evaluation.engine: torch")
    return VllmEngine(session, text, seed=run.seed)


def _plain(method: Method) -> bool:
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
    others = [each.label for each in methods if not _plain(each.method)]
    if others:
        yield "evaluation.engine", f"{PLAIN_ONLY}, and {others[0]} has none; set engine: torch"
