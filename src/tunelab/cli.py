"""The command line: every verb parses, calls one function, and prints. Imports stand inside, so that help is fast."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tunelab.commands import standing
from tunelab.commands.generate import generate
from tunelab.commands.options import (
    Cluster,
    Encoding,
    EvaluationCluster,
    Examples,
    FinishedRun,
    Folders,
    Gguf,
    Header,
    Hypotheses,
    Json,
    MergedDtype,
    MetricNames,
    ModelName,
    Overrides,
    Place,
    Power,
    Price,
    References,
    Rehearse,
    ReportOut,
    Rows,
    Shown,
    StudyName,
    Tasks,
    TestFile,
    TrainFile,
    UntilDecided,
    ValidationFile,
    Version,
    Worst,
)
from tunelab.commands.plan import plan
from tunelab.commands.standing import print_json
from tunelab.errors import ConfigError, TunelabError
from tunelab.files import refusal_of
from tunelab.launch.terminal.at_work import AtWork, at_work
from tunelab.launch.terminal.streams import leave_output, prepare_streams
from tunelab.launch.terminal.texts import tell
from tunelab.launch.warm.imports import collect_seldom

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fine-tunes one language model every way that fits, on your task, and tells which way to keep.",
)


@app.callback()
def _options(version: Version = False) -> None: ...


@app.command()
def run(
    study: StudyName = "quickstart",
    out: Annotated[Path | None, typer.Option(help="Results folder.", show_default="results/<study name>")] = None,
    cluster: Annotated[Cluster | None, typer.Option(help="Where runs execute; in-process is for debugging.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and execute nothing.")] = False,
    overrides: Overrides = None,
    rehearse: Rehearse = False,
    until: UntilDecided = None,
    max_seeds: Annotated[int | None, typer.Option(help="Of a method, with --until decided.", show_default="10")] = None,
    hours: Annotated[float | None, typer.Option(help="No seed is added later, with --until decided.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="With --cluster slurm: look on until nothing is left.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Take over the folder of another study.")] = False,
) -> None:
    """Execute what is not finished of a study, and write the report."""
    import tunelab

    if until is None and (max_seeds is not None or hours is not None):
        raise ConfigError("--max-seeds and --hours are limits of --until decided: give it too, or leave them out")
    if until is not None and (dry_run or rehearse):
        raise ConfigError("--until decided runs the study: give it without --dry-run and --rehearse")
    if dry_run and rehearse:
        raise ConfigError("--dry-run executes nothing and --rehearse executes stand-ins: give one of them")
    place = None if cluster is None else cluster.value
    if dry_run:
        with at_work(f"planning {study}"):
            from tunelab.launch.control.dry import dry_text
            from tunelab.launch.printing import console, width_of

            planned = tunelab.load_study(study, overrides=overrides or ())
            text = dry_text(planned, out=out, cluster=place, replace=replace, width=width_of(console()))
        print(text, end="")
        return
    with at_work(f"planning {study}"):
        from tunelab.launch.printing import console, outcome_text, width_of
        from tunelab.launch.view import view_for

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    try:
        with view_for(console(), doing=f"planning {study}") as view:
            outcome = tunelab.run(
                study, out=out, cluster=place, overrides=overrides or (), view=view, rehearse=rehearse,
                until=None if until is None else until.value, hours=hours,
                max_seeds=10 if max_seeds is None else max_seeds, wait=wait, replace=replace,
            )  # fmt: skip
    except KeyboardInterrupt:
        tell("Interrupted. The same command goes on where this one stopped: finished runs stay.")
        raise typer.Exit(130) from None
    print(outcome_text(outcome, width=width_of(console())))
    raise typer.Exit(1 if outcome.num_failed else 0)


app.command()(plan)


@app.command()
def init(
    train: TrainFile,
    test: TestFile = None,
    validation: ValidationFile = None,
    model: Annotated[str, typer.Option(help="A hub id, a local folder, or an embedded model.")] = "tunelab/tiny",
    out: Annotated[Path, typer.Option(metavar="FILE", help="The study file to write.")] = Path("study.yaml"),
    encoding: Encoding = None,
    header: Header = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite.")] = False,
) -> None:
    """Write a commented study for your own data."""
    from tunelab.study.verbs.init import write_study

    with at_work(f"reading {', '.join(map(str, train))}") as work:
        written = write_study(
            train=train, test=test, validation=validation, model=model, out=out, encoding=encoding, header=header,
            force=force, ask=partial(_ask, work) if sys.stdin.isatty() and sys.stderr.isatty() else None,
        )  # fmt: skip
    from tunelab.launch.terminal.texts import fitting

    notes = [fitting(f"note: {note}") for note in written.notes]
    print("\n".join([*notes, *(f"wrote {path}" for path in written.files), f"next: tunelab plan {written.study}"]))


@app.command()
def show(
    what: Shown = None,
    examples: Examples = None,
    worst: Worst = None,
    rows: Rows = None,
    overrides: Overrides = None,
) -> None:
    """Show tokenised examples, a run's settings or outputs, or the columns of a file or a named data set."""
    with at_work(f"reading {what or rows or 'nothing'}"):
        from tunelab.launch import printing
        from tunelab.study.verbs.shown import Asked

        asked = Asked(what, rows=rows, examples=examples, worst=worst, overrides=overrides or ())
    if asked.of_rows or asked.of_run:
        printing.print_shown(asked, printing.console())
    else:
        import tunelab

        with at_work(f"reading {what}"):
            from tunelab.study.verbs.show import show_study

            planned = tunelab.load_study(asked.name, overrides=asked.overrides)
            shown = show_study(planned, num_examples=asked.num_examples)
        printing.print_tasks(shown, printing.console())


