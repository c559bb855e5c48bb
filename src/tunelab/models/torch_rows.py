"""The rows of a transformers model in the loop of decoding.py.

Decoder-only rows are aligned on the right, with masks and positions of their own, so that rows of any age go together.
Those of an encoder-decoder begin together; finished ones leave.
"""
# B rows, N joining rows, T tokens, V vocabulary

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunelab.models.choosing import Text
from tunelab.models.decoding import Rows
from tunelab.models.growing_cache import GrowingCache, cache_argument
from tunelab.models.shared_attention import Attending, SharedKeys

FEW_WIDTHS = 8
"""On a CPU prompts that join are padded to a multiple of it: oneDNN makes a kernel for each size of a product that it
has not met, which takes it longer than the padding takes, and close to a megabyte for good."""
PASS_TOKENS = 1024
"""Of prompts that join on a CPU: what their pass takes beside the cache is as much as for so many."""


def decodes(model: Any) -> bool:
    """Whether the model is of the ordinary kind: keys and values for each token, and no preparation of its own."""
    from transformers import DynamicCache, GenerationMixin, PreTrainedModel
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    if not isinstance(model, PreTrainedModel):
        return False
    kinds: list[Any] = [type(model), GenerationMixin]
    own, general = (kind.prepare_inputs_for_generation for kind in kinds)
    if own is not general:
        return False
    config = model.config.get_text_config(decoder=True)
    layers = DynamicCache(config=config).layers
    ordinary = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    chunked = getattr(config, "attention_chunk_size", None) is not None
    positions = model.config.is_encoder_decoder or "position_ids" in inspect.signature(model.forward).parameters
    return ordinary and not chunked and positions


def rows_of(model: Any, pad: int, attending: Attending | None = None) -> TorchRows:
    """None yet. For a model that `decodes`. `attending`: how rows attend, if not by the model's own attention."""
    return (Pairs if model.config.is_encoder_decoder else Causal)(model, pad, attending)


def quick_rows(model: Any, pad: int) -> TorchRows:
    """None yet, of a model that `decodes`. Elsewhere than on a CPU they attend as the model does.

    Raises:
        NotReplaced: its attention is of another kind than `Attending`'s.
    """
    return rows_of(model, pad, Attending(model) if model.device.type == "cpu" else None)


class TorchRows(Rows):
    def __init__(self, model: Any, pad: int, attending: Attending | None = None) -> None:
        super().__init__()
        self.model, self.pad, self.attending = model, pad, attending
        self.pass_tokens = PASS_TOKENS if model.device.type == "cpu" else None
        self.checked = attending is None
        """Whether a step's scores are known to be the model's own."""
        self.mask_BT: Tensor
        self.cache_name = cache_argument(model.forward)
        keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
        last = torch.tensor([-1], device=model.device)  # by a number the head gets a view, and repeats its weight a row
        self.options = {"use_cache": True, **({"logits_to_keep": last} if keeps else {})}

    @torch.no_grad()
    def step(self) -> Tensor:
        """
        Raises:
            NotReplaced: after the first one, of `attending`: the scores are not the model's own.
        """
        scores_BV = self._scores()
        if not self.checked and self.attending is not None:
            rows = [row for row, text in enumerate(self.texts) if text is not None]
            compared, alone = [rows[0], rows[-1]], rows_of(self.model, self.pad)
            alone.join([self.live[0], self.live[-1]])
            self.attending.check(scores_BV[compared], alone.step())
            self.checked = True
        return scores_BV

    @abstractmethod
    def _scores(self) -> Tensor:
        """Of `step`."""

    def _model(self, inputs: dict[str, Any], prompts: SharedKeys | None = None) -> Tensor:
        """The last position's scores, shape (B, V)."""
        with self._attends(prompts):
            return self.model(**inputs, **self.options).logits[:, -1].float()

    def _attends(self, prompts: SharedKeys | None = None) -> AbstractContextManager[None]:
        return nullcontext() if self.attending is None else self.attending.attending(prompts)

    def gather(self, rows: list[int]) -> None:
        self.mask_BT = self.mask_BT[rows]

    def _padded(self, texts: Sequence[Text], *, left: bool, multiple: int = 1) -> tuple[Tensor, Tensor]:
        rows = [text.prompt for text in texts]
        return padded(rows, pad=self.pad, left=left, device=self.model.device, multiple=multiple)

    def _last_tokens(self) -> Tensor:
        last = [[self.pad if text is None else text.new[-1]] for text in self.texts]
        return torch.tensor(last, device=self.model.device)


