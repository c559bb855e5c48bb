"""What the command line's arguments and options can be."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from tunelab.launch.terminal import completion


class Cluster(str, Enum):
    local = "local"
    slurm = "slurm"
    in_process = "in-process"


class Place(str, Enum):
    local = "local"
    slurm = "slurm"


class Until(str, Enum):
    decided = "decided"


class Dtype(str, Enum):
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Listed(str, Enum):
    methods = "methods"
    tasks = "tasks"
    metrics = "metrics"
    models = "models"
    studies = "studies"
    runs = "runs"
    results = "results"
    trackers = "trackers"


def _version(wanted: bool) -> None:
    from tunelab import __version__

    if wanted:
        print(f"tunelab {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
]
StudyName = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="A study file, or the name of a bundled study.",
        autocompletion=completion.studies,
    ),
]
Results = Annotated[
    str,
    typer.Argument(
        metavar="STUDY|DIR",
        help="A study, or the results folder of `tunelab run`.",
        autocompletion=completion.studies_and_results,
    ),
]
ResultsOut = Annotated[
    Path | None, typer.Option("--out", help="Results folder of the study.", show_default="results/<study name>")
]
Shown = Annotated[
    str | None,
    typer.Argument(
        metavar="[STUDY|RUN]",
        help="A study, or a run's folder.",
        autocompletion=completion.studies_and_runs,
    ),
]
Folders = Annotated[
    list[Path],
    typer.Argument(metavar="DIR...", help="Results folders of `tunelab run`.", autocompletion=completion.results),
]
FinishedRun = Annotated[
    Path, typer.Argument(metavar="RUN", help="A finished run's folder.", autocompletion=completion.runs)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change the study: dotted path, numbers index lists. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
PlannedMemory = Annotated[
    str | None,
    typer.Option(
        "--memory", metavar="SIZE|GPU", help="Predict what runs need: 16GiB, t4, h100, or gpu or cpu of this machine."
    ),
]
PlannedTime = Annotated[bool, typer.Option("--time", help="Predict how long runs take.")]
PlannedDevice = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="cpu|gpu|GPU",
        help="Predict for this device, memory and time; a GPU by its name need not be here.",
        show_default="where runs execute here",
    ),
]
ModelName = Annotated[
    str,
    typer.Argument(
        metavar="RUN|MODEL",
        help="A run's folder, an adapter, a model folder, or a hub id.",
        autocompletion=completion.models,
    ),
]
Hypotheses = Annotated[Path, typer.Argument(metavar="HYPOTHESES", help="Outputs: one a line, or .jsonl.")]
References = Annotated[
    Path,
    typer.Argument(
        metavar="REFERENCES",
        help="One a line (tabs separate several), groups separated by blank lines, the E2E table, or .jsonl.",
    ),
]
MetricNames = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        help="Separated by commas, a variant after a colon: bleu:e2e,nist.",
        autocompletion=completion.metrics,
    ),
]
TrainFile = Annotated[
    list[Path],
    typer.Option(
        metavar="FILE", help="Rows to train on: jsonl, json, csv, tsv, parquet, txt. Repeatable; or 'data/*.csv'."
    ),
]
TestFile = Annotated[
    list[Path] | None, typer.Option(metavar="FILE", help="Rows to score on; without it a tenth of train is split off.")
]
ValidationFile = Annotated[
    list[Path] | None, typer.Option(metavar="FILE", help="Rows to validate on; without it held out of train.")
]
Encoding = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of text files.", show_default="utf-8; cp1252 where a file is not")
]
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header", help="Whether a csv's first line names its columns.", show_default="told by it"
    ),
]
Rows = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|SOURCE",
        help="A data file, or a named data set (--set path=DIR): columns, rows.",
        autocompletion=completion.sources,
    ),
]
Examples = Annotated[
    int | None,
    typer.Option(
        min=0, metavar="N", help="Tokenised examples per task; of a run, its outputs instead.", show_default="3"
    ),
]
Worst = Annotated[
    bool | None, typer.Option("--worst/--best", help="Of a run: the outputs that scored worst, or best, first.")
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="A task, or STUDY:TASK; a run's own when left out. Repeatable.",
        autocompletion=completion.tasks,
    ),
]
EvaluationCluster = Annotated[Place, typer.Option("--cluster", help="slurm: as a job, into --out.")]
ReportOut = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where to.", show_default="its own; results/report for several")
]
Price = Annotated[
    str | None,
    typer.Option(metavar="2.5EUR/h", help="Of an hour of one device.", show_default="the study's"),
]
Power = Annotated[str | None, typer.Option(metavar="WATTS", help="Of one device.", show_default="the study's")]
Trackers = Annotated[
    list[str] | None,
    typer.Option("--to", metavar="NAME", help="A tracker. Repeatable.", show_default="those of the study"),
]
Prepare = Annotated[
    str | None, typer.Option(metavar="BACKEND", help="jittor: make its environment and compile it (some minutes).")
]
Calibrate = Annotated[
    bool, typer.Option("--calibrate", help="Measure this machine's products anew, in a second or two.")
]
MergedDtype = Annotated[Dtype | None, typer.Option(help="Of merged weights.", show_default="that of the base's files")]
Gguf = Annotated[
    bool, typer.Option("--gguf", help="Merge, and write a GGUF file for llama.cpp too; wants 'tunelab[gguf]'.")
]
ListedFolder = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FOLDER]",
        help="runs: a results folder. results: where such are.",
        show_default="results",
        autocompletion=completion.results,
    ),
]
PromptFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="txt: a prompt a line; jsonl, json: texts or rows; csv, tsv, parquet: rows."),
]
Temperature = Annotated[
    float | None, typer.Option(metavar="T", help="Above 0 tokens are drawn, seeded; 0 takes the likeliest.")
]
TopP = Annotated[
    float | None, typer.Option(metavar="P", help="Draw from the likeliest tokens of this probability together.")
]
SystemText = Annotated[str | None, typer.Option("--system", metavar="TEXT", help="System turn of each conversation.")]
Chat = Annotated[
    bool, typer.Option("--chat", help="Prompts are messages to a chat model; at a terminal without one, turn by turn.")
]
UntilDecided = Annotated[Until | None, typer.Option(help="decided: add seeds until every method is as good or worse.")]
Rehearse = Annotated[
    bool, typer.Option("--rehearse", help="Execute stand-ins instead, in a minute or two: what breaks, breaks now.")
]
