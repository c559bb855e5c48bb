"""One run from start to result: load, prepare, train, save, evaluate. Resumes where an earlier process was killed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tunelab.config.schema import RunConfig
from tunelab.contracts import Session, TextSide
from tunelab.data.batching import micro_batches
from tunelab.data.packing import excerpt
from tunelab.data.token_store import sizes
from tunelab.errors import DataError, ModelError
from tunelab.evaluation.evaluate import score
from tunelab.records import Batch, Prediction, Provenance, RunResult, Score, StepRecord, TokenRow
from tunelab.study.parents import Parent, finished_parents, training_cost, training_note
from tunelab.study.plan import RunParts
from tunelab.study.prepare import RunData, prepare, write_summary
from tunelab.study.provenance import provenance
from tunelab.study.store import RunFolder
from tunelab.training.loop import Loop, train, validate
from tunelab.training.state import Checkpoints, LoopState
from tunelab.training.step import run_order
from tunelab.training.telemetry import Meter

FIRST_STEPS = 3
"""Steps whose speed is told apart: allocation and kernel choice happen there."""
Progress = Callable[[dict[str, Any]], None]


def execute(
    run: RunConfig, parts: RunParts, folder: RunFolder, progress: Progress, *, notes: Sequence[str] = ()
) -> RunResult:
    """Execute a run in this process and write its records; `result.json` last.

    Raises:
        RunError: the run diverged, or another process writes its folder.
        DataError, ModelError: data or model changed or vanished since the study was planned.
    """
    with folder.lock():
        where = provenance(run, device=parts.backend.device())
        folder.write_run(run, where.model_dump(mode="json"))
        notes = list(notes)
        meter = Meter(parts.backend.memory(), on_phase=lambda name: progress({"event": "phase", "phase": name}))
        with meter.phase("load"):
            located = parts.backend.locate(run.model)
            if located.revision != run.model_revision:
                raise ModelError(f"model '{run.model.name}' changed since the study was started; start the study again")
            text = parts.backend.text(run.model, located)
            session = parts.backend.session(run, parts.method, located=located, text=text, notes=notes)
            loaded_gib = meter.memory.current_gib()
        parents = finished_parents(run, folder)
        trains = parts.method is not None and parts.method.trains
        with meter.phase("prepare"):
            data = _prepared(run, parts, text, folder, notes)
            session.verify(verified_rows(data.train or data.test_rows))
            checkpoints = Checkpoints(folder.checkpoint, seconds=run.checkpoint.seconds)
            if trains and checkpoints.latest() is None:
                parts.method.prepare(session, run_order(run, data.train), run)
                checkpoints.save(LoopState(costs=meter.state()), session.save)
        state, saved_mib = LoopState(), None
        if trains:
            state = _train(session, run, data, folder, checkpoints, meter, progress)
        elif parts.method is not None:
            state = _combine(session, run, data, parents, meter)
            notes.append(training_note(parents))
        if parts.method is not None:
            with meter.phase("save"):
                saved_mib = _write_model(session, folder)
        with meter.phase("evaluate"):
            scored = score(predictions(session, text, data, run, parts, progress), parts.metrics)
            folder.write_predictions(list(scored.predictions))
        result = scored_result(run, session, scored.scores, meter, loaded_gib=loaded_gib, notes=notes, where=where)
        trained = {
            "saved_mib": saved_mib,
            **_speed(folder.steps()),
            "num_steps": state.step,
            "num_tokens": state.num_tokens,
            "num_supervised_tokens": state.num_supervised_tokens,
            "validation_loss": state.validation_loss,
            "optimizer": session.optimizer(),
            "phases": {**result.phases, "train": training_cost(parents)} if parents else result.phases,
        }
        result = result.model_copy(update=trained)
        folder.write_result(result)
        shutil.rmtree(folder.checkpoint, ignore_errors=True)
        return result


def scored_result(
    run: RunConfig,
    session: Session,
    scores: dict[str, Score],
    meter: Meter,
    *,
    loaded_gib: float | None,
    notes: list[str],
    where: Provenance,
) -> RunResult:
    """The result of a model that was scored; what training adds is left at its defaults."""
    return RunResult(
        run=run.id,
        method=run.method["label"],
        task=run.task,
        seed=run.seed,
        backend=run.backend,
        learning_rate=run.method.get("learning_rate"),
        scores=scores,
        phases=meter.costs(),
        trainable_parameters=session.parameters().trainable,
        total_parameters=session.parameters().total,
        loaded_gib=loaded_gib,
        notes=notes,
        provenance=where,
    )


def _prepared(run: RunConfig, parts: RunParts, text: TextSide, folder: RunFolder, notes: list[str]) -> RunData:
    if parts.task.fingerprint() != run.data_revision:
        raise DataError(f"task {run.task}: the data changed since the study was started; start the study again")
    training = parts.method is not None
    data = prepare(parts.task, text, run, training=training)
    notes.extend(data.notes)
    if training:
        write_summary(folder.study_folder, data)
    return data


def verified_rows(rows: Sequence[TokenRow]) -> Batch:
    """Two short rows of different length, since the reference path keeps all logits and padding should be seen, of
    those with something to compare; and two documents of a packed row, if there is one."""
    known = sizes(rows)
    order = np.lexsort((known.num_tokens, ~known.learns_end))
    lengths = known.num_tokens[order]
    longer, packed = order[lengths > lengths[0]], np.flatnonzero(known.is_packed)
    chosen = [order[0], longer[0] if len(longer) else order[-1], *packed[:1]]
    return Batch(tuple(excerpt(row) if row.starts else row for row in (rows[int(place)] for place in chosen)))


def _train(
    session: Session,
    run: RunConfig,
    data: RunData,
    folder: RunFolder,
    checkpoints: Checkpoints,
    meter: Meter,
    progress: Progress,
) -> LoopState:
    return train(
        session,
        Loop(
            run=run,
            peak_learning_rate=run.method["learning_rate"],
            rows=data.train,
            validation_rows=data.validation,
            records=folder,
            checkpoints=checkpoints,
            meter=meter,
            progress=progress,
        ),
    )


def _combine(session: Session, run: RunConfig, data: RunData, parents: Sequence[Parent], meter: Meter) -> LoopState:
    """Make the model of the parents' ones: no step, and a validation loss to compare it by."""

    def validation_loss() -> float:
        if not data.validation:
            raise DataError(f"task {run.task}: no validation rows, and weights are searched by validation loss")
        return validate(session, data.validation, max_tokens=run.batch.max_tokens).loss

    with meter.phase("prepare"):
        session.combine([parent.model for parent in parents], validation_loss=validation_loss)
    with meter.phase("validate"):
        return LoopState(validation_loss=validation_loss() if data.validation else None)


