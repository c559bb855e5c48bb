"""Full fine-tuning: every weight (or those named), held in fp32 or bf16, by AdamW, 8-bit AdamW or Adafactor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PositiveFloat

from tunelab.contracts import OptimizerKind
from tunelab.errors import ConfigError
from tunelab.models.whole import WholeModel, train_all, train_part
from tunelab.records import LowRank

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Full(WholeModel):
    learning_rate: PositiveFloat = 2.0e-5
    """Customary for models of 0.1 to 10 billion weights; small models want 10 to 50 times more."""

    optimizer: Literal["adamw", "adamw8bit", "adafactor"] = "adamw"
    """Bytes of optimizer state a weight: 8, about 2 (Dettmers et al. 2022, arXiv:2110.02861), or nearly none: a row and
    a column for each matrix (Shazeer and Stern 2018, arXiv:1804.04235). Adafactor's learning rate is relative to the
    size of the weights: it wants 100 times AdamW's or more."""

    only: str | tuple[str, ...] = ()
    """What of the model is trained; empty: all. Embeddings, head, norms, biases (BitFit, Ben Zaken et al. 2022,
    arXiv:2106.10199), ends of module paths, or as one text a regular expression for whole module paths."""
    freeze: str | tuple[str, ...] = ()
    """What of that is not trained, named in the same way."""

    hidden_at_default: ClassVar[tuple[str, ...]] = ("only", "freeze")
    parallel: ClassVar[bool] = True
    narrow_weights: ClassVar[bool] = True
    shards: ClassVar[bool] = True

    @property
    def documented_rate(self) -> float:
        usual = super().documented_rate
        return 100 * usual if self.optimizer == "adafactor" else usual

    @property
    def optimizer_kind(self) -> OptimizerKind:
        return self.optimizer

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        train_all(model)
        if self.only or self.freeze:
            train_part(model, only=self.only, freeze=self.freeze)
        return model

    def low_rank(
        self, layers: Mapping[str, tuple[int, int]], config: Mapping[str, Any]
    ) -> dict[str, tuple[LowRank, ...]] | None:
        if self.only or self.freeze:
            raise ConfigError("only, freeze: to train a part of the model needs torch; leave them out")
        return None
