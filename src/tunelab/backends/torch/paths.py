"""A model's forward pass in two ways, and which of the two a session takes.

Fast path: rows are padded on the right without a mask (a causal model never looks there), and the output head sees
only the supervised positions; where the head is a plain linear layer with nothing behind it, a block of them at a time.
Documents packed into a row are kept apart by positions that begin again, from which transformers makes the mask.
Reference path: the model's own forward with mask and full logits. `verify` compares them on real rows before the first
step; where they disagree the run says so and takes the reference path.
"""
# B batch, T tokens, N = B * T, S supervised positions of the batch, H hidden, V vocabulary

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tunelab.backends.torch.head import before, difference
from tunelab.backends.torch.inputs import APART, Inputs, collate
from tunelab.backends.torch.storage import NARROW
from tunelab.config.run import RunConfig
from tunelab.records import Batch

TOLERANCE = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 1e-2}
"""Largest difference of fast and reference logits, as a share of the largest logit."""


class Paths:
    notes: list[str]

    def __init__(self, model: Any, run: RunConfig, tokenizer: Any, notes: list[str]) -> None:
        self.model, self.run, self.tokenizer, self.notes = model, run, tokenizer, notes
        self.pairs = bool(model.config.is_encoder_decoder)
        self.fast, self.plain_head = True, False
        self.packs = "position_ids" in inspect.signature(model.forward).parameters
        """Whether documents that share a row are kept apart by their positions."""

    def verify(self, batch: Batch) -> None:
        self.model.eval()
        with torch.no_grad():
            reference = self._reference_logits(self._collate(batch, apart=True))
            self._verify_packing(batch, reference)
            inputs = self._collate(batch)
            fast = self._fast_logits(inputs)
        if fast is not None and fast.shape == reference.shape:
            share = difference(fast, reference)
            self.fast = share <= TOLERANCE[self.run.precision]
            self.plain_head = self.fast and self._has_plain_head(inputs, fast)
            reason = f"they differ by {share:.1e} of the largest logit"
        else:
            self.fast = self.plain_head = False
            reason = "the model's output head is not a layer of its own"
        if not self.fast:
            self.notes.append(f"reference path: logits at supervised positions only do not match the model's; {reason}")

    def _verify_packing(self, batch: Batch, reference_SV: Tensor) -> None:
        """Documents of a row against each document as a row of its own."""
        if not any(row.starts for row in batch.rows):
            return
        if self.packs:
            share = difference(self._reference_logits(self._collate(batch)), reference_SV)
            self.packs = share <= TOLERANCE[self.run.precision]
        if not self.packs:
            self.notes.append(APART)

    def _logits(self, inputs: Inputs) -> Tensor:
        """fp32, shape (S, V)."""
        fast_SV = self._fast_logits(inputs) if self.fast else None
        return self._reference_logits(inputs) if fast_SV is None else fast_SV

    def _fast_logits(self, inputs: Inputs) -> Tensor | None:
        """The head's input is gathered in front of it: what the model does after its head (scaling, capping) stays."""
        head = self.model.get_output_embeddings()
        if head is None:
            return None
        with before(head, lambda hidden_NH: hidden_NH[inputs.index_S]):
            return self._forward(self._unmasked(inputs)).reshape(-1, head.weight.shape[0])

    def _head_inputs(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor | None]:
        """Hidden states at the supervised positions (S, H), and the head's weight and bias. The model's own head sees
        a single position, because its logits are not wanted."""
        head = self.model.get_output_embeddings()
        caught = []

        def catch(hidden_NH: Tensor) -> Tensor:
            caught.append(hidden_NH[inputs.index_S])
            return hidden_NH[:1].detach()

        with before(head, catch):
            self._forward(self._unmasked(inputs))
        return caught[0], head.weight, head.bias

    def _has_plain_head(self, inputs: Inputs, fast_SV: Tensor) -> bool:
        """The logits are the head's product and nothing else, to the last bit: capping hardly shows in small ones."""
        head = self.model.get_output_embeddings()
        if type(head) is not nn.Linear or hasattr(head, "parametrizations"):
            return False
        with torch.no_grad(), self._autocast():
            hidden_SH, weight_VH, bias_V = self._head_inputs(inputs)
            return bool(F.linear(hidden_SH[None], weight_VH, bias_V)[0].float().equal(fast_SV))

    def _unmasked(self, inputs: Inputs) -> dict[str, Tensor]:
        """Right padding cannot be seen by a causal model."""
        if self.pairs:
            return inputs.forward
        return {key: value for key, value in inputs.forward.items() if key != "attention_mask"}

    def _reference_logits(self, inputs: Inputs) -> Tensor:
        logits_BTV = self._forward(inputs.forward)
        return logits_BTV.reshape(-1, logits_BTV.shape[-1])[inputs.index_S]

    def _forward(self, forward: dict[str, Tensor]) -> Tensor:
        with self._autocast():
            return self.model(**forward, use_cache=False).logits.float()

    def _autocast(self, *, enabled: bool = True) -> torch.autocast:
        dtype = NARROW.get(self.run.precision)
        return torch.autocast(self.model.device.type, dtype or torch.bfloat16, enabled=enabled and dtype is not None)

    def _collate(self, batch: Batch, *, apart: bool = False) -> Inputs:
        """`apart`: each document of a packed row as a row of its own."""
        return collate(batch, self.model, pad=self.tokenizer.pad_token_id, apart=apart or not self.packs)
