"""One run from start to result: load, prepare, train, save, evaluate. Resumes where an earlier process was killed, and
evaluates a finished run again, without training, where only what is evaluated has changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tunelab.backend_contract import Session
from tunelab.config.run import RunConfig
from tunelab.data.tokens.chat import TEMPLATE_FILE, plain_template
from tunelab.errors import DataError, Diverged, ModelError, Stopped
from tunelab.evaluation.evaluate import score
from tunelab.files import share_weights, write_atomically
from tunelab.records import Prediction, Provenance, RunResult, Score, TextSide
from tunelab.study.evaluations import settings_of
from tunelab.study.executing.again import has_lost_texts, missing
from tunelab.study.executing.attempt import attempt
from tunelab.study.executing.harness import harness_results
from tunelab.study.executing.outcome import largest_batch_of, scored_result, speed, spread_of, step_notes
from tunelab.study.executing.parents import Parent, finished_parents, training_cost, training_note, training_spread
from tunelab.study.executing.predict import Progress, general_losses, open_log, predictions
from tunelab.study.executing.prepare import RunData, prepare, write_summary
from tunelab.study.executing.provenance import provenance
from tunelab.study.executing.verified import verified_rows
from tunelab.study.planning.planned import RunParts
from tunelab.study.store import RunFolder
from tunelab.training.energy.machine import own_energy
from tunelab.training.loop import Loop, train, validate
from tunelab.training.state import Checkpoints, LoopState
from tunelab.training.step import run_order
from tunelab.training.telemetry import Meter

EVALUATION = ("evaluate", "harness")
"""Phases that are measured anew when a run is evaluated again."""
AGAIN = "evaluated again from its saved model after its training, with other settings of generation or evaluation"

LOST = "its texts were lost or damaged, and generated again from its saved model"


class Work(NamedTuple):
    """A run while it is executed."""

    run: RunConfig
    parts: RunParts
    folder: RunFolder
    session: Session
    text: TextSide
    meter: Meter
    progress: Progress
    stop: Callable[[], bool]
    notes: list[str]
    """The session adds to them."""
    process_gib: float | None
    loaded_gib: float | None


def never() -> bool:
    """Nobody asks this run to stop."""
    return False


def execute(
    run: RunConfig,
    parts: RunParts,
    folder: RunFolder,
    progress: Progress,
    *,
    notes: Sequence[str] = (),
    stop: Callable[[], bool] = never,
) -> RunResult:
    """Execute a run in this process and write its records; `result.json` last.

    Args:
        stop: whether to end early; asked after every step and while texts are generated.

    Raises:
        Stopped: it was asked to, and goes on from its checkpoint and its texts when it is executed again.
        Diverged: its loss is not finite; the error carries what it has cost.
        RunBusy: another process writes its folder, or has taken it over.
        DataError, ModelError: data or model changed or vanished since the study was planned.
    """
    with attempt(folder):
        folder.evaluations.finish()
        earlier = folder.read_result()
        if earlier is not None and folder.finished:  # by another process, since this one was told to execute it
            return earlier
        where = provenance(run, device=parts.backend.device())
        if earlier is None:
            folder.write_run(run, where.model_dump(mode="json"))
        work = _load(run, parts, folder, progress, list(notes), stop)
        try:
            result = _train_and_evaluate(work, where) if earlier is None else _evaluate_again(work, earlier)
        except Diverged as error:
            error.phases = work.meter.costs()
            shutil.rmtree(folder.checkpoint, ignore_errors=True)  # from there it would diverge again
            raise
        folder.texts.unlink(missing_ok=True)
        shutil.rmtree(folder.checkpoint, ignore_errors=True)
        return result


def _load(
    run: RunConfig, parts: RunParts, folder: RunFolder, progress: Progress, notes: list[str], stop: Callable[[], bool]
) -> Work:
    meter = Meter(
        parts.backend.memory(), num_devices=run.ranks.count,
        energy=own_energy(num_gpus=min(parts.backend.num_gpus(), run.ranks.count), num_nodes=run.ranks.nodes),
        on_phase=lambda name: progress({"event": "phase", "phase": name}),
    )  # fmt: skip
    with meter.phase("load"):
        located = parts.backend.locate(run.model)
        if located.revision != run.model_revision:
            raise ModelError(f"model '{run.model.name}' changed since the study was started; start the study again")
        text = parts.backend.text(run.model, located)
        process_gib = meter.memory.current_gib()
        session = parts.backend.session(run, parts.method, located=located, text=text, notes=notes)
        loaded_gib = meter.memory.current_gib()
    progress({"event": "loaded", "seconds": meter.costs()["load"].seconds})
    return Work(run, parts, folder, session, text, meter, progress, stop, notes, process_gib, loaded_gib)


def _train_and_evaluate(work: Work, where: Provenance) -> RunResult:
    run, folder, session, meter, notes = work.run, work.folder, work.session, work.meter, work.notes
    method = work.parts.method
    parents = finished_parents(run, folder)
    trainer = method if method is not None and method.trains else None
    with meter.phase("prepare"):
        data = _prepared(work, training=method is not None)
        session.verify(verified_rows(data.train or data.test_rows))
        checkpoints = Checkpoints(folder.checkpoint, seconds=run.checkpoint.seconds, check=folder.check)
        notes += checkpoints.drop_damaged()
        if trainer is not None and checkpoints.latest() is None:
            folder.texts.unlink(missing_ok=True)  # of weights that nobody has any more
            with session.alone() as local:
                trainer.prepare(local, run_order(run, data.train), run)
            checkpoints.save(LoopState(costs=meter.state()), session.save)
    state, saved_mib = LoopState(), None
    if trainer is not None:
        _check_keep(run, data)
        state = _train(work, data, checkpoints)
        notes += [*_keep_notes(session, state), *step_notes(run, folder.steps())]
    elif method is not None:
        state = _combine(session, run, data, parents, meter)
        notes.append(training_note(parents))
    if method is not None:
        with meter.phase("save"):
            saved_mib = _write_model(work, data)
    evaluated = _evaluate(work, data)
    _write_evaluated(folder, evaluated)
    _ask_harness(work)
    result = scored_result(run, session, evaluated.scores, meter, loaded_gib=work.loaded_gib, notes=notes, where=where)
    trained = {
        "process_gib": work.process_gib,
        "saved_mib": saved_mib,
        **speed(folder.steps()),
        **(training_spread(parents) if parents else spread_of(run)),
        "num_steps": state.step,
        "num_tokens": state.num_tokens,
        "num_supervised_tokens": state.num_supervised_tokens,
        "largest_batch": largest_batch_of(run, session, data.train) if trainer is not None else (),
        "validation_loss": state.validation_loss,
        "kept_step": state.kept_step,
        "optimizer": session.optimizer(),
        "phases": {**result.phases, "train": training_cost(parents)} if parents else result.phases,
    }
    result = result.model_copy(update=trained)
    folder.write_result(result)
    return result


def _evaluate_again(work: Work, earlier: RunResult) -> RunResult:
    """From the saved model. What the run's training left stays as it is, and so does the evaluation in place until the
    new one is whole."""
    folder, session, meter = work.folder, work.session, work.meter
    with meter.phase("prepare"):
        if work.parts.method is not None:
            if not folder.model.is_dir():
                raise ModelError(f"{folder.path}: its saved model is gone; delete the folder to train it again")
            session.read_model(folder.model)
        data = _prepared(work, training=False)
        session.verify(verified_rows(data.test_rows))
    lost = has_lost_texts(folder)
    evaluated = _evaluate(work, data) if missing(folder, work.run) == "evaluation" else None
    _ask_harness(work)
    how = LOST if lost else AGAIN
    notes = [how, *(note for note in work.notes if note != how)]
    result = earlier.model_copy(
        update={
            "scores": earlier.scores if evaluated is None else evaluated.scores,
            "phases": {**earlier.phases, **{name: cost for name, cost in meter.costs().items() if name in EVALUATION}},
            "notes": list(dict.fromkeys([*earlier.notes, *notes])),
        }
    )
    if evaluated is None or (lost and settings_of(folder.read_run()) == settings_of(work.run)):
        if evaluated is not None:
            _write_evaluated(folder, evaluated)
        folder.write_result(result)
        folder.evaluations.withdraw()
    else:
        settings = {name: getattr(work.run, name) for name in ("generation", "evaluation", "task_options")}
        run = folder.read_run().model_copy(update=settings)
        folder.replace_evaluation(run, result, evaluated.predictions, evaluated.general)
    return result


class Evaluated(NamedTuple):
    """A model's evaluation before it is written down."""

    scores: dict[str, Score]
    predictions: list[Prediction]
    general: list[Prediction] | None
    """None: no metric asked for the general text."""


