"""One model being trained by Jittor: backward and update for the loop, losses and text for evaluation."""
# S supervised positions of a batch, H hidden, I in, O out, R rank

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tunelab.backend_contract import Session
from tunelab.backends.jittor.adamw import AdamW, copied
from tunelab.backends.jittor.architecture import architecture, factors_of
from tunelab.backends.jittor.framework import jt, num_kernels
from tunelab.backends.jittor.generation import GENERATION_BATCH, generate
from tunelab.backends.jittor.head import Summed, token_losses
from tunelab.backends.jittor.inputs import Collated, collate
from tunelab.backends.jittor.lora import Adapter, read_adapter, write_adapter
from tunelab.backends.jittor.network import Network
from tunelab.backends.jittor.weights import (
    generation_settings,
    read_model,
    read_tensors,
    read_whole,
    write_tensors,
    write_text_side,
    write_whole,
)
from tunelab.config.run import RunConfig
from tunelab.config.schema import Generation
from tunelab.contracts import Method
from tunelab.data.tokens.packing import documents
from tunelab.errors import RunError
from tunelab.models.choosing import Chooser, Text
from tunelab.models.generation_file import end_tokens
from tunelab.records import Batch, Decoded, Located, ParameterCount, TextSide, TokenLoss

MIB = 1024**2
TOLERANCE = 1e-3
"""Largest difference of two losses of a row, as a share, computed in two ways."""


def open_session(
    run: RunConfig, method: Method | None, *, located: Located, text: TextSide, notes: list[str]
) -> JittorSession:
    """As Backend.session."""
    configuration = json.loads((located.folder / "config.json").read_text(encoding="utf-8"))
    each = architecture(run.model, configuration)
    network = Network(each, read_model(located.folder, each))
    return JittorSession(network, method, run, located=located, tokenizer=text.tokenizer, notes=notes)


