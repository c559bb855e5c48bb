"""A model and texts from Python: written, shown, generated, scored, evaluated, exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tunelab.api import given
from tunelab.errors import ConfigError

if TYPE_CHECKING:
    from tunelab.api.model_results import (
        Evaluations,
        ExportedModel,
        FileRows,
        RunFacts,
        Scores,
        StudyData,
        Texts,
        WrittenStudy,
    )


def init(
    train: str | Path | Sequence[str | Path],
    *,
    test: str | Path | Sequence[str | Path] = (),
    validation: str | Path | Sequence[str | Path] = (),
    model: str = "tunelab/tiny",
    out: str | Path = "study.yaml",
    encoding: str | None = None,
    header: bool | None = None,
    force: bool = False,
) -> WrittenStudy:
    """Write a commented study for your own data; `study` of what is returned is its path, `notes` what was guessed.

    Args:
        train: jsonl, json, csv, tsv, parquet or txt; several files, or a pattern as 'data/*.jsonl', become one. Without
            `test` a tenth of its rows becomes one.
        model: a hub id, a local folder, or an embedded model.
        encoding: None: UTF-8, else UTF-16 by its mark, else cp1252.
        header: whether the first line of a csv names its columns; None: told by what stands in it.
        force: overwrite files that are there.

    Raises:
        ConfigError: a file that would be written is there. DataError: a data file cannot be read.

    Example:
        >>> rows = [{"question": f"{n} + {n}?", "answer": f"{2 * n}"} for n in range(40)]
        >>> _ = Path("sums.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
        >>> tunelab.init("sums.jsonl", out="sums.yaml")
        note: sums.train.jsonl: 36 rows
        note: sums.test.jsonl: 4 rows
        note: Guessed from the names: the model reads question, and learns to write answer.
        wrote sums.train.jsonl
        wrote sums.test.jsonl
        wrote sums.yaml
    """
    from tunelab.api.model_results import WrittenStudy
    from tunelab.study.verbs.init import write_study

    written = write_study(
        train=given.files(train, "train"), test=given.files(test, "test"),
        validation=given.files(validation, "validation"), model=given.model(model), out=given.path(out, "out"),
        encoding=encoding, header=header, force=force,
    )  # fmt: skip
    return WrittenStudy(*written)


def show(
    what: str | Path | Mapping[str, Any] | None = None,
    *,
    rows: str | Path | None = None,
    examples: int = 3,
    overrides: Sequence[str] = (),
) -> StudyData | RunFacts | FileRows:
    """What the model reads of a study and which of it is learned; or a run's settings and result; or a file's columns.

    Args:
        what: a study (a file, a bundled name or a dict), or a run's folder.
        rows: in its place: a data file, or the name of a data set.
        examples: so many tokenised examples a task, of a study.
        overrides: as `--set`: of a study, or path=DIR and split=SPLIT of a named data set.

    Raises:
        ConfigError, DataError, ModelError: it cannot be read.

    Example:
        >>> shown = tunelab.show("quickstart", examples=1)
        >>> [example.num_supervised for task in shown for example in task.examples]
        [44]
        >>> tunelab.show(rows="sums.jsonl").columns
        {'question': 'text', 'answer': 'text'}
    """
    sets = given.texts(overrides, "overrides")
    if (what is None) == (rows is None):
        raise ConfigError("show what? Give a study or a run's folder, or rows=FILE or a data set's name")
    from tunelab.api.model_results import FileRows, RunFacts, StudyData
    from tunelab.study.verbs import show as shower

    if rows is not None:
        name = str(given.path(rows, "rows"))
        return FileRows.named(name, shower.show_rows(name, overrides=sets))
    if not isinstance(what, Mapping) and (given.path(what, "what") / "run.json").exists():
        from tunelab.launch.printing import run_text
        from tunelab.study.store import RunFolder

        return RunFacts(run_text(RunFolder(given.path(what, "what"))))
    from tunelab.api.studies import load_study

    study = what if isinstance(what, Mapping) else given.path(what, "what")
    return StudyData(shower.show_study(load_study(study, overrides=sets), num_examples=examples))


def generate(
    model: str | Path,
    prompts: Sequence[str | Mapping[str, Any]],
    *,
    max_new_tokens: int | None = None,
    beams: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    system: str | None = None,
    chat: bool = False,
) -> Texts:
    """One text a prompt, from a run's folder, an adapter, a model folder, a hub id or an embedded model.

    Args:
        prompts: a list of texts, or of rows as {column: value} for the prompt template of the run's task.
        temperature: 0 takes the likeliest token; above, tokens are drawn, and `top_p` draws from the likeliest ones
            that together have this probability. The same call draws the same.
        system: what stands before each prompt as the system's turn of a conversation.
        chat: write the prompts as the user's turn by the model's own chat template.

    Raises:
        ConfigError: one text in place of a list, or settings that contradict each other.
        ModelError: the model is not there, or cannot be read.

    Example:
        >>> texts = tunelab.generate("tunelab/tiny", ["The kitchen was", "A pub"], max_new_tokens=4)
        >>> len(texts), texts.prompts
        (2, ['The kitchen was', 'A pub'])
        >>> tunelab.generate("tunelab/tiny", "The kitchen was")
        Traceback (most recent call last):
        tunelab.errors.ConfigError: prompts: must be a list; got 'The kitchen was'; write prompts=['The kitchen was']
    """
    asked, source = given.prompts(prompts), given.model(model)
    from tunelab.api.model_results import Texts
    from tunelab.study.verbs.generate import generate as generate_texts

    notes: list[str] = []
    found = generate_texts(
        source, asked, max_new_tokens=max_new_tokens, beams=beams, temperature=temperature, top_p=top_p,
        system=system, chat=chat, told=notes.append,
    )  # fmt: skip
    return Texts(found, asked, notes)


def score(
    hypotheses: str | Path | Sequence[str],
    references: str | Path | Sequence[str | Sequence[str]],
    *,
    metrics: Sequence[str] = ("bleu", "rouge_l"),
) -> Scores:
    """Score texts without a model: value, 95 % interval over the examples and signature of each metric; `note` says
    what a metric does not read of the references.

    Args:
        hypotheses: the outputs in a list, or a file (see `tunelab score --help`).
        references: for every output a text or a list of texts, or a file.
        metrics: names as in a study, a variant after a colon.

    Raises:
        ConfigError: an unknown metric, or a text that is no file where a list belongs.
        DataError: a file that cannot be read so, with its line, or unequal lengths.

    Example:
        >>> tunelab.score(["The Eagle is cheap."], [["The Eagle is a cheap pub."]], metrics=["rouge_1"])["rouge_1"].n
        1
        >>> tunelab.score(["a pub"], ["a pub"], metrics="bleu")
        Traceback (most recent call last):
        tunelab.errors.ConfigError: metrics: must be a list; got 'bleu'; write metrics=['bleu']
    """
    names = given.texts(metrics, "metrics")
    outputs, expected = given.outputs(hypotheses, "hypotheses"), given.references(references)
    from tunelab.api.model_results import Scores
    from tunelab.study.verbs.score import score_texts

    return Scores(score_texts(outputs, expected, metrics=names))


def evaluate(
    model: str | Path,
    *,
    tasks: Sequence[str] = (),
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
) -> Evaluations:
    """Score a run, an adapter, a model folder or a base model on each task, without training.

    Args:
        tasks: names of tasks, or STUDY:TASK for those of a study's; none: the task that the run was trained on.
        overrides: as `--set`; the task is `tasks.0`.
        out: where run.json, predictions.jsonl and result.json go; of several tasks in a folder each, by its name.

    Raises:
        ConfigError, DataError, ModelError: nothing is written then of the task, and every task is planned first.

    Example:
        >>> found = tunelab.evaluate("results/small/runs/RUN", overrides=["generation.max_new_tokens=4"])
        >>> found[0].method, found[0].task, sorted(found[0].scores)
        ('lora', 'restaurants', ['bleu', 'rouge_l'])
    """
    names, sets = given.texts(tasks, "tasks"), given.texts(overrides, "overrides")
    folder, source = None if out is None else given.path(out, "out"), given.model(model)
    from tunelab.api.model_results import Evaluations
    from tunelab.study.verbs.evaluate import evaluate as evaluate_model

    return Evaluations(evaluate_model(source, tasks=names, overrides=sets, out=folder))


def export(
    run: str | Path,
    folder: str | Path,
    *,
    merge: bool = False,
    dtype: Literal["fp32", "bf16", "fp16"] | None = None,
) -> ExportedModel:
    """Take a run's model out of its study: adapter or weights, with tokenizer and model card, read again and compared.

    Args:
        run: a finished run's folder.
        folder: a new folder to write.
        merge: plain weights that transformers loads by itself, instead of the method's own format.
        dtype: of merged weights; left out: the type that most of the base's files have.

    Raises:
        ConfigError: no finished run, or the folder is not free.
        ModelError: the base is missing, or has changed since.
        RunError: what was written does not compute what was trained; nothing stays.

    Example:
        >>> tunelab.export("results/small/runs/RUN", "exported").kind
        'adapter'
    """
    source, target = given.path(run, "run"), given.path(folder, "folder")
    given.choice(dtype, "dtype", ("fp32", "bf16", "fp16"))
    from tunelab.api.model_results import ExportedModel
    from tunelab.export.export import export as export_run

    return ExportedModel(*export_run(source, target, merge=merge, dtype=dtype))