def _write_evaluated(folder: RunFolder, evaluated: Evaluated) -> None:
    if evaluated.general is not None:
        folder.write_general(evaluated.general)
    folder.write_predictions(evaluated.predictions)


def _evaluate(work: Work, data: RunData) -> Evaluated:
    run, parts = work.run, work.parts
    with work.meter.phase("evaluate"):
        log = open_log(work.folder.texts, run, data, check=work.folder.check)
        work.notes.extend(log.notes)
        found = predictions(work.session, work.text, data, run, parts, _stoppable(work), log=log)
        of_general = {name for name, metric in parts.metrics.items() if metric.reads == "general"}
        general = general_losses(work.session, work.text, run) if of_general else None
        scored = score(found, {name: metric for name, metric in parts.metrics.items() if name not in of_general})
    return Evaluated(dict(scored.scores), list(scored.predictions), general)


def _stoppable(work: Work) -> Progress:
    """Told of texts after they are written down, where a run that is asked to stop does."""

    def progress(event: dict[str, Any]) -> None:
        work.progress(event)
        if work.stop():
            raise Stopped("it was stopped while texts were generated; those that are written down stay")

    return progress


def _ask_harness(work: Work) -> None:
    if set(work.run.evaluation.harness) - set(work.folder.harness_tasks()):
        with work.meter.phase("harness"):
            work.folder.write_harness(harness_results(work.session, work.text, work.run))