class JittorSession(Session):
    def __init__(
        self,
        network: Network,
        method: Method | None,
        run: RunConfig,
        *,
        located: Located,
        tokenizer: Any,
        notes: list[str],
    ) -> None:
        self.model = network
        self.method, self.run, self.located, self.tokenizer, self.notes = method, run, located, tokenizer, notes
        self.generation_config = generation_settings(located.folder)
        found = None if method is None else factors_of(network.architecture, method)
        dropout = getattr(method, "dropout", 0.0)
        self.adapters = {
            path: Adapter(factors, outputs=network.outputs(path), seed=run.seed, dropout=dropout)
            for path, factors in (found or {}).items()
        }
        network.changes.update(self.adapters)
        self._parameters = self._trained()
        self._rates = {name: method.rate_of(name) for name in self._parameters} if method is not None else {}
        self._gradients: dict[str, Any] = {}
        self._norm: float | None = None
        self.restart()

    def _trained(self) -> dict[str, Any]:
        """Name -> what moves."""
        if self.method is None:
            return {}
        if not self.adapters:
            return self.model.weights
        return {name: value for adapter in self.adapters.values() for name, value in adapter.parameters().items()}

    # -------------------------------------------------------------- training

    def restart(self) -> None:
        self._gradients, self._norm = {}, None
        self.updater = AdamW(self._parameters, self.run.optimizer, rates=self._rates) if self._parameters else None

    def seed(self, *key: int) -> None:
        jt.set_global_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint32)[0] >> 1))

    def accumulate(self, batch: Batch, *, denominator: float, last: bool) -> float:
        inputs = self._collate(batch)
        hidden_SH = self._hidden(inputs, training=True)
        head = self.model.head_name
        with jt.no_grad():  # stop_grad() would be the weight's own from here on
            summed = Summed(
                hidden_SH, self.model.head_VH, inputs.target_S,
                smoothing=self.run.loss.label_smoothing, trained=head in self._parameters,
            )  # fmt: skip
        names = list(self._parameters)
        pulled = (hidden_SH * summed.grad_SH.stop_grad()).sum() * (1.0 / denominator)
        found = dict(zip(names, jt.grad(pulled, [self._parameters[name] for name in names]), strict=True))
        if summed.grad_VH is not None:
            found[head] = found[head] + summed.grad_VH * (1.0 / denominator)
        if self._gradients:
            found = {name: self._gradients[name] + value for name, value in found.items()}
        jt.sync(list(found.values()))
        self._gradients, self._norm = {name: value.stop_grad() for name, value in found.items()}, None
        return summed.loss

    def gradient_norm(self) -> float:
        if self._norm is None:
            squares = [(value.float64() * value.float64()).sum() for value in self._gradients.values()]
            self._norm = math.sqrt(math.fsum(float(value) for value in jt.concat(squares).numpy()))
        return self._norm

    def update(self, *, learning_rate: float, max_norm: float | None) -> None:
        assert self.updater is not None, "nothing is trained here"
        self.updater.update(self._gradients, learning_rate=learning_rate, norm=self.gradient_norm(), max_norm=max_norm)
        self._gradients, self._norm = {}, None

    def optimizer(self) -> list[dict[str, Any]]:
        return [] if self.updater is None else self.updater.describe()

    def num_kernels(self) -> int:
        return num_kernels()

    # -------------------------------------------------------------- evaluation

    def verify(self, batch: Batch) -> None:
        """Rows that share a batch, padded or packed, against each document alone, by logits and a softmax of numpy.

        Raises:
            RunError: they differ, so that nothing computed here would mean anything.
        """
        for row in batch.rows:
            loss = self._losses([batch])[row.example]
            alone = sum(self._loss_by_numpy(Batch((document,))) for document in documents(row))
            if abs(loss.loss_sum - alone) > TOLERANCE * max(1.0, abs(alone)):
                numbers = f"{loss.loss_sum:.6g} nats in a batch, {alone:.6g} alone"
                raise RunError(
                    f"Jittor computes wrong values on this machine ({numbers}); tunelab doctor --prepare jittor"
                )

    def _loss_by_numpy(self, batch: Batch) -> float:
        inputs = self._collate(batch)
        if not len(inputs.target_S):
            return 0.0
        with jt.no_grad():
            logits_SV = self.model.logits(self._hidden(inputs, training=False)).numpy().astype(np.float64)
        logits_SV -= logits_SV.max(axis=1, keepdims=True)
        found = np.log(np.exp(logits_SV).sum(axis=1)) - logits_SV[np.arange(len(logits_SV)), inputs.target_S]
        return float(found.sum())

    def evaluate(self, batches: Iterable[Batch]) -> list[TokenLoss]:
        losses = self._losses(batches)
        return [losses[example] for example in sorted(losses)]

    def _losses(self, batches: Iterable[Batch]) -> dict[int, TokenLoss]:
        losses: dict[int, TokenLoss] = {}
        for batch in batches:
            inputs = self._collate(batch)
            with jt.no_grad():
                hidden_SH = self._hidden(inputs, training=False)
                loss_S = token_losses(hidden_SH, self.model.head_VH, inputs.target_S)
            sums = np.bincount(inputs.row_S, weights=loss_S, minlength=len(batch.rows)).tolist()
            for row, total in zip(batch.rows, sums, strict=True):
                known = losses.get(row.example, TokenLoss(0.0, 0))  # a long document lies in several rows
                losses[row.example] = TokenLoss(known.loss_sum + total, known.num_tokens + row.num_supervised)
        return losses

    def generate(
        self,
        prompts: Sequence[np.ndarray],
        settings: Generation,
        *,
        progress: Callable[[Decoded], None],
        examples: Sequence[int] | None = None,
    ) -> list[list[int]]:
        places = range(len(prompts)) if examples is None else examples
        texts = [
            Text(number, ids, settings=settings, seed=(self.run.seed, place))
            for number, (ids, place) in enumerate(zip(prompts, places, strict=True))
        ]
        choose = Chooser(settings, end_tokens(self, self.tokenizer))
        budget = GENERATION_BATCH * self.run.batch.max_tokens
        generate(self.model, texts, choose, pad=self.tokenizer.pad_token_id, max_tokens=budget, progress=progress)
        return [text.new for text in texts]

    def plain_model(self) -> Any:
        return self.model

    def _hidden(self, inputs: Collated, *, training: bool) -> Any:
        """At the supervised positions, shape (S, H)."""
        return self.model.hidden(inputs.inputs, training=training)[jt.array(inputs.index_S)]

    def _collate(self, batch: Batch) -> Collated:
        pad, vocabulary = self.tokenizer.pad_token_id, self.model.architecture.vocabulary
        return collate(batch, pad=pad, vocabulary=vocabulary)

    # -------------------------------------------------------------- state

    def save(self, folder: Path) -> None:
        assert self.updater is not None
        write_tensors(folder / "parameters.safetensors", self._values())
        write_tensors(folder / "updater.safetensors", self.updater.state())

    def load(self, folder: Path) -> None:
        assert self.updater is not None
        self._put(read_tensors(folder / "parameters.safetensors"))
        self.updater.load_state(read_tensors(folder / "updater.safetensors"))

    def _values(self) -> dict[str, np.ndarray]:
        return {name: copied(value) for name, value in self._parameters.items()}

    def _put(self, values: dict[str, np.ndarray]) -> None:
        for name, parameter in self._parameters.items():
            parameter.update(jt.array(values[name]))

    def write_model(self, folder: Path) -> float:
        if self.adapters:
            architecture, base = self.model.architecture, self.run.model.name
            write_adapter(
                folder, self.method, self.adapters, self._values(), architecture=architecture, base_model=base
            )
        else:
            write_whole(folder, self._values(), base=self.located.folder)
        write_text_side(folder, self.generation_config, self.tokenizer, self.run.generation)
        return sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / MIB

    def read_model(self, folder: Path) -> None:
        if self.adapters:
            self._put(read_adapter(folder, self.adapters))
        else:
            self._put(read_whole(folder, self.model.architecture))

    def parameters(self) -> ParameterCount:
        added = sum(math.prod(value.shape) for each in self.adapters.values() for value in each.parameters().values())
        trained = sum(math.prod(value.shape) for value in self._parameters.values())
        return ParameterCount(trained, added + sum(math.prod(value.shape) for value in self.model.weights.values()))
