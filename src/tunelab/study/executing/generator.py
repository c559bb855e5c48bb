"""What generates the texts that are scored: the session itself, or vLLM on the weights that it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from tunelab.backend_contract import Session
from tunelab.config.run import RunConfig
from tunelab.config.schema import Generation
from tunelab.contracts import Method
from tunelab.errors import ModelError
from tunelab.records import Decoded, TextSide
from tunelab.study.planning.engines import PLAIN_ONLY, is_plain


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
    if method is not None and not is_plain(method):
        raise ModelError(f"{run.method['label']}: {PLAIN_ONLY}; set evaluation.engine: torch")
    return VllmEngine(session, text, seed=run.seed)
