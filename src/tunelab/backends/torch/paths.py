"""A model's forward pass in two ways, and which of the two a session takes.

Fast path: all documents of a micro-batch lie in one row (an encoder-decoder's sources in one, its targets in another),
where attention can be told so; else rows are padded on the right without a mask (a causal model never looks there), and
documents packed into one are kept apart by positions that begin again, from which transformers makes the mask. The
output head sees only the supervised positions; where it is a plain linear layer with nothing behind it, a tile of the
vocabulary or a block of positions at a time. Some layers are replaced by faster ones meanwhile (faster.py). Reference
path: the model's own forward with its own layers, mask and full logits. `verify` compares logits and gradients on real
rows before the first step; where they disagree the run says so and takes the reference path.
"""
# B batch, T tokens, N = B * T, S supervised positions of the batch, H hidden, V vocabulary

from __future__ import annotations

import inspect
import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tunelab import device
from tunelab.backends.torch.faster import Faster
from tunelab.backends.torch.head import before, difference
from tunelab.backends.torch.inputs import APART, Inputs, collate, in_one_row
from tunelab.backends.torch.pairs_in_one_row import pairs_in_one_row
from tunelab.backends.torch.storage import NARROW
from tunelab.config.run import RunConfig
from tunelab.kernels.linear_cross_entropy import linear_cross_entropy
from tunelab.models.added_tokens import TokenRows
from tunelab.records import Batch, TokenRow

TOLERANCE = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 1e-2}
"""Largest difference of fast and reference logits, as a share of the largest logit."""
PLAIN_HEADS = (nn.Linear, TokenRows)
GRADIENT_TOLERANCE = {"fp32": 1e-3, "bf16": 1e-1, "fp16": 5e-2}
"""Norm of the difference of fast and reference gradients, as a share of the reference's."""
FAILURES = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Of a way that is not a model's own: another way is taken."""


class Way(NamedTuple):
    """Which of the ways a model's forward pass goes."""

    fast: bool
    plain_head: bool
    packs: bool
    one_row: bool
    layers: bool
    """Whether faster ones are in place."""