@app.command()
def evaluate(
    model: ModelName,
    tasks: Tasks = None,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write predictions and result there.")] = None,
    as_json: Json = False,
    cluster: EvaluationCluster = Place.local,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --cluster slurm: print the job's script.")] = False,
) -> None:
    """Score a run, an adapter, or any model on tasks."""
    if cluster is Place.slurm:
        from tunelab.study.verbs import evaluate_job as jobs

        job = jobs.planned_job(model, tasks=tasks or (), overrides=overrides or (), out=out)
        print(job.script.text.rstrip() if dry_run else jobs.submitted_text(job, jobs.submit_evaluation(job)))
        return
    if dry_run:
        raise ConfigError("--dry-run prints a job's script: give --cluster slurm too, or leave it out")
    with at_work(f"evaluating {model}") as work:
        from tunelab.launch.terminal.at_work import event_words
        from tunelab.study.verbs.evaluate import evaluate as evaluate_model

        results = evaluate_model(
            model, tasks=tasks or (), overrides=overrides or (), out=out,
            progress=lambda event: work.say(f"evaluating {model}: {event_words(event)}"),
        )  # fmt: skip
    if as_json:
        found = [result.model_dump(mode="json") for result in results]
        print_json(found[0] if len(found) == 1 else {"results": found})
        return
    from tunelab.launch.printing import console, result_text, width_of

    width = width_of(console())
    print("\n".join(result_text(result, model=model, width=width) for result in results))


app.command()(generate)


@app.command()
def score(
    hypotheses: Hypotheses,
    references: References,
    metrics: MetricNames = "bleu,rouge_l",
    as_json: Json = False,
) -> None:
    """Score text files, without a model."""
    import tunelab
    from tunelab.study.verbs import score as scoring

    names = [name.strip() for name in metrics.split(",") if name.strip()]
    with at_work(f"scoring {hypotheses}"):
        scores = tunelab.score(hypotheses, references, metrics=names)
    for note in scoring.notes(scores):
        tell(f"note: {note}")
    if as_json:
        print_json({"scores": scoring.as_json(scores)})
        return
    from tunelab.launch.terminal.texts import terminal_columns

    print(scoring.scores_text(scores, columns=terminal_columns()))


@app.command()
def report(
    folders: Folders,
    out: ReportOut = None,
    price: Price = None,
    power: Power = None,
) -> None:
    """Rebuild the report from records, also over several studies."""
    with at_work(f"reading {', '.join(map(str, folders))}"):
        from tunelab.launch.printing import console, width_of
        from tunelab.launch.report import rebuild_report
        from tunelab.report.decision import terminal_text

        rebuilt = rebuild_report(folders, out=out, price=price, power=power)
    warning = f"{rebuilt.warning}.\n\n" if rebuilt.warning else ""
    text = terminal_text(rebuilt.comparison, width=width_of(console()))
    print(warning + text + f"Report: {rebuilt.folder / 'report.html'}")


@app.command()
def export(
    run: FinishedRun,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder to write.")],
    merge: Annotated[bool, typer.Option("--merge", help="Plain weights that transformers loads by itself.")] = False,
    dtype: MergedDtype = None,
    gguf: Gguf = False,
    as_json: Json = False,
) -> None:
    """Take a run's model out of its study: adapter or weights, with tokenizer and model card, checked."""
    from tunelab.export import export as exporter

    kind = None if dtype is None else dtype.value
    with at_work(f"exporting {run}"):
        exported = exporter.export(run, folder, merge=merge, dtype=kind, gguf=gguf)
    if as_json:
        print_json(exporter.as_json(exported))
        return
    from tunelab.launch.terminal.texts import fitting

    print(fitting(exporter.export_text(exported)))


standing.add_verbs(app)


def _ask(work: AtWork, taken: str) -> bool:
    with work.asking():
        return typer.confirm(f"{taken}: already there. Overwrite?", err=True)


def main() -> None:
    """Exit status: 0 all finished, 1 a run failed or the system refused, 2 a bad study or bad usage. A user's error is
    one line a problem."""
    prepare_streams()
    collect_seldom()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning idle threads are far slower on a busy machine
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # so are OpenBLAS's, and a report's products are small
    try:
        try:
            app(prog_name="tunelab")
        finally:
            sys.stdout.flush()
    except TunelabError as error:
        for line in str(error).splitlines():
            tell(f"error: {line}")
        sys.exit(error.exit_status)
    except BrokenPipeError:  # whoever read has seen enough
        leave_output()
        sys.exit(1)
    except OSError as error:
        if (refusal := refusal_of(error)) is None:
            raise
        leave_output()
        tell(f"error: {refusal}")
        sys.exit(1)