def _prepared(work: Work, *, training: bool) -> RunData:
    run, task = work.run, work.parts.task
    if task.fingerprint() != run.data_revision:
        raise DataError(f"task {run.task}: the data changed since the study was started; start the study again")
    data = prepare(task, work.text, run, training=training)
    work.notes.extend(data.notes)
    for note in data.notes:
        work.progress({"event": "note", "text": note})
    if training:
        write_summary(work.folder.study_folder, data)
    return data


def _train(work: Work, data: RunData, checkpoints: Checkpoints) -> LoopState:
    return train(
        work.session,
        Loop(
            run=work.run,
            peak_learning_rate=work.run.method["learning_rate"],
            rows=data.train,
            validation_rows=data.validation,
            records=work.folder,
            checkpoints=checkpoints,
            meter=work.meter,
            progress=work.progress,
            stop=work.stop,
        ),
    )


def _check_keep(run: RunConfig, data: RunData) -> None:
    if run.validation.keep == "best" and not data.validation:
        way = "give the task validation rows, or set validation.keep: last"
        raise DataError(f"task {run.task}: no validation rows, and validation.keep: best chooses by their loss; {way}")


def _keep_notes(session: Session, state: LoopState) -> list[str]:
    if state.kept_step is None:
        return []
    parts = "; only passes of the last part count" if session.part else ""
    kept = f"step {state.kept_step} of {state.step}, validation loss {state.kept_loss:.4f}"
    return [f"validation.keep: best: the weights after {kept}{parts}"]


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


def _write_model(work: Work, data: RunData) -> float:
    """Into a fresh folder, then renamed: a crash never leaves half a model under its name."""
    folder = work.folder
    temporary = folder.path / ".model"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        size = work.session.write_model(temporary)
        share_weights(temporary)
        if data.plain_conversations and not work.text.encoder_decoder:
            write_atomically(temporary / TEMPLATE_FILE, plain_template(work.text.tokenizer))
        folder.check()
        shutil.rmtree(folder.model, ignore_errors=True)
        temporary.rename(folder.model)
    finally:  # a half would fill the disk that had no room for the whole
        shutil.rmtree(temporary, ignore_errors=True)
    return size
