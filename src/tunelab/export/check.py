"""Whether what was written computes what was trained: logits and losses of both on the same rows, in fp32."""
# S supervised positions of the rows, V vocabulary

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tunelab.config.run import RunConfig
from tunelab.config.schema import ModelSource
from tunelab.contracts import Method
from tunelab.data.tokens.batching import micro_batches
from tunelab.errors import DataError, RunError
from tunelab.records import Batch, Example, TextSide, TokenRow
from tunelab.study.executing.prepare import prepare
from tunelab.study.executing.saved import Saved, open_saved
from tunelab.study.planning.plan import parts

if TYPE_CHECKING:
    from torch import Tensor

    from tunelab.backends.torch.session import TorchSession

EXACT = {"backend": "torch", "precision": "fp32", "weights": "fp32", "activation_checkpointing": False}
NUM_ROWS = 4
NUM_ASKED = 5
"""Prompts."""
NUM_LOSS_ROWS = 200
FIXED_LENGTH = 24
"""Tokens of a row that stands in for data that is gone."""
NUM_BEGUN = 8
"""Tokens of a document that a text goes on from."""
LIMITS = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2}
"""Largest difference of two logits, as a share of the largest logit, when one model's weights have that type."""


class Trained(NamedTuple):
    """A finished run and its saved model: a `Saved` that lacks nothing, so that Saved(*trained) is one."""

    source: ModelSource
    """The base model."""
    method: Method
    facts: dict[str, Any]
    """The method as run.json has it: name, label, its own fields."""
    folder: Path
    """What the method wrote."""
    run: RunConfig


class Exact(NamedTuple):
    """A model in fp32, to be asked for logits: rounding of products would hide what writing got wrong."""

    session: TorchSession
    text: TextSide


class Asked(NamedTuple):
    ids: np.ndarray
    """The prompt as the study's model is given it."""
    example: Example | None
    """None: tokens that stand for data that is gone."""


class CheckRows(NamedTuple):
    batch: Batch
    """For logits."""
    loss_rows: tuple[TokenRow, ...]
    kind: str
    """'test' rows of the run's task, or 'fixed' tokens."""
    asked: tuple[Asked, ...]
    """For texts."""


class Agreement(NamedTuple):
    """Two models on the same rows."""

    largest_logit_difference: float
    share_of_largest_logit: float
    limit: float | None
    """Of the share; None: they are not expected to be equal, and the losses tell."""


class Losses(NamedTuple):
    """Mean over supervised tokens, in nats."""

    trained: float
    written: float
    num_rows: int

    @property
    def difference(self) -> float:
        return self.written - self.trained


def open_exact(saved: Saved, run: RunConfig) -> Exact:
    """Under the settings of `run`, but in fp32.

    Raises:
        ModelError: as `open_saved`.
    """
    from tunelab.backends.torch.session import TorchSession

    opened = open_saved(saved, run.model_copy(update=EXACT))
    assert isinstance(opened.session, TorchSession)
    return Exact(opened.session, opened.text)


def check_rows(run: RunConfig, text: TextSide, *, vocabulary: int) -> CheckRows:
    """A few of the task's test rows, short and long; where the data is gone, tokens that are always the same."""
    try:
        data = prepare(parts(run).task, text, run, training=False)
        rows, kind = data.test_rows, "test"
        first = zip(data.test_prompts, data.test, rows, strict=False)  # a long document has several rows
        asked = [_asked(*one) for one in islice(first, NUM_ASKED)]
    except DataError:
        rows, kind = _fixed_rows(vocabulary, encoder_decoder=text.encoder_decoder), "fixed"
        asked = [Asked(row.ids if row.source is None else row.source, None) for row in rows]
    ordered = sorted(rows, key=lambda row: row.num_tokens)
    places = sorted({round(place) for place in np.linspace(0, len(ordered) - 1, NUM_ROWS)})
    return CheckRows(Batch(tuple(ordered[place] for place in places)), tuple(rows[:NUM_LOSS_ROWS]), kind, tuple(asked))


def compare(written: Tensor, trained: Tensor, *, limit: float | None, what: str, way_out: str) -> Agreement:
    """Logits of shape (S, V).

    Raises:
        RunError: they differ by more than `limit`, or are no numbers.
    """
    largest = float((written - trained).abs().max())
    share = largest / max(float(trained.abs().max()), 1e-6)
    if not np.isfinite(share):
        raise RunError(f"{what}: logits are not finite; {way_out}")
    if limit is not None and share > limit:
        raise RunError(
            f"{what}: logits differ by {largest:.1e}, {share:.1e} of the largest, and no more than {limit:.0e} can be "
            f"rounding; {way_out}"
        )
    return Agreement(largest, share, limit)


def mean_loss(session: TorchSession, rows: Sequence[TokenRow], *, max_tokens: int) -> float:
    losses = session.evaluate(micro_batches(list(rows), max_tokens=max_tokens))
    return sum(loss.loss_sum for loss in losses) / sum(loss.num_tokens for loss in losses)


def plain_session(model: Any, run: RunConfig, text: TextSide) -> TorchSession:
    """A model that nothing is attached to, ready to be asked for logits in fp32, whatever the run computed in."""
    from tunelab.backends.torch.session import TorchSession

    return TorchSession(model, None, run.model_copy(update=EXACT), text.tokenizer, [])


def _asked(prompt: np.ndarray, example: Example, row: TokenRow) -> Asked:
    """A document is asked by its beginning."""
    return Asked(prompt, example) if example.prompt or example.turns else Asked(row.ids[:NUM_BEGUN], None)


def _fixed_rows(vocabulary: int, *, encoder_decoder: bool) -> list[TokenRow]:
    generator = np.random.default_rng(0)
    rows = []
    for number in range(NUM_ROWS):
        ids = generator.integers(0, vocabulary, FIXED_LENGTH).astype(np.int32)
        source = generator.integers(0, vocabulary, FIXED_LENGTH).astype(np.int32) if encoder_decoder else None
        supervised = np.ones(FIXED_LENGTH, dtype=bool)
        supervised[0] = encoder_decoder  # nothing predicts the first token of a decoder-only row
        rows.append(TokenRow(number, ids, supervised, source))
    return rows
