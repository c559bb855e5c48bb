"""The rows of a beam search with a transformers model: a beam has keys and values of its new tokens alone, and shares
those of its prompt, or of its source, with the prompt's other beams."""
# B rows, G prompts, N joining rows, T tokens, V vocabulary

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from tunelab.models.choosing import Text
from tunelab.models.growing_cache import GrowingCache
from tunelab.models.replaced_parts import NotReplaced
from tunelab.models.shared_attention import Attending, SharedKeys
from tunelab.models.torch_rows import Causal, Pairs


def shared_rows(model: Any, pad: int) -> SharedCausal | SharedPairs:
    """None yet, of a model that `decodes`.

    Raises:
        NotReplaced: its attention is of another kind.
    """
    layers = DynamicCache(config=model.config.get_text_config(decoder=True)).layers
    attending = Attending(model)
    if any(type(layer) is not DynamicLayer for layer in layers):
        raise NotReplaced("it has sliding windows")
    return (SharedPairs if model.config.is_encoder_decoder else SharedCausal)(model, pad, attending)


class SharedCausal(Causal):
    def __init__(self, model: Any, pad: int, attending: Attending) -> None:
        super().__init__(model, pad, attending)
        self.prompts: SharedKeys
        self.prompt_of: list[int] = []
        """Each row's place among them."""

    def _begin(self, texts: list[Text], cache: GrowingCache, mask_NT: Tensor) -> None:
        self.prompts, self.prompt_of = _held(cache, mask_NT), list(range(len(texts)))
        self.cache, self.mask_BT = GrowingCache(), mask_NT.new_zeros(len(texts), 0)
        self.texts = list(texts)

    def _settle(self, texts: list[Text], cache: GrowingCache, mask_NT: Tensor) -> None:
        live = [row for row, text in enumerate(self.texts) if text is not None]
        self.select(live + live[:1] * len(texts))
        self.mask_BT[len(live) :] = 0
        first = len(self.prompts)
        self.prompts.append(_held(cache, mask_NT))
        self.prompt_of[len(live) :] = range(first, first + len(texts))
        self.texts[len(live) :] = texts

    def _scores(self) -> Tensor:
        self.prompts.keep(max(len(text.prompt) for text in self.live))
        self._keep(max(len(text.new) for text in self.live) - 1)
        uses = self.prompts.uses
        scores_BV = self._forward(self.mask_BT.bool()[:, None, None], self.prompts)
        if not self.checked and self.prompts.uses - uses < len(self.prompts.keys):
            raise NotReplaced("its layers do not attend as transformers' AttentionInterface says")
        return scores_BV

    def gather(self, rows: list[int]) -> None:
        self.mask_BT = self.mask_BT[rows]
        self.cache.select(rows)
        kept, self.prompt_of = _of_rows(self.prompt_of, rows)
        self.prompts.select(kept)


class SharedPairs(Pairs):
    def __init__(self, model: Any, pad: int, attending: Attending) -> None:
        super().__init__(model, pad, attending)
        self.prompt_of: list[int] = []
        """Each row's place among the sources."""

    def join(self, texts: list[Text]) -> Tensor:
        self.prompt_of = list(range(len(texts)))
        return super().join(texts)

    def _source_mask(self) -> Tensor:
        """As attention takes it, (G, 1, 1, T): there are fewer sources than rows."""
        return self.mask_BT.bool()[:, None, None]

    def gather(self, rows: list[int]) -> None:
        self.decoder_cache.select(rows)
        kept, self.prompt_of = _of_rows(self.prompt_of, rows)
        if kept != list(range(len(self.encoded_BTH))):
            self.encoded_BTH, self.mask_BT = self.encoded_BTH[kept], self.mask_BT[kept]
            chosen = torch.tensor(kept, device=self.model.device)
            self.cache.cross_attention_cache.batch_select_indices(chosen)


def _held(cache: GrowingCache, mask_NT: Tensor) -> SharedKeys:
    return SharedKeys([layer.keys for layer in cache.layers], [layer.values for layer in cache.layers], mask_NT.bool())


def _of_rows(prompt_of: Sequence[int], rows: Sequence[int]) -> tuple[list[int], list[int]]:
    """The prompts that these rows are of, and each row's place among those."""
    asked = [prompt_of[row] for row in rows]
    kept = list(dict.fromkeys(asked))
    place = {prompt: number for number, prompt in enumerate(kept)}
    return kept, [place[prompt] for prompt in asked]