class Causal(TorchRows):
    refills = True

    @torch.no_grad()
    def join(self, texts: list[Text]) -> Tensor:
        multiple = FEW_WIDTHS if self.model.device.type == "cpu" else 1
        ids_NT, mask_NT = self._padded(texts, left=True, multiple=multiple)
        cache = GrowingCache()
        positions_NT = (mask_NT.cumsum(dim=-1) - 1).clamp(min=0)
        inputs = {"input_ids": ids_NT, "attention_mask": mask_NT, "position_ids": positions_NT}
        scores_NV = self._model({**inputs, self.cache_name: cache})
        if self.num_live:
            self._settle(texts, cache, mask_NT)
        else:
            self._begin(texts, cache, mask_NT)
        return scores_NV

    def _begin(self, texts: list[Text], cache: GrowingCache, mask_NT: Tensor) -> None:
        self.cache, self.mask_BT = cache, mask_NT
        self.cache.reserve(self.places)
        self.texts = list(texts)

    def _settle(self, texts: list[Text], cache: GrowingCache, mask_NT: Tensor) -> None:
        missing = mask_NT.shape[1] - self.mask_BT.shape[1]
        if missing > 0:
            self.cache.widen(missing)
            self.mask_BT = torch.nn.functional.pad(self.mask_BT, (missing, 0))
        free = [row for row, text in enumerate(self.texts) if text is None]
        if (more := len(texts) - len(free)) > 0:
            free += range(len(self.texts), len(self.texts) + more)
            self.cache.add_rows(more)
            self.mask_BT = torch.nn.functional.pad(self.mask_BT, (0, 0, 0, more))
            self.texts += [None] * more
        places = free[: len(texts)]
        self.cache.replace(places, cache)
        self.mask_BT[places] = torch.nn.functional.pad(mask_NT, (self.mask_BT.shape[1] - mask_NT.shape[1], 0))
        for place, text in zip(places, texts, strict=True):
            self.texts[place] = text

    def _scores(self) -> Tensor:
        lengths = self._lengths()
        self._keep(max(lengths))
        return self._forward(self.mask_BT)

    def _lengths(self) -> list[int]:
        """What the model has seen of each text."""
        return [0 if text is None else len(text) - 1 for text in self.texts]

    def _keep(self, width: int) -> None:
        """So many of the last tokens, and room for one more."""
        unused = self.mask_BT.shape[1] - width
        if unused:
            self.cache.drop_left(unused)
        self.mask_BT = torch.nn.functional.pad(self.mask_BT[:, unused:], (0, 1), value=1)

    def _forward(self, mask: Tensor, prompts: SharedKeys | None = None) -> Tensor:
        positions_B1 = torch.tensor(self._lengths(), device=self.model.device)[:, None]
        inputs = {"input_ids": self._last_tokens(), "attention_mask": mask, "position_ids": positions_B1}
        return self._model({**inputs, self.cache_name: self.cache}, prompts)

    def gather(self, rows: list[int]) -> None:
        super().gather(rows)
        self.cache.select(rows)

    def reorder(self, rows: list[int]) -> None:
        self.cache.reorder(rows)


class Pairs(TorchRows):
    refills = False

    @torch.no_grad()
    def join(self, texts: list[Text]) -> Tensor:
        from transformers import DynamicCache, EncoderDecoderCache

        ids_BT, self.mask_BT = self._padded(texts, left=False)
        with self._attends():
            encoded = self.model.get_encoder()(input_ids=ids_BT, attention_mask=self.mask_BT)
        self.encoded_BTH = encoded.last_hidden_state
        self.decoder_cache = GrowingCache()
        self.cache = EncoderDecoderCache(self.decoder_cache, DynamicCache())
        self.texts = list(texts)
        start = self.model.config.decoder_start_token_id
        return self._forward(torch.full((len(texts), 1), start, device=self.model.device))

    def _scores(self) -> Tensor:
        return self._forward(self._last_tokens())

    def _forward(self, ids_B1: Tensor) -> Tensor:
        from transformers.modeling_outputs import BaseModelOutput

        encoded = BaseModelOutput(last_hidden_state=self.encoded_BTH)
        inputs = {"encoder_outputs": encoded, "attention_mask": self._source_mask(), "decoder_input_ids": ids_B1}
        return self._model({**inputs, self.cache_name: self.cache})

    def _source_mask(self) -> Tensor:
        return self.mask_BT

    def gather(self, rows: list[int]) -> None:
        super().gather(rows)
        self.encoded_BTH = self.encoded_BTH[rows]
        self.decoder_cache.select(rows)
        self.cache.cross_attention_cache.batch_select_indices(torch.tensor(rows, device=self.model.device))

    def reorder(self, rows: list[int]) -> None:
        self.decoder_cache.reorder(rows)


def padded(
    rows: Sequence[np.ndarray], *, pad: int, left: bool, device: torch.device, multiple: int = 1
) -> tuple[Tensor, Tensor]:
    """Token ids and mask, shape (B, T), T a multiple of `multiple`. An encoder's rows are padded on the right, where
    its positions begin."""
    longest = -(-max(1, *(len(row) for row in rows)) // multiple) * multiple
    ids_BT = np.full((len(rows), longest), pad, dtype=np.int64)
    mask_BT = np.zeros((len(rows), longest), dtype=np.int64)
    for number, row in enumerate(rows):
        place = slice(longest - len(row), None) if left else slice(len(row))
        ids_BT[number, place] = row
        mask_BT[number, place] = 1
    return torch.from_numpy(ids_BT).to(device), torch.from_numpy(mask_BT).to(device)
