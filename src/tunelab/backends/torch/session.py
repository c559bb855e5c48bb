"""One model being trained by PyTorch: backward and update for the loop, losses and text for evaluation."""
# S supervised positions of the batch, V vocabulary

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tunelab import device
from tunelab.backend_contract import Session, Updater
from tunelab.backends.torch.faster import Faster
from tunelab.backends.torch.generation import LIMITS, folded, largest_difference, probes
from tunelab.backends.torch.idle import idle_notes
from tunelab.backends.torch.paths import PLAIN_HEADS, Paths
from tunelab.backends.torch.storage import parameter_count, set_storage, write_tensors
from tunelab.config.run import RunConfig
from tunelab.config.schema import Generation
from tunelab.contracts import Method
from tunelab.data.tokens.encoded import label_edges
from tunelab.errors import NoMemory, OutOfMemory
from tunelab.kernels.linear_cross_entropy import token_losses
from tunelab.models import inference
from tunelab.models.generation_file import end_tokens, write_beside
from tunelab.models.hiding import frozen_but
from tunelab.models.limits import generation_tokens
from tunelab.records import Batch, Decoded, ParameterCount, TokenLoss
from tunelab.training.composite import updater_of
from tunelab.training.narrow.loss_scale import LossScale
from tunelab.training.optim import trained_parameters
from tunelab.training.ranks import put_whole

if TYPE_CHECKING:
    from tunelab.backend_contract import Order

MIB = 1024**2