def _write_model(session: Session, folder: RunFolder) -> float:
    """Into a fresh folder, then renamed: a crash never leaves half a model under its name."""
    temporary = folder.path / ".model"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    size = session.write_model(temporary)
    shutil.rmtree(folder.model, ignore_errors=True)
    temporary.rename(folder.model)
    return size


def predictions(
    session: Session, text: TextSide, data: RunData, run: RunConfig, parts: RunParts, progress: Progress
) -> list[Prediction]:
    reads = {metric.reads for metric in parts.metrics.values()}
    texts: list[str | None] = [None] * len(data.test)
    losses: list[Any] = [None] * len(data.test)
    if "likelihood" in reads:
        losses = session.evaluate(micro_batches(data.test_rows, max_tokens=run.batch.max_tokens))
    if "text" in reads:
        ids = session.generate(
            data.test_prompts,
            run.generation,
            progress=lambda done: progress({"event": "generate", "done": done, "total": len(data.test)}),
        )
        texts = [text.tokenizer.decode(one, skip_special_tokens=True).strip() for one in ids]
    return [
        Prediction(
            id=example.id,
            prompt=example.prompt,
            prediction=prediction,
            references=example.references or (example.target,),
            loss_sum=None if loss is None else loss.loss_sum,
            num_tokens=None if loss is None else loss.num_tokens,
            num_bytes=None if loss is None else supervised_bytes(row, text.tokenizer),
        )
        for example, row, prediction, loss in zip(data.test, data.test_rows, texts, losses, strict=True)
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


def _speed(steps: list[StepRecord]) -> dict[str, float | None]:
    def rate(records: list[StepRecord]) -> float | None:
        seconds = sum(record.seconds for record in records)
        return sum(record.num_tokens for record in records) / seconds if seconds else None

    later = steps[FIRST_STEPS:]
    return {
        "tokens_per_second": rate(later or steps),
        "tokens_per_second_first": rate(steps[:FIRST_STEPS]) if later else None,
    }
