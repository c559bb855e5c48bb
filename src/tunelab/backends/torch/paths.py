"""A model's forward pass in two ways, and which of the two a session takes.

Fast path: rows are padded on the right without a mask (a causal model never looks there), and the output head sees
only the supervised positions; where the head is a plain linear layer with nothing behind it, a block of them at a time.
Documents packed into a row are kept apart by positions that begin again, from which transformers makes the mask.
Some layers are replaced by faster ones meanwhile (faster.py). Reference path: the model's own forward with its own
layers, mask and full logits. `verify` compares logits and gradients on real rows before the first step; where they
disagree the run says so and takes the reference path.
"""
# B batch, T tokens, N = B * T, S supervised positions of the batch, H hidden, V vocabulary

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tunelab.backends.torch.faster import Faster
from tunelab.backends.torch.head import before, difference
from tunelab.backends.torch.inputs import APART, Inputs, collate
from tunelab.config.run import RunConfig
from tunelab.kernels.linear_cross_entropy import linear_cross_entropy
from tunelab.records import Batch

TOLERANCE = {"fp32": 1e-4, "bf16": 5e-2}
"""Largest difference of fast and reference logits, as a share of the largest logit."""
GRADIENT_TOLERANCE = {"fp32": 1e-3, "bf16": 1e-1}
"""Norm of the difference of fast and reference gradients, as a share of the reference's."""
MOST_COMPARED = 4
"""Trained tensors whose gradients are compared."""


class Paths:
    notes: list[str]

    def __init__(self, model: Any, run: RunConfig, tokenizer: Any, notes: list[str]) -> None:
        self.model, self.run, self.tokenizer, self.notes = model, run, tokenizer, notes
        self.pairs = bool(model.config.is_encoder_decoder)
        self.fast, self.plain_head = True, False
        self.faster: Faster | None = None
        self.packs = "position_ids" in inspect.signature(model.forward).parameters
        """Whether documents that share a row are kept apart by their positions."""

    def verify(self, batch: Batch) -> None:
        self.model.eval()
        with torch.no_grad():
            reference = self._reference_logits(self._collate(batch, apart=True))
            self._verify_packing(batch, reference)
        inputs = self._collate(batch)
        self.faster = Faster(self.model)
        reason = self._difference(inputs, reference)
        if reason is not None and self.faster:
            self.faster = None
            slower = self._difference(inputs, reference)
            if slower is None:
                self.notes.append(f"reference path: the model's own layers, since with faster ones {reason}")
            reason = slower
        if reason is not None:
            self.fast = self.plain_head = False
            self.notes.append(f"reference path: logits at supervised positions only do not match the model's; {reason}")

    def _difference(self, inputs: Inputs, reference_SV: Tensor) -> str | None:
        """How the fast path is another than the reference; None: it is not."""
        self.plain_head = False
        with torch.no_grad():
            fast_SV = self._fast_logits(inputs)
        if fast_SV is None or fast_SV.shape != reference_SV.shape:
            return "the model's output head is not a layer of its own"
        share = difference(fast_SV, reference_SV)
        if not share <= TOLERANCE[self.run.precision]:
            return f"they differ by {share:.1e} of the largest logit"
        self.plain_head = self._has_plain_head(inputs, fast_SV)
        share = self._gradient_difference(inputs)
        if not share <= GRADIENT_TOLERANCE[self.run.precision]:
            self.plain_head = False
            return f"gradients differ by {share:.1e} of their norm"
        return None

    def _gradient_difference(self, inputs: Inputs) -> float:
        """Of the loss, at the embeddings and at some of the trained tensors; 0 where nothing is trained."""
        trained = self.compared_parameters()
        if trained is None:
            return 0.0

        def gradients(loss: Callable[[Inputs], Tensor]) -> list[Tensor]:
            with self._embedded() as embedded:
                total = loss(inputs)
                at = [*embedded, *trained]
                found = torch.autograd.grad(total, at, allow_unused=True)
            return [torch.zeros(()) if grad is None else grad.float() for grad in found]

        with torch.enable_grad():
            fast = gradients(self._summed_loss)
            reference = gradients(lambda given: F.cross_entropy(self._reference_logits(given), given.target_S, reduction="sum"))
        pairs = [(left, right) for left, right in zip(fast, reference, strict=True) if right.abs().max() > 0]
        return max((float((left - right).norm() / right.norm()) for left, right in pairs), default=0.0)

    def compared_parameters(self) -> list[nn.Parameter] | None:
        """Trained tensors whose gradients say whether a path is right; None: nothing is trained."""
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        places = sorted({0, len(trained) - 1, *range(0, len(trained), max(1, len(trained) // MOST_COMPARED))})
        return [trained[place] for place in places] if trained else None

    @contextmanager
    def _embedded(self) -> Iterator[list[Tensor]]:
        """What the embeddings give becomes a tensor of its own, whose gradient can be asked for; one a pass."""
        made: list[Tensor] = []

        def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            made.append(output.detach().requires_grad_())
            return made[-1]

        handle = self.model.get_input_embeddings().register_forward_hook(hook)
        try:
            yield made
        finally:
            handle.remove()

    def _summed_loss(self, inputs: Inputs, *, label_smoothing: float = 0.0) -> Tensor:
        """Over the supervised positions, in nats, by the path that is taken."""
        if self.plain_head:
            with self._autocast():
                head = self._head_inputs(inputs)
                return linear_cross_entropy(*head, inputs.target_S, label_smoothing=label_smoothing)
        logits_SV = self._logits(inputs)
        return F.cross_entropy(logits_SV, inputs.target_S, reduction="sum", label_smoothing=label_smoothing)

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
        with self.faster or nullcontext(), before(head, lambda hidden_NH: hidden_NH[inputs.index_S]):
            return self._forward(self._unmasked(inputs)).reshape(-1, head.weight.shape[0])

    def _head_inputs(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor | None]:
        """Hidden states at the supervised positions (S, H), and the head's weight and bias. The model's own head sees
        no position, because its logits are not wanted."""
        head = self.model.get_output_embeddings()
        caught = []

        def catch(hidden_NH: Tensor) -> Tensor:
            caught.append(hidden_NH[inputs.index_S])
            return hidden_NH[:0].detach()

        with self.faster or nullcontext(), before(head, catch):
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
        enabled = enabled and self.run.precision == "bf16"
        return torch.autocast(self.model.device.type, torch.bfloat16, enabled=enabled)

    def _collate(self, batch: Batch, *, apart: bool = False) -> Inputs:
        """`apart`: each document of a packed row as a row of its own."""
        return collate(batch, self.model, pad=self.tokenizer.pad_token_id, apart=apart or not self.packs)
