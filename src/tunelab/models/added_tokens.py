"""Tokens that a study adds to its model (`model: {tokens: [...]}`): their rows in the embedding and in the output head,
and the training of these rows alone where a method leaves the matrices frozen."""
# K added tokens, V vocabulary, H hidden size

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from tunelab.config.schema import ModelSource
from tunelab.errors import ConfigError
from tunelab.models.fused_parts import ends_with

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tunelab.contracts import Method

Indices = tuple[int, ...] | Mapping[str, tuple[int, ...]]
"""Token ids, or those by the module of which."""
ADDED = "added_tokens"
"""An attribute of a model: the ids, where a study adds tokens."""


class TokenRows(nn.Module):
    """An embedding, or an output head, of which the rows of some tokens are trained and nothing else."""

    ids: Tensor

    def __init__(self, base: Any, tokens: tuple[int, ...], rows: nn.Parameter) -> None:
        """`rows`: (K, H); the same one for modules that are tied."""
        super().__init__()
        self.base = base
        self.tokens = tokens
        self.rows = rows
        self.register_buffer("ids", torch.tensor(tokens, device=rows.device), persistent=False)
        if isinstance(base, nn.Embedding):
            base.padding_idx = None  # it says which row gets no gradient; here it would be looked for in K rows

    @property
    def weight(self) -> Tensor:
        """(V, H), made anew each time: all frozen rows, and these in their places; differentiable in these."""
        weight = self.base.weight
        return weight.index_copy(0, self.ids, self.rows.to(weight.dtype))

    @property
    def bias(self) -> Tensor | None:
        return getattr(self.base, "bias", None)

    @property
    def shape(self) -> tuple[int, int]:
        return tuple(self.base.weight.shape)

    @property
    def rows_changed(self) -> tuple[slice, ...]:
        """As an adapted layer of parts."""
        return tuple(slice(number, number + 1) for number in self.tokens)

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(self.base, nn.Embedding):
            return F.linear(x, self.weight, self.bias)
        found = self.base(x)
        here = x.unsqueeze(-1) == self.ids  # a handful of tokens
        rows = {"weight": self.rows.to(self.base.weight.dtype)}  # by the layer's own code: Gemma's multiplies
        own = functional_call(self.base, rows, (here.int().argmax(-1),))
        return torch.where(here.any(-1, keepdim=True), own.to(found.dtype), found)


def described(source: ModelSource) -> dict[str, str]:
    """Token -> the words that its row starts from; none: the mean of all rows."""
    return dict(source.tokens) if isinstance(source.tokens, Mapping) else dict.fromkeys(source.tokens, "")


def add_rows(model: PreTrainedModel, tokenizer: Any, source: ModelSource) -> None:
    """Rows of the embedding, and of a head of its own, for the tokens of a study, which its tokenizer has
    (models/load.py): the mean of all rows before, or of those of the description's tokens. Rows that a padded
    vocabulary has in store are used first. In place."""
    start = described(source)
    ids = tokenizer.convert_tokens_to_ids(list(start))
    embedding: Any = model.get_input_embeddings()
    if max(ids) >= len(embedding.weight):
        model.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    for matrix in _matrices(model):
        with torch.no_grad():
            mean_H = matrix[: min(ids)].float().mean(0)
            for number, words in zip(ids, start.values(), strict=True):
                read = tokenizer(words, add_special_tokens=False)["input_ids"] if words else []
                known = [token for token in read if token not in ids]
                matrix[number] = (matrix[known].float().mean(0) if known else mean_H).to(matrix.dtype)
    setattr(model, ADDED, tuple(ids))


def reserve_rows(model: PreTrainedModel, source: ModelSource) -> None:
    """As `add_rows` of a model without weights whose tokenizer is not at hand: as many rows more as tokens."""
    old = len(model.get_input_embeddings().weight)  # pyright: ignore[reportArgumentType]
    model.resize_token_embeddings(old + len(source.tokens), mean_resizing=False)
    setattr(model, ADDED, tuple(range(old, old + len(source.tokens))))


def train_rows(model: PreTrainedModel) -> None:
    """Of the added tokens, in every matrix that is frozen; again where another method takes over."""
    ids = getattr(model, ADDED, ())
    if not ids:
        return
    for module in token_rows(model).values():
        module.rows.requires_grad_(True)
    for matrix in _matrices(model):
        if not matrix.requires_grad:
            _wrap(model, matrix, ids)


