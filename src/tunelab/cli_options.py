"""What the command line's arguments and options can be."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer


class Cluster(str, Enum):
    local = "local"
    slurm = "slurm"
    in_process = "in-process"


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


StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study file, or the name of a bundled study.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change the study: dotted path, numbers index lists. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
ModelName = Annotated[
    str, typer.Argument(metavar="RUN|MODEL", help="A run's folder, an adapter, a model folder, or a hub id.")
]
