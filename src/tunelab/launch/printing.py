"""What the verbs print: tables and coloured text for a terminal, the same without colours elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from tunelab.config.study_yaml import dump_yaml
from tunelab.entries import BASE
from tunelab.records import PhaseCost, RunResult
from tunelab.report.decision import terminal_text
from tunelab.report.devices import spread_of
from tunelab.report.numbers import MISSING, count, duration, interval, memory, number, percent, rate, score_decimals
from tunelab.report.tables import Cell, Column, Table, plain, visible, words, wrapped
from tunelab.study.planning.preview import PlannedRun, Preview
from tunelab.study.planning.rehearse import REHEARSED
from tunelab.study.store import RunFolder

if TYPE_CHECKING:
    from tunelab.launch.run import Outcome
    from tunelab.study.verbs.outputs import Output, Outputs
    from tunelab.study.verbs.show import Piece, ShownExample, ShownTask
    from tunelab.study.verbs.shown import Asked

BARS = " ▁▂▃▄▅▆▇█"
"""Of a histogram, by height; a bin with a row in it is never blank."""


def console() -> Console:
    """Standard output; colours only where it is a terminal."""
    return Console(highlight=False)


def width_of(console: Console) -> int | None:
    """Columns that there are; None: it is no terminal, and nothing is wrapped."""
    return console.width if console.is_terminal else None


def plan_text(preview: Preview, *, width: int | None = None) -> str:
    """The runs, and what is to be said about them."""
    return plain(plan_table(preview), width=width)


def plan_table(preview: Preview) -> Table:
    """A row a run."""
    counts = (Column("Trained"), Column("Total"), Column("Reached"))
    fields = list(dict.fromkeys(field for run in preview.runs for field in run.setting))
    return Table(
        f"{preview.study}: {len(preview.runs)} runs on {preview.runs[0].model}",
        (
            words("Method"),
            words("Task"),
            Column("Seed"),
            *(words("To do") for _ in _to_do(preview.runs[0])),
            Column("Rate"),
            *(Column(field) for field in fields),
            *counts,
        ),
        tuple(_plan_row(run, fields) for run in preview.runs),
        preview.notes,
        keys=3,
    )


def _to_do(run: PlannedRun) -> tuple[Cell, ...]:
    """A column of `run --dry-run` alone."""
    return () if run.to_do is None else (Cell(run.to_do),)


def _plan_row(run: PlannedRun, fields: Sequence[str]) -> tuple[Cell, ...]:
    searched = "" if run.num_learning_rates_tried < 2 else f"(of {run.num_learning_rates_tried})"
    waits = "by search" if run.num_learning_rates_tried > 1 else MISSING
    return (
        Cell(run.method),
        Cell(run.task),
        Cell(str(run.seed)),
        *_to_do(run),
        Cell(waits if run.learning_rate is None else rate(run.learning_rate), below=searched),
        *(Cell(run.setting.get(field, MISSING)) for field in fields),
        Cell(count(run.trainable_parameters), below=percent(run.trainable_parameters, run.total_parameters)),
        Cell(count(run.total_parameters)),
        Cell(percent(run.reached_share, 1)),
    )


def outcome_text(outcome: Outcome, *, width: int | None = None) -> str:
    """The comparison, what failed, and where the report is."""
    failed = [f"FAILED {failure.run}: {failure.error}" for failure in outcome.comparison.failures]
    failures = [line for each in failed for line in wrapped(each, width, indent="  ")]
    first = [f"{REHEARSED}.", ""] if outcome.rehearsed else []
    comparison = terminal_text(outcome.comparison, width=width)
    stand_ins = [line for each in _rehearsal_lines(outcome) for line in wrapped(each, width, indent="  ")]
    lines = [*first, comparison, *failures, *stand_ins]
    if outcome.jobs is not None:
        return "\n".join(
            [
                *(lines if any(row.num_seeds for row in outcome.comparison.rows) else []),
                *outcome.jobs.lines(outcome.folder),
            ]
        )
    return "\n".join([*lines, f"Report: {outcome.folder / 'report.html'}"])


def _rehearsal_lines(outcome: Outcome) -> list[str]:
    if not outcome.rehearsed:
        return []
    end = f"{outcome.num_failed} runs FAILED" if outcome.num_failed else "every run finished"
    return [f"{REHEARSED}. In it {end}.", *(f"  {line}" for line in outcome.rehearsed), ""]


def result_text(result: RunResult, *, model: str | None = None, width: int | None = None) -> str:
    """Scores with intervals, costs, notes. `model`: what a user has called it, for one that no method is known of."""
    name = model if model is not None and result.method == BASE else result.method
    lines = [f"{name} on {result.task}, seed {result.seed}"]
    for name, score in result.scores.items():
        shown = interval(score.value, score.low, score.high, score_decimals([score.value]))
        lines.append(f"  {name:<16} {shown}  n={score.n}  {score.signature}")
    for name, cost in result.phases.items():
        lines.append(f"  {name:<16} {duration(cost.seconds)}, peak {memory(cost.peak_gib)}{_in_all(cost)}")
    if result.num_devices > 1:
        speed = result.tokens_per_second
        each = "" if speed is None else f", {speed:,.0f} tokens/s in all, {speed / result.num_devices:,.0f} a device"
        lines.append(f"  over {spread_of(result).text}{each}")
    unread = [f"{name}: {score.note}" for name, score in result.scores.items() if score.note]
    lines += [f"  note: {note}" for note in [*unread, *result.notes]]
    return "\n".join(short for line in lines for short in wrapped(line, width, indent="  "))


def _in_all(cost: PhaseCost) -> str:
    if cost.device_seconds is None:
        return ""
    return f" of one device; in all {duration(cost.device_seconds)}, {memory(cost.peak_all_gib)}"


def run_text(folder: RunFolder, *, width: int | None = None) -> str:
    """Effective settings of a run, its effective optimizer, its result as far as there is one, and who executed it."""
    lines = dump_yaml(folder.read_run().model_dump(mode="json")).split("\n")
    result = folder.read_result()
    if result is None:
        error, word = folder.failure(), "FAILED" if folder.divergence() is None else "DIVERGED"
        lines.append("not finished" if error is None else f"{word}: {error}")
    else:
        trained = f"{count(result.trainable_parameters)} of {count(result.total_parameters)} parameters trained"
        groups = [f"  {', '.join(f'{key} {value}' for key, value in group.items())}" for group in result.optimizer]
        effective = ["effective optimizer:", *groups] if groups else []
        lines += [*result_text(result).split("\n"), f"  {trained}, {result.num_steps} steps", *effective]
    lines += _attempt_lines(folder)
    return "\n".join(short for line in lines for short in wrapped(line, width, indent="  "))


def _attempt_lines(folder: RunFolder) -> list[str]:
    """When, where and as which job it was executed, how each attempt ended, and which logs say more."""
    attempts, held = folder.attempts(), folder.held()
    lines = ["attempts:"] if attempts else []
    for each in attempts:
        job = f", job {each.job}" if each.job else ""
        restart = f", restart {each.restart}" if each.restart else ""
        begun = f"  {each.started} {each.host}, process {each.pid}{job}{restart}, from step {each.progress[0]}"
        goes_on = each is attempts[-1] and held is not None and held.alive
        end = "runs" if goes_on else "ended without a word"
        if each.how is not None:
            step = "" if each.reached is None else f" at step {each.reached[0]}"
            end = f"{each.how}{step}, {each.ended}"
        log = f"; log: {folder.study_folder / each.log}" if each.log else ""
        lines.append(visible(f"{begun}: {end}{log}"))
    return [*lines, f"log: {folder.log}"] if folder.log.exists() else lines


# ------------------------------------------------------------------ examples


def print_tasks(shown: Iterable[ShownTask], console: Console) -> None:
    """Counts, examples, the first step. Supervised text is green on a terminal and in [[ ]] elsewhere."""
    marked = "is green" if console.is_terminal else "stands in [[ ]]"
    for task in shown:
        console.print(Text(f"{task.task}: what is learned {marked}", style="bold"))
        for line in [*_split_lines(task.summary), *task.notes]:
            _print_line(f"  {line}", console)
        for example in task.examples:
            text = _example_text(example, coloured=console.is_terminal)
            console.print(text, overflow="fold") if console.is_terminal else console.print(text, soft_wrap=True)
        step = task.first_step
        _print_line(
            f"first step (of {step.num_steps}): {len(step.examples)} examples in {step.num_micro_batches} "
            f"micro-batches, {step.num_tokens} tokens, {step.num_supervised} supervised: {', '.join(step.examples)}",
            console,
        )


def _print_line(text: str, console: Console) -> None:
    for line in wrapped(text, width_of(console), indent="  "):
        console.print(Text(line), soft_wrap=True)


def _split_lines(summary: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, split in summary["splits"].items():
        counts = split["counts"]
        lines.append(
            f"{name}: {counts['rows']} rows of {counts['shortest']}-{counts['longest']} tokens (median "
            f"{counts['median']}), {counts['supervised_tokens']} supervised; cut at {summary['max_length']}: "
            f"{counts['prompts_cut']} prompts, {counts['targets_cut']} targets"
        )
        if split["sources"]:
            lines.append(f"  of {', '.join(f'{source}: {number}' for source, number in split['sources'].items())}")
        lines += _histogram_lines(**split["lengths"])
    lines += _overlap_lines(summary["overlap"])
    return lines


def _histogram_lines(tokens: Sequence[int], num_rows: Sequence[int]) -> list[str]:
    """`num_rows[i]` rows have more than `tokens[i]` and at most `tokens[i + 1]` tokens."""
    if not num_rows:
        return []
    most = max(num_rows)
    bars = "".join(BARS[math.ceil(number / most * (len(BARS) - 1))] for number in num_rows)
    place = num_rows.index(most)
    return [
        f"  lengths 1-{tokens[-1]}: |{bars}|, most are {tokens[place] + 1}-{tokens[place + 1]} tokens ({most} rows)"
    ]


def _overlap_lines(overlap: Mapping[str, Any] | None) -> list[str]:
    if overlap is None:
        return ["overlap: not looked for (data.overlap: ignore)"]
    lines = []
    for name, counts in {"": overlap, **overlap["by_source"]}.items():
        lines.append(
            f"overlap{name and f' of {name}'}: {_found(counts, 'test', 'train')}; {counts['num_train_duplicates']} of "
            f"{counts['num_train']} train rows repeat another"
        )
    for pair, known, other in (("train_validation", "validation", "train"), ("validation_test", "test", "validation")):
        for name, counts in {"": overlap[pair], **overlap[pair]["by_source"]}.items():
            lines.append(f"overlap{name and f' of {name}'}: {_found(counts, known, other)}")
    return lines


def _found(counts: Mapping[str, Any], known: str, other: str) -> str:
    prompts = counts["num_same_prompt"]
    same_prompt = "" if prompts is None else f", {prompts} have a prompt of {other}"
    return (
        f"{counts['num_same_row']} of {counts[f'num_{known}']} {known} rows are rows of {other}, "
        f"{counts['num_near_row']} nearly are{same_prompt}"
    )


def _example_text(example: ShownExample, *, coloured: bool) -> Text:
    head = f"\n{example.id}: {example.num_tokens} tokens, {example.num_supervised} supervised\n"
    text = Text(head, style="bold" if coloured else "")
    if example.source:
        text = Text.assemble(text, *(_piece_text(piece, coloured=coloured) for piece in example.source), "\n")
    return Text.assemble(text, *(_piece_text(piece, coloured=coloured) for piece in example.pieces))


def _piece_text(piece: Piece, *, coloured: bool) -> Text:
    shown = "\n".join(visible(line) for line in piece.text.split("\n"))
    if not coloured:
        return Text(f"[[{shown}]]" if piece.supervised else shown)
    colour = "green" if piece.supervised else "dim"
    return Text(shown, style=f"{colour} reverse" if piece.special else colour)


# ------------------------------------------------------------------ outputs of a run


def print_shown(asked: Asked, console: Console) -> None:
    """Rows; or a run: its settings and result, or its outputs."""
    if asked.of_rows:
        from tunelab.launch.rows_text import file_text
        from tunelab.study.verbs.show import show_rows

        print(file_text(asked.name, show_rows(asked.name, overrides=asked.overrides), width=width_of(console)))
    elif asked.of_outputs:
        from tunelab.study.verbs.outputs import show_outputs

        shown = show_outputs(RunFolder(Path(asked.name)), num_examples=asked.num_examples, worst=asked.worst)
        print_outputs(shown, console)
    else:
        print(run_text(RunFolder(Path(asked.name)), width=width_of(console)))


def print_outputs(shown: Outputs, console: Console) -> None:
    """Wrapped at a terminal's width; elsewhere a line of a text is a line."""
    order = "" if shown.worst is None else f", the {'worst' if shown.worst else 'best'} first"
    better = "higher" if shown.higher_is_better else "lower"
    scores = f"; scores: {shown.words}, {better} is better" if shown.words else ""
    head = f"{shown.run}: {len(shown.examples)} of {shown.num_all} test examples{order}{scores}"
    console.print(Text(visible(head), style="bold" if console.is_terminal else ""), soft_wrap=not console.is_terminal)
    decimals = score_decimals([output.score for output in shown.examples])
    for output in shown.examples:
        score = f"  {shown.metric} {number(output.score, decimals)}" if shown.metric else ""
        style = "bold" if console.is_terminal else ""
        console.print(Text(f"\n{visible(output.example.id)}{visible(score)}", style=style), soft_wrap=True)
        for name, text in _texts(output):
            for place, line in enumerate(_wrapped(text, console)):
                label = Text(f"  {name if place == 0 else '':<10}", style="dim" if console.is_terminal else "")
                console.print(Text.assemble(label, line), soft_wrap=True)


def _texts(output: Output) -> list[tuple[str, str]]:
    text = output.example.prediction
    references = [("reference", reference) for reference in output.example.references]
    said = "(no text was generated)" if text is None else text or "(empty)"
    return [("prompt", output.example.prompt), *references, ("output", said)]


def _wrapped(text: str, console: Console) -> list[str]:
    lines = [visible(line) for line in text.split("\n")]
    if not console.is_terminal:
        return lines
    width = max(20, console.width - 12)
    return [part.plain for line in lines for part in Text(line).wrap(console, width, overflow="fold") or [Text("")]]