class Paths:
    notes: list[str]

    def __init__(self, model: Any, run: RunConfig, tokenizer: Any, notes: list[str]) -> None:
        self.model, self.run, self.tokenizer, self.notes = model, run, tokenizer, notes
        self.pairs = bool(model.config.is_encoder_decoder)
        self.fast, self.plain_head = True, False
        self.faster: Faster | None = None
        self.one_row = False
        """Whether the documents of a micro-batch lie in one row."""
        self.packs = "position_ids" in inspect.signature(model.forward).parameters
        """Whether documents that share a row are kept apart by their positions."""

    def verify(self, batch: Batch) -> None:
        self.model.eval()
        with torch.no_grad():
            reference = self._reference_logits(self._collate(batch, apart=True))
            self._verify_packing(batch, reference)
        note = ""  # of the last way that is not gone: it says what is done instead
        for one_row, faster, instead in self._ways():
            self.one_row, self.faster = one_row, faster
            try:
                reason = self._difference(batch, reference)
            except FAILURES as error:  # a model that needs its mask, an attention of another kind
                if faster is None or device.out_of_memory(error):
                    raise
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
            if reason is None:
                break
            note = f"reference path: {instead}; {reason}"
        else:
            self.fast = self.plain_head = False
        self.notes += [note] if note else []

    @property
    def way(self) -> Way:
        """Which one is taken."""
        return Way(self.fast, self.plain_head, self.packs, self.one_row, self.faster is not None)

    def take_way(self, way: Way) -> None:
        """Another session's over the same model."""
        self.fast, self.plain_head, self.packs, self.one_row, layers = way
        self.faster = Faster(self.model) if layers else None

    @property
    def pads(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return not self.one_row

    def _ways(self) -> list[tuple[bool, Faster | None, str]]:
        """All documents in one row or not, with which layers, and what is done where that is not the reference: the
        fastest first."""
        ways: list[tuple[bool, Faster | None, str]] = []
        faster = Faster(self.model)
        if faster.longest and (faster.pairs if self.pairs else self.packs):
            ways.append((True, faster, "rows are padded, because documents in one row are not kept apart"))
        if faster:
            ways.append((False, faster, "the model's own layers, because with faster ones it is another model"))
        return [*ways, (False, None, "logits at supervised positions only do not match the model's")]

    def _difference(self, batch: Batch, reference_SV: Tensor) -> str | None:
        """How the fast path is another than the reference; None: it is not."""
        self.plain_head = False
        inputs = self._inputs(batch)
        with torch.no_grad():
            fast_SV = self._fast_logits(inputs)
        if fast_SV is None or fast_SV.shape != reference_SV.shape:
            return "the model's output head is not a layer of its own"
        share = difference(fast_SV, reference_SV)
        if not share <= TOLERANCE[self.run.precision]:
            return f"they differ by {share:.1e} of the largest logit"
        self.plain_head = self._has_plain_head(inputs, fast_SV)
        share = self._gradient_difference(inputs, self._collate(batch, apart=True))
        if not share <= GRADIENT_TOLERANCE[self.run.precision]:
            self.plain_head = False
            return f"gradients differ by {share:.1e} of their norm"
        return None

    def _gradient_difference(self, inputs: Inputs, apart: Inputs) -> float:
        """Of the loss, at some of the trained tensors; 0 where nothing is trained."""
        trained = self.compared_parameters()
        if not trained:
            return 0.0
        with torch.enable_grad():
            fast = torch.autograd.grad(self._summed_loss(inputs), trained, allow_unused=True)
            logits_SV = self._reference_logits(apart)
            loss = F.cross_entropy(logits_SV, apart.target_S, reduction="sum")
            reference = torch.autograd.grad(loss, trained, allow_unused=True)
        largest = 0.0
        for left, right in zip(fast, reference, strict=True):
            if left is None or right is None:
                share = 0.0 if left is right else math.inf
            else:
                norm, apart_by = float(right.float().norm()), float((left.float() - right.float()).norm())
                share = apart_by / norm if norm else (math.inf if apart_by else 0.0)
            if not share <= largest:  # one that is no number stays
                largest = share
                if math.isnan(share):
                    break
        return largest

    def compared_parameters(self) -> list[nn.Parameter]:
        """Trained tensors whose gradients say whether a path is right: two neighbours each at the model's beginning, in
        its middle and at its end, since of LoRA's two factors the first has no gradient while the second is zero."""
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        starts = (0, len(trained) // 2, len(trained) - 2)
        places = {place for start in starts for place in (start, start + 1) if 0 <= place < len(trained)}
        return [trained[place] for place in sorted(places)]

    def _summed_loss(self, inputs: Inputs, *, label_smoothing: float = 0.0, gradient_factor: float = 1.0) -> Tensor:
        """Over the supervised positions, in nats, by the path that is taken. `gradient_factor`: as
        linear_cross_entropy."""
        if self.plain_head:
            with self._autocast():
                head = self._head_inputs(inputs)
                rest = {"label_smoothing": label_smoothing, "gradient_factor": gradient_factor}
                return self._head_loss(*head, inputs.target_S, **rest)
        logits_SV = self._logits(inputs)
        return F.cross_entropy(logits_SV, inputs.target_S, reduction="sum", label_smoothing=label_smoothing)

    def _head_loss(self, *head: Any, **settings: float) -> Tensor:
        return linear_cross_entropy(*head, **settings)

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
        with self.faster_at(inputs), before(head, lambda hidden_NH: hidden_NH[inputs.index_S]):
            return self._forward(self._unmasked(inputs)).reshape(-1, head.weight.shape[0])

    def faster_at(self, inputs: Inputs) -> AbstractContextManager[None]:
        """Of all that is computed from these inputs, backward too: a checkpointed layer is computed again there."""
        return nullcontext() if self.faster is None else self.faster.at(inputs.groups)

    def _head_inputs(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor | None]:
        """Hidden states at the supervised positions (S, H), and the head's weight and bias. The model's own head sees
        no position, because its logits are not wanted."""
        head = self.model.get_output_embeddings()
        caught = []

        def catch(hidden_NH: Tensor) -> Tensor:
            caught.append(hidden_NH[inputs.index_S])
            return hidden_NH[:0].detach()

        with self.faster_at(inputs), before(head, catch):
            self._forward(self._unmasked(inputs))
        return caught[0], head.weight, head.bias

    def _has_plain_head(self, inputs: Inputs, fast_SV: Tensor) -> bool:
        """The logits are the head's product and nothing else, to the last bit: capping hardly shows in small ones."""
        head = self.model.get_output_embeddings()
        if type(head) not in PLAIN_HEADS or hasattr(head, "parametrizations"):
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
        """Padded rows. `apart`: each document of a packed row as a row of its own."""
        return collate(batch, self.model, pad=self.tokenizer.pad_token_id, apart=apart or not self.packs)

    def _inputs(self, batch: Batch) -> Inputs:
        """Of the fast path; long documents lie in padded rows."""
        if self.one_row and self.faster is not None:
            lengths = [_lengths(row) for row in batch.rows]
            if max(map(max, lengths)) <= self.faster.longest and min(map(min, lengths)):
                lay = pairs_in_one_row if self.pairs else in_one_row
                return lay(batch, self.model, pad=self.tokenizer.pad_token_id)
        return self._collate(batch)


def _lengths(row: TokenRow) -> list[int]:
    """Of a row's documents, and of what its encoder reads."""
    own = np.diff((*(row.starts or (0,)), len(row.ids))).tolist()
    return own if row.source is None else [*own, len(row.source)]
