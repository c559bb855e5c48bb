"""A model's answers to a task's test examples: likelihoods and generated texts, told and kept as they come."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tunelab.backend_contract import Session
from tunelab.config.run import RunConfig
from tunelab.data.examples.general import general_text
from tunelab.data.tokens.batching import micro_batches
from tunelab.data.tokens.markers import Markers
from tunelab.data.tokens.tokenise import tokenise
from tunelab.records import Decoded, Prediction, TextSide, TokenRow
from tunelab.study.executing.generator import Generator, generator
from tunelab.study.executing.prepare import RunData
from tunelab.study.executing.text_log import TextLog
from tunelab.study.planning.planned import RunParts

Progress = Callable[[dict[str, Any]], None]
TELL_SECONDS = 0.25
"""Least time between two events about generation."""


def predictions(
    session: Session,
    text: TextSide,
    data: RunData,
    run: RunConfig,
    parts: RunParts,
    progress: Progress,
    *,
    log: TextLog | None = None,
) -> list[Prediction]:
    """One for each test example, in their order. What `log` holds is not generated again.

    Raises:
        RunError: there is not memory for one text.
    """
    reads = {metric.reads for metric in parts.metrics.values()}
    losses: list[Any] = [None] * len(data.test)
    num_bytes: Counter[int] = Counter()
    if "likelihood" in reads:
        losses = session.evaluate(micro_batches(data.test_rows, max_tokens=run.batch.max_tokens, padded=session.pads))
        num_bytes = _num_bytes(data.test_rows, text)
    engine = generator(run, session, text, parts.method)
    texts = _texts(engine, text, data, run, progress, log) if "text" in reads else {}
    return [
        Prediction(
            id=example.id,
            prompt=example.prompt,
            prediction=texts.get(place),
            references=example.references or (example.target,),
            loss_sum=None if loss is None else loss.loss_sum,
            num_tokens=None if loss is None else loss.num_tokens,
            num_bytes=num_bytes[place] if loss is not None else None,
        )
        for place, (example, loss) in enumerate(zip(data.test, losses, strict=True))
    ]


def _num_bytes(rows: Iterable[TokenRow], text: TextSide) -> Counter[int]:
    """Of each example, over all of its rows."""
    found: Counter[int] = Counter()
    for row in rows:
        found[row.example] += supervised_bytes(row, text.tokenizer)
    return found


def general_losses(session: Session, text: TextSide, run: RunConfig) -> list[Prediction]:
    """Losses of the fixed general text, a document each; the study's end puts the base's beside them."""
    examples = general_text()
    tokenised = tokenise(
        examples,
        text.tokenizer,
        max_length=run.batch.max_length,
        encoder_decoder=text.encoder_decoder,
        split="test",
    )
    losses = session.evaluate(micro_batches(tokenised.rows, max_tokens=run.batch.max_tokens, padded=session.pads))
    num_bytes = _num_bytes(tokenised.rows, text)
    return [
        Prediction(
            id=example.id,
            prompt="",
            loss_sum=loss.loss_sum,
            num_tokens=loss.num_tokens,
            num_bytes=num_bytes[place],
        )
        for place, (example, loss) in enumerate(zip(examples, losses, strict=True))
    ]


def supervised_bytes(row: TokenRow, tokenizer: Any) -> int:
    """UTF-8 bytes of the text whose tokens are in the row's loss: less than the target's where that was cut, more where
    earlier answers are learned too. A stretch is what its tokens add to the text before them, because a tokenizer may
    drop the space at a text's beginning."""

    def num_bytes(end: int) -> int:
        text = tokenizer.decode(row.ids[:end].tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return len(text.encode(errors="replace"))

    edges = np.flatnonzero(np.diff(row.supervised.astype(np.int8), prepend=0, append=0))
    return sum(num_bytes(int(end)) - num_bytes(int(start)) for start, end in edges.reshape(-1, 2))


def open_log(
    path: Path, run: RunConfig, data: RunData, *, weights: Path | None = None, check: Callable[[], None] = lambda: None
) -> TextLog:
    """The log of this run's texts; `weights`: a folder whose files may be other ones when it is opened again. `check`:
    asked before every write."""
    facts = {"generation": run.generation.model_dump(), "engine": run.evaluation.engine, "seed": run.seed}
    model = {"model": run.model.name, "revision": run.model_revision, "method": run.method}
    files = sorted(weights.rglob("*.safetensors")) if weights is not None else []
    stamps = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    digest = hashlib.sha256(json.dumps([facts, model, stamps], sort_keys=True).encode())
    for prompt in data.test_prompts:
        digest.update(len(prompt).to_bytes(8, "little") + prompt.tobytes())
    return TextLog(path, key=digest.hexdigest(), check=check)


def _texts(
    engine: Generator, text: TextSide, data: RunData, run: RunConfig, progress: Progress, log: TextLog | None
) -> dict[int, str]:
    texts = {} if log is None else dict(log.known)
    missing = [place for place in range(len(data.test)) if place not in texts]
    markers = Markers(text.tokenizer, encoder_decoder=text.encoder_decoder, reading=run.data.special_tokens)
    began, last = time.monotonic(), 0.0

    def tell(decoded: Decoded) -> None:
        nonlocal last
        new = {missing[place]: markers.clean_text(_decoded(text, ids)) for place, ids in decoded.texts.items()}
        texts.update(new)
        if log is not None and new:
            log.add(new)
        now = time.monotonic()
        if now - last >= TELL_SECONDS or len(texts) == len(data.test):
            last = now
            rate = decoded.num_tokens / max(now - began, 1e-9)
            event = {"done": len(texts), "total": len(data.test), "num_tokens": decoded.num_tokens}
            progress({"event": "generate", **event, "tokens_per_second": rate})

    prompts = [data.test_prompts[place] for place in missing]
    engine.generate(prompts, run.generation, progress=tell, examples=missing)
    return texts


def _decoded(text: TextSide, ids: list[int]) -> str:
    return text.tokenizer.decode(ids, skip_special_tokens=True).strip()