def train_indices(model: PreTrainedModel, indices: Indices) -> None:
    """The rows of these token ids alone: of the embedding, or of what is named by the end of its path, the embedding or
    the output head; what is tied to it stays so. PEFT's `trainable_token_indices`.

    Raises:
        ConfigError: another name, an id without a row, rows that are trained already.
    """
    option = "trainable_token_indices"
    if not indices:
        return
    if getattr(model, ADDED, ()):
        raise ConfigError(f"{option}: model.tokens trains the rows of the tokens that it adds; leave one of them out")
    sides = [module for module in (model.get_input_embeddings(), model.get_output_embeddings()) if module is not None]
    paths = {path: module for path, module in model.named_modules() if module in sides}
    chosen = indices if isinstance(indices, Mapping) else {next(iter(paths)): indices}
    done: dict[nn.Parameter, tuple[int, ...]] = {}
    for name, ids in chosen.items():
        module: Any = next((module for path, module in paths.items() if ends_with(path, name)), None)
        if module is None:
            there = ", ".join(path.rpartition(".")[2] for path in paths)
            raise ConfigError(f"{option}: '{name}' is neither the embedding nor the output head: {there}")
        matrix = module._parameters.get("weight")
        if matrix in done and done[matrix] == tuple(ids):  # the same matrix by its other name
            continue
        if matrix is None or matrix.requires_grad or matrix in done:
            raise ConfigError(f"{option}: the rows of '{name}' are trained already; name it once, and not in `also`")
        if not ids or len(set(ids)) < len(ids):
            raise ConfigError(f"{option}: {list(ids)} of '{name}': name one token at least, and each once")
        if max(ids) >= len(matrix):
            raise ConfigError(f"{option}: {max(ids)} is no token of '{name}', which has rows 0 to {len(matrix) - 1}")
        done[matrix] = tuple(ids)
        _wrap(model, matrix, done[matrix])


def _wrap(model: PreTrainedModel, matrix: nn.Parameter, ids: tuple[int, ...]) -> None:
    """TokenRows in the place of every module that holds the matrix."""
    rows, made = nn.Parameter(matrix.detach()[list(ids)].to(torch.float32, copy=True)), {}
    for path, module in list(_holders(model, matrix)):
        model.set_submodule(path, made.setdefault(module, TokenRows(module, ids, rows)))


def check_trained(model: PreTrainedModel, method: Method) -> None:
    """
    Raises:
        ConfigError: a method that trains leaves the rows of added tokens as they are.
    """
    if method.trains and getattr(model, ADDED, ()) and any(not matrix.requires_grad for matrix in _matrices(model)):
        name = type(method).__module__.rpartition(".")[2]
        raise ConfigError(
            f"model.tokens: {name} leaves their rows as they are, and they would mean nothing; use lora, qlora, rosa "
            "or dora, or a method that trains the embedding"
        )


def token_rows(model: PreTrainedModel) -> dict[str, TokenRows]:
    """Module path -> module; of tied ones the first."""
    found: dict[nn.Parameter, tuple[str, TokenRows]] = {}
    for path, module in model.named_modules():
        if isinstance(module, TokenRows):
            found.setdefault(module.rows, (path, module))
    return dict(found.values())


def fold_rows(model: PreTrainedModel) -> None:
    """Plain fp32 matrices with the trained rows in place of TokenRows. In place; what was tied stays tied."""
    plain: dict[nn.Parameter, nn.Parameter] = {}
    wrapped = [
        (path, each) for path, each in model.named_modules(remove_duplicate=False) if isinstance(each, TokenRows)
    ]
    for path, module in wrapped:
        rows = module.rows
        if rows not in plain:
            whole = module.base.weight.detach().float().index_copy(0, module.ids, rows.detach().float())
            plain[rows] = nn.Parameter(whole, requires_grad=False)
        module.base.weight = plain[rows]
        model.set_submodule(path, module.base)


def _matrices(model: PreTrainedModel) -> list[nn.Parameter]:
    """The embedding's and the head's weights, a tied one once; of TokenRows none."""
    modules = (model.get_input_embeddings(), model.get_output_embeddings())
    found = (module._parameters.get("weight") for module in modules if module is not None)
    return list(dict.fromkeys(matrix for matrix in found if matrix is not None))


def _holders(model: PreTrainedModel, matrix: nn.Parameter) -> Iterator[tuple[str, nn.Module]]:
    for path, module in model.named_modules(remove_duplicate=False):
        if module._parameters.get("weight") is matrix:
            yield path, module
