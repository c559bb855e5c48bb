"""Texts by vLLM, from the merged weights: greedy and sampling.

Executed on a CPU (tests/models/with_vllm.py compares its texts with our own decoding), not on a GPU yet; the default
suite checks what is handed to a stand-in of its interface.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tunelab import device
from tunelab.backend_contract import Session
from tunelab.config.schema import Generation
from tunelab.errors import RunError
from tunelab.models.generation_file import end_tokens
from tunelab.records import Decoded, TextSide

PART = 1024
"""Prompts of one call: texts are kept after each."""


class VllmEngine:
    def __init__(self, session: Session, text: TextSide, *, seed: int) -> None:
        self.session, self.text, self.seed = session, text, seed

    def generate(
        self,
        prompts: Sequence[np.ndarray],
        settings: Generation,
        *,
        progress: Callable[[Decoded], None],
        examples: Sequence[int] | None = None,
    ) -> list[list[int]]:
        """As Session.generate; draws are vLLM's own, seeded by run and example."""
        if not prompts:
            return []
        places = range(len(prompts)) if examples is None else examples
        sampling = [self._sampling(settings, place) for place in places]
        texts: list[list[int]] = []
        num_tokens = 0
        with tempfile.TemporaryDirectory(prefix="tunelab-vllm-") as folder:
            engine = self._engine(Path(folder))
            for begin in range(0, len(prompts), PART):
                asked = [{"prompt_token_ids": ids.tolist()} for ids in prompts[begin : begin + PART]]
                outputs = engine.generate(asked, sampling[begin : begin + PART], use_tqdm=False)
                new = [list(output.outputs[0].token_ids) for output in outputs]
                num_tokens += sum(map(len, new))
                texts += [self._without_end(ids) for ids in new]
                progress(Decoded(dict(enumerate(texts[begin:], begin)), num_tokens))
        return texts

    def _engine(self, folder: Path) -> Any:
        """The weights leave the GPU before vLLM takes its share of it."""
        from vllm import LLM  # pyright: ignore[reportMissingImports]  optional, not installed here

        plain = self.session.plain_model()
        _check_plain(plain)
        plain.save_pretrained(folder)
        self.text.tokenizer.save_pretrained(folder)
        place = self.session.model.device
        self.session.model.to("cpu")
        plain.to("cpu")
        device.release(place)
        # On a CPU compiling the model takes longer than a test set does without.
        return LLM(model=str(folder), dtype="float32", seed=self.seed, enforce_eager=place.type == "cpu")

    def _sampling(self, settings: Generation, place: int) -> Any:
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]  optional, not installed here

        drawn = {
            "top_p": settings.top_p,
            "top_k": settings.top_k or -1,
            "seed": int(np.random.SeedSequence((self.seed, place)).generate_state(1)[0]),
        }
        return SamplingParams(
            temperature=settings.temperature,
            max_tokens=settings.max_new_tokens,
            min_tokens=settings.min_new_tokens,
            stop_token_ids=self._ends(),
            detokenize=False,
            **(drawn if settings.temperature else {}),
        )

    def _ends(self) -> list[int]:
        return end_tokens(self.session.model, self.text.tokenizer)

    def _without_end(self, ids: list[int]) -> list[int]:
        """vLLM gives the token that ended a text as its last one."""
        return ids[:-1] if ids and ids[-1] in self._ends() else ids


def _check_plain(model: Any) -> None:
    """
    Raises:
        RunError: adapters stand beside the weights, where folding them would change what the model computes.
    """
    import torch

    with torch.device("meta"):
        own = set(type(model)(model.config).state_dict())
    if set(model.state_dict()) != own:
        raise RunError("vLLM takes plain weights, and these adapters cannot be folded; set evaluation.engine: torch")
