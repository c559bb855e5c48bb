"""Plain Hugging Face weights of a run's result: merged by its method, written, read again, compared."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tunelab.data.tokens.chat import TEMPLATE_FILE
from tunelab.errors import ModelError, RunError
from tunelab.export.check import (
    LIMITS,
    Agreement,
    CheckRows,
    Exact,
    Losses,
    Trained,
    compare,
    mean_loss,
    open_exact,
    plain_session,
)
from tunelab.export.texts import Texts, compare_texts
from tunelab.models.generation_file import authors_notes, write_beside
from tunelab.models.tokenizer_files import write_pieces
from tunelab.records import Located
from tunelab.study.executing.saved import Saved

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tunelab.backends.torch.session import TorchSession

SHARD = "5GB"
LARGEST_LOSS_RISE = 0.5
"""Nats per token that merging a quantised base may cost before it is taken for a broken merge; one into the original
weights costs about what quantising them did."""
LARGEST_LOST_SHARE = 0.1
"""Of the largest change of a logit by training, before rounding is worth a note."""
_HEADER_NAMES = {"F32": "fp32", "BF16": "bf16", "F16": "fp16"}


class Merged(NamedTuple):
    dtype: str
    agreement: Agreement
    losses: Losses | None
    """Of a quantised base only."""
    texts: Texts | None
    notes: tuple[str, ...]


def write_merged(
    opened: Exact, saved: Trained, folder: Path, *, base: Located, dtype: str | None, rows: CheckRows
) -> Merged:
    """Write weights, configuration and tokenizer to `folder`; leaves the opened model unusable.

    Raises:
        RunError: what is read again does not compute what was trained.
        ModelError: the base's own type of weights is none that can be written, and no `dtype` says another.
    """
    import torch

    run, quantised = saved.run, saved.method.base_storage != "float"
    dtype = dtype or _dtype_of_files(base, random=run.model.initialize == "random")
    trained = opened.session.logits(rows.batch)
    trained_loss = _loss(opened.session, rows, saved) if quantised else None
    model = saved.method.merged(opened.session.model)
    _cast(model, torch.float32)
    plain = plain_session(model, run, opened.text)
    limit = None if quantised else LIMITS["fp32"]
    broken = f"this is a defect of {saved.facts['name']}'s merge; export without --merge"
    compare(plain.logits(rows.batch), trained, limit=limit, what="merged, in memory", way_out=broken)
    _cast(model, {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype])
    _untie(model)
    model.save_pretrained(folder, max_shard_size=SHARD)
    config = write_beside(model, opened.text.tokenizer, folder, run.generation)
    notes = authors_notes(model, config)
    write_pieces(base.folder, opened.text.tokenizer, folder)
    if (learned := saved.folder / TEMPLATE_FILE).exists():
        shutil.copy(learned, folder)
    _cast(model, torch.float32)
    rounded = plain.logits(rows.batch)
    limit = None if quantised else LIMITS[dtype]
    compare(rounded, trained, limit=limit, what=f"as {dtype}", way_out="give --dtype fp32")
    del model, plain
    again = reopen(folder, saved, opened)
    logits = again.logits(rows.batch)
    way_out = "transformers does not read what it wrote; export without --merge"
    compare(logits, rounded, limit=LIMITS["fp32"], what="read again", way_out=way_out)
    agreement = compare(logits, trained, limit=limit, what="read again", way_out=way_out)
    losses = None if trained_loss is None else Losses(trained_loss, _loss(again, rows, saved), len(rows.loss_rows))
    if losses is not None and not losses.difference < LARGEST_LOSS_RISE:
        raise RunError(
            f"merged: the loss is {losses.written:.3f}, and that of the quantised model with its adapter "
            f"{losses.trained:.3f} nats per token; export without --merge, and load the adapter on the quantised base"
        )
    texts = compare_texts(again, again.model, folder, asked=rows.asked, text=opened.text)
    if not quantised and dtype != "fp32":
        notes += _lost_to_rounding(opened, saved, rows, trained, agreement, dtype)
    return Merged(dtype, agreement, losses, texts, notes + (texts.notes if texts else ()))


def reopen(folder: Path, saved: Trained, opened: Exact) -> TorchSession:
    """What transformers' AutoModel reads from `folder`, in fp32, as a session."""
    from tunelab.backends.torch.storage import set_storage
    from tunelab.models.load import load_model

    source = saved.run.model.model_copy(update={"name": str(folder), "revision": None, "initialize": "pretrained"})
    model = load_model(source, Located(folder, ""), seed=0).to(opened.session.model.device)
    set_storage(model.requires_grad_(False), precision="fp32")
    return plain_session(model, saved.run, opened.text)


def _lost_to_rounding(
    opened: Exact, saved: Trained, rows: CheckRows, trained: Tensor, agreement: Agreement, dtype: str
) -> tuple[str, ...]:
    """A small update can drown in the rounding of the weights that it is added to."""
    untrained = Saved(*saved)._replace(method=None, folder=None)
    base = open_exact(untrained, saved.run).session.logits(rows.batch)
    learned = float((trained - base).abs().max())
    if agreement.largest_logit_difference <= LARGEST_LOST_SHARE * learned:
        return ()
    lost = f"rounding to {dtype} moved logits by up to {agreement.largest_logit_difference:.1e}"
    return (f"{lost}, and training by up to {learned:.1e}: give --dtype fp32 to keep what was trained",)


def _loss(session: TorchSession, rows: CheckRows, saved: Trained) -> float:
    return mean_loss(session, rows.loss_rows, max_tokens=saved.run.batch.max_tokens)


def _cast(model: nn.Module, dtype) -> None:
    """Parameters only: buffers such as rotary frequencies are not written and keep their precision when read."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(False).data = parameter.data.to(dtype)


def _untie(model) -> None:
    """A head that was trained apart from the embeddings must not be tied to them when it is read again. One word of the
    configuration unties all: what else is one tensor (BART's embeddings of encoder and decoder) is written for each."""
    import torch
    from torch import nn

    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is embeddings.weight:
        return
    model.config.tie_word_embeddings = False  # PEFT has said so already where it merged
    with torch.device("meta"):
        again = type(model)(model.config)
    for name in model.all_tied_weights_keys.keys() - again.all_tied_weights_keys.keys():
        owner, _, leaf = name.rpartition(".")
        weight = model.get_parameter(name)
        setattr(model.get_submodule(owner), leaf, nn.Parameter(weight.detach().clone(), requires_grad=False))


def _dtype_of_files(base: Located, *, random: bool) -> str:
    """The type that most of the base's weights have on disk, from the headers of its safetensors files."""
    if random:
        return "fp32"
    sizes: Counter[str] = Counter()
    for path in sorted(base.folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, entry in header.items():
            if name != "__metadata__":
                sizes[entry["dtype"]] += prod(entry["shape"])
    most = sizes.most_common(1)[0][0]
    if most not in _HEADER_NAMES:
        raise ModelError(f"the base's weights are of type {most}; give --dtype fp32, bf16 or fp16")
    return _HEADER_NAMES[most]