class TorchSession(Paths, Session):
    sharded = False
    """Whether each rank holds a part of the weights (ranks/sharded.py)."""

    def __init__(self, model: Any, method: Method | None, run: RunConfig, tokenizer: Any, notes: list[str]) -> None:
        super().__init__(model, run, tokenizer, notes)
        self.method = method
        self.updater: Updater | None = None
        self._earlier: list[dict[str, Any]] = []
        """What the updaters of earlier parts said of themselves."""
        self._counts: list[ParameterCount] = []
        """Parameters of earlier parts."""
        self.restart()
        self._generator: Any = None  # what generates, made when first needed after a change

    # -------------------------------------------------------------- training

    @property
    def _attached(self) -> Method:
        """The method of a session that has one; an untouched base is only evaluated."""
        assert self.method is not None
        return self.method

    @property
    def _rule(self) -> Updater:
        assert self.updater is not None, "nothing is trained here"
        return self.updater

    def restart(self) -> None:
        self._is_first, self._looks = True, False
        self._scale = LossScale() if self.run.precision == "fp16" else None
        self._is_scaled = False
        if self.method is not None and self.method.trains:
            self.updater = updater_of(self.method, self.model, self.run.optimizer)

    def part_at(self, number: int, num_steps: int) -> int:
        return self._attached.part_at(number, num_steps)

    def enter(self, part: int, order: Order, *, resumed: bool = False) -> None:
        for following in range(self.part + 1, part + 1):
            self._earlier = self.optimizer()
            self._counts.append(parameter_count(self.model))
            self.updater = self._generator = None  # before the next part is attached: what they hold is large
            self.model = self._attached.enter(self.model, following, seed=self.run.seed)
            set_storage(self.model, precision=self.run.precision)
            self.part = following
            self.plain_head = self.plain_head and type(self.model.get_output_embeddings()) in PLAIN_HEADS
            self.faster = None if self.faster is None else Faster(self.model)
            self.restart()
        if not resumed:
            self._attached.prepare(self, order, self.run)

    def rate(self) -> float:
        return self._attached.rate_in(self.part)

    def combine(self, folders: Sequence[Path], *, validation_loss: Callable[[], float]) -> None:
        self.notes += self._attached.combine(self.model, folders, seed=self.run.seed, validation_loss=validation_loss)
        self._generator = None

    def verify(self, batch: Batch) -> None:
        super().verify(batch)
        if self.updater is not None:  # a layer may keep the gradient of its weight itself
            self.forget()
        device.release(self.model.device)  # full logits, which training never has

    def seed(self, *key: int) -> None:
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))

    def accumulate(self, batch: Batch, *, denominator: float, last: bool) -> Tensor:
        """The loss stays on the device."""
        self.model.train()
        self._generator = None
        if not self._looks:
            self._rule.before_backward(last=last)
            self._is_scaled = self._scale is not None
        inputs = self._inputs(batch)
        factor = (self.loss_scale or 1.0) / denominator
        with self.faster_at(inputs):
            loss = self._summed_loss(
                inputs,
                label_smoothing=self.run.loss.label_smoothing,
                gradient_factor=1.0 if self.loss_scale is None else factor,
            )
            if loss.requires_grad or not self._looks:  # what is looked for may have no part in this micro-batch
                (loss / denominator if self.loss_scale is None else loss * factor).backward()
        return loss.detach().double()

    def accumulate_shares(
        self, shares: Sequence[Sequence[Batch]], *, denominator: int, key: tuple[int, ...], rank: int = 0
    ) -> SupportsFloat:
        found: list[SupportsFloat] = []

        def work() -> None:
            found.append(Session.accumulate_shares(self, shares, denominator=denominator, key=key, rank=rank))

        if not device.fits(work, on=device.chosen()):
            raise OutOfMemory("memory ran out while a step was computed")
        return found[0]

    @property
    def loss_scale(self) -> float | None:
        return None if self._scale is None else self._scale.value

    def wants_look(self, *, num_batches: int) -> bool:
        return self._rule.wants_look(num_batches=num_batches)

    @contextmanager
    def look(self) -> Iterator[None]:
        self._looks = True
        try:
            with frozen_but(self.model, ()), self._rule.look():
                yield
        finally:
            self._looks = False

    def _unscale(self) -> None:
        """Once a step: from here on its gradients are what they are without a loss scale, for whoever reads them."""
        if self._is_scaled and (found := self._rule.gradients()):
            torch._foreach_mul_(found, 1.0 / (self.loss_scale or 1.0))  # pyright: ignore[reportPrivateImportUsage]
        self._is_scaled = False

    def gradient_norm(self) -> float:
        self._unscale()
        return float(self._rule.gradient_norm())

    def update(self, *, learning_rate: float, max_norm: float | None) -> None:
        self.notes += idle_notes(self.model) if self._is_first else ()
        self._is_first = False
        self._unscale()

        def work() -> None:
            self._rule.update(learning_rate=learning_rate, max_norm=max_norm)

        if not device.fits(work, on=device.chosen()):
            rule = "smaller batches do not help; an optimizer with smaller states (adamw8bit, adafactor) does"
            raise NoMemory(f"memory ran out while the optimizer moved the weights: {rule}, or another method")
        if self._scale is not None:
            self._scale.step(overflowed=False)

    def forget(self) -> None:
        self._is_scaled = False
        self._rule.forget()

    def skip(self) -> None:
        assert self._scale is not None, "gradients are not scaled"
        self.forget()
        self._scale.step(overflowed=True)

    def optimizer(self) -> list[dict[str, Any]]:
        return [*self._earlier, *([] if self.updater is None else self.updater.describe())]

    # -------------------------------------------------------------- evaluation

    def evaluate(self, batches: Iterable[Batch]) -> list[TokenLoss]:
        losses = self.losses(batches)
        return [losses[example] for example in sorted(losses)]

    def losses_of_share(self, shares: Sequence[Sequence[Batch]], rank: int) -> dict[int, TokenLoss]:
        """`losses` of what this rank has of the batches."""
        return self.losses(shares[rank])

    def losses(self, batches: Iterable[Batch]) -> dict[int, TokenLoss]:
        """By example."""
        self.model.eval()
        losses: dict[int, TokenLoss] = {}
        for batch in batches:
            inputs = self._inputs(batch)
            with torch.no_grad():
                if self.plain_head:
                    with self._autocast():
                        loss_S = token_losses(*self._head_inputs(inputs), inputs.target_S).double()
                else:
                    loss_S = F.cross_entropy(self._logits(inputs), inputs.target_S, reduction="none").double()
                zeros = torch.zeros(len(batch.rows), dtype=torch.float64, device=loss_S.device)
                sums = zeros.index_add(0, inputs.row_S, loss_S).tolist()
            for row, total in zip(batch.rows, sums, strict=True):
                known = losses.get(row.example, TokenLoss(0.0, 0))  # a long document lies in several rows
                losses[row.example] = TokenLoss(known.loss_sum + total, known.num_tokens + row.num_supervised)
        return losses

    def logits(self, batch: Batch) -> Tensor:
        """The model's own, of evaluation mode, at the supervised positions: fp32, shape (S, V)."""
        self.model.eval()
        with torch.no_grad():
            return self._reference_logits(self._collate(batch))

    def generate(
        self,
        prompts: Sequence[np.ndarray],
        settings: Generation,
        *,
        progress: Callable[[Decoded], None],
        examples: Sequence[int] | None = None,
    ) -> list[list[int]]:
        plain = self.plain_model(prompts)
        with self._autocast(enabled=plain is self.model):
            return inference.generate(
                plain,
                inference.Prompts(prompts, self.run.seed, examples),
                settings,
                ends=end_tokens(self.model, self.tokenizer),
                first=label_edges(self.tokenizer).start if self.pairs else (),
                pad=self.tokenizer.pad_token_id,
                max_tokens=generation_tokens(self.run.batch.max_tokens, on_cpu=self.model.device.type == "cpu"),
                progress=progress,
                note=self.notes.append,
            )

    def plain_model(self, prompts: Sequence[np.ndarray] = ()) -> Any:
        if self._generator is None:
            self.model.eval()
            rows = probes(prompts, self.model.config.vocab_size, pairs=self.pairs)
            inputs = [self._collate(Batch((row,)), apart=True) for row in rows]
            self._generator = folded(
                self.model,
                self.method,
                self.notes,
                differs=lambda plain: largest_difference(plain, self._reference_logits, inputs),
                limit=LIMITS[self.run.precision],
            )
        return self._generator.eval()

    # -------------------------------------------------------------- state

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All that the next step depends on, by kind and name."""
        method, rule = self._attached.state(self.model), self._rule.state()
        own = {"most_tokens": torch.tensor(self.most_tokens or 0)}
        if self._scale is not None:
            own["loss_scale"] = torch.tensor([self._scale.value, self._scale.good_steps], dtype=torch.float64)
        return {"parameters": dict(trained_parameters(self.model)), "method": method, "updater": rule, "session": own}

    def put_back(self, tensors: dict[str, dict[str, Tensor]]) -> None:
        """What `tensors` gave, whole ones."""
        self._attached.load_state(self.model, tensors["method"])
        for name, parameter in trained_parameters(self.model).items():
            put_whole(parameter, tensors["parameters"][name])
        self._rule.load_state(tensors["updater"])
        own = tensors.get("session", {})  # checkpoints of older versions have none
        self.most_tokens = int(own.get("most_tokens", 0)) or None
        if self._scale is not None and "loss_scale" in own:
            self._scale.value, self._scale.good_steps = own["loss_scale"][0].item(), int(own["loss_scale"][1])
        self._generator = None

    def save(self, folder: Path) -> None:
        for kind, tensors in self.tensors().items():
            write_tensors(folder / f"{kind}.safetensors", tensors)

    def load(self, folder: Path) -> None:
        from safetensors.torch import load_file

        kinds = ("parameters", "method", "updater", "session")
        files = {kind: folder / f"{kind}.safetensors" for kind in kinds}
        self.put_back({kind: load_file(file) for kind, file in files.items() if kind != "session" or file.exists()})

    def write_model(self, folder: Path) -> float:
        self._attached.save(self.model, folder)
        write_beside(self.model, self.tokenizer, folder, self.run.generation)
        return sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / MIB

    def read_model(self, folder: Path) -> None:
        self._attached.load(self.model, folder)
        set_storage(self.model, precision=self.run.precision)  # what lies in files has the dtypes of its training
        self._generator = None

    def parameters(self) -> ParameterCount:
        """Of a method of several parts the part with the most."""
        counts = [*self._counts, parameter_count(self.model)]
        trains = self.method is None or self.method.trains
        trainable = max(count.trainable for count in counts) if trains else 0
        return ParameterCount(trainable, max(count.total for count in counts))
