"""A study from Python: read, planned, executed, reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tunelab.api import given

if TYPE_CHECKING:
    from tunelab.api.planned_memory import PlannedMemory
    from tunelab.api.planned_runs import PlannedRuns
    from tunelab.api.planned_time import PlannedTime
    from tunelab.api.study_results import StudyComparison, StudyOutcome
    from tunelab.launch.view import View
    from tunelab.study.planning.planned import Plan

CLUSTERS = ("local", "slurm", "in-process")


def load_study(study: str | Path | Mapping[str, Any], *, overrides: Sequence[str] = ()) -> Plan:
    """Read and check a study: a file, the name of a bundled one, or a dict as its YAML would be.

    Args:
        study: relative paths in a file are relative to it, in a dict to the working folder.
        overrides: as `--set`, for example ["batch.examples=8", "seeds=[0]"].

    Raises:
        ConfigError: every problem, with file and line; of a dict with the path of its key.

    Example:
        >>> tunelab.load_study("quickstart")
        Plan(quickstart: full, lora x restaurants x seeds 0, 1 on tunelab/tiny-seq2seq)
        >>> tunelab.load_study("quickstart", overrides=["seeds=[7]"]).study.seeds
        (7,)
        >>> study = {"model": "tunelab/tiny", "tasks": ["restaurants"], "methods": [{"lora": {"rnk": 8}}]}
        >>> tunelab.load_study(study)
        Traceback (most recent call last):
        tunelab.errors.ConfigError: methods.0.lora.rnk: unknown key; did you mean 'rank'? ...
    """
    sets = given.texts(overrides, "overrides")
    if isinstance(study, Mapping):
        from tunelab.config.read import read_study
        from tunelab.study.planning.plan import make_plan

        return make_plan(read_study(given=study, overrides=sets, lenient=True))
    file = given.path(study, "study")
    from tunelab.config.read import read_study
    from tunelab.study.planning.bundled import study_path
    from tunelab.study.planning.plan import make_plan

    return make_plan(read_study(study_path(file), overrides=sets, lenient=True))


def plan(study: str | Path | Mapping[str, Any] = "quickstart", *, overrides: Sequence[str] = ()) -> PlannedRuns:
    """The runs of a study with their parameter counts, from configurations alone: no weights, no hub.

    Raises:
        ConfigError: every problem, methods that do not fit the model included.

    Example:
        >>> [(run.method, run.trainable_parameters) for run in tunelab.plan("gpt2-ten-corpora").runs]
        [('base', 0), ('lora', 811008)]
        >>> tunelab.plan({"model": "tunelab/tiny", "tasks": ["restaurants"], "methods": ["full"], "seeds": [0]})
        study: 2 runs on tunelab/tiny
        Method  Task         Seed  Rate ...
        ...
        full    restaurants     0  2e-5  4.00 M 100 %  4.00 M    100 %
    """
    planned = load_study(study, overrides=overrides)
    from tunelab.api.planned_runs import PlannedRuns
    from tunelab.study.planning.preview import preview

    return PlannedRuns(*preview(planned))


def memory(
    study: str | Path | Mapping[str, Any] = "quickstart",
    limit: str = "cpu",
    *,
    device: Literal["cpu", "gpu"] | str | None = None,
    overrides: Sequence[str] = (),
) -> PlannedMemory:
    """What the methods of a study will need, from configurations alone, which of them fit, and the way out for others.

    Args:
        limit: a size ("16GiB"), a GPU's name ("t4"), or "gpu" or "cpu" of this machine.
        device: where a size is: "cpu" or "gpu"; left out: where runs execute on this machine.

    Raises:
        ConfigError: every problem of the study, or no such limit.

    Example:
        >>> study = {"model": "tunelab/tiny", "tasks": ["restaurants"], "methods": ["full", "lora"]}
        >>> needed = tunelab.memory(study, "1KiB", device="gpu")
        >>> [(each.method, each.fits) for each in needed.methods]
        [('full', False), ('lora', False)]
        >>> needed.methods[0].forecast.train["weights, trained, float32"]
        16000000
    """
    given.choice(device, "device", ("cpu", "gpu"))
    planned = load_study(study, overrides=overrides)
    from tunelab.api.planned_memory import PlannedMemory
    from tunelab.study.foresight.memory import asked_of, study_memory

    asked = asked_of(limit, device=device)
    return PlannedMemory(*study_memory(planned, asked=asked))


def time(
    study: str | Path | Mapping[str, Any] = "quickstart",
    device: str | None = None,
    *,
    overrides: Sequence[str] = (),
) -> PlannedTime:
    """How long the methods of a study will take, from what a step computes and how long the rows are.

    Args:
        device: "cpu" or "gpu" of this machine, whose speed is measured once; a GPU's name ("h100"), of which it is an
            estimate; left out: where runs execute on this machine.

    Raises:
        ConfigError: every problem of the study, or no such device.
        DataError: data that is on this machine and cannot be read.

    Example:
        >>> needed = tunelab.time({"model": "tunelab/tiny", "tasks": ["restaurants"], "methods": ["lora"]}, "t4")
        >>> [(each.method, each.duration.steps) for each in needed.methods]
        [('lora', 564)]
        >>> needed.seconds > needed.methods[0].duration.train > 0
        True
    """
    planned = load_study(study, overrides=overrides)
    from tunelab.api.planned_time import PlannedTime
    from tunelab.study.foresight.time import study_time

    return PlannedTime(*study_time(planned, device=device))


def run(
    study: str | Path | Mapping[str, Any] = "quickstart",
    *,
    out: str | Path | None = None,
    cluster: Literal["local", "slurm", "in-process"] | str | None = None,
    overrides: Sequence[str] = (),
    view: View | None = None,
    rehearse: bool = False,
    until: Literal["decided"] | None = None,
    max_seeds: int = 10,
    hours: float | None = None,
    wait: bool = False,
    replace: bool = False,
) -> StudyOutcome:
    """Execute every run of a study that is not finished, and write the report.

    Args:
        study: a file, the name of a bundled one, or a dict as its YAML would be.
        out: the results folder; left out: results/<study name>. Calling again with the same folder resumes.
        cluster: 'local' (a process a run), 'slurm' (docs/slurm.md) or 'in-process'; left out: as the study says.
        view: told what happens; left out: lines on standard output.
        rehearse: execute stand-ins (a toy model, few rows, few steps) into OUT-rehearsal instead, in this process
            unless `cluster` says otherwise: what would break breaks in a minute or two.
        until: 'decided' adds seeds until every method is as good as the best or worse, the same for all that are
            undecided and for the best, up to `max_seeds` of a method or for `hours`; see docs/decisions.md.
        wait: with 'slurm', return when nothing is left to run instead of after submission.
        replace: take over a folder that holds the results of a study of another name.

    Raises:
        ConfigError, DataError, ModelError: before anything is trained. A run that fails is in the outcome instead.
        RunBusy: another process, here or on another host, is running the study in this folder.

    Example:
        >>> study = {
        ...     "name": "small",
        ...     "model": "tunelab/tiny-seq2seq",
        ...     "tasks": [{"name": "restaurants", "train_rows": 32, "validation_rows": 8, "test_rows": 8}],
        ...     "methods": [{"lora": {"rank": 4}}],
        ...     "seeds": [0],
        ...     "budget": {"steps": 2},
        ...     "generation": {"max_new_tokens": 8},
        ... }
        >>> outcome = tunelab.run(study, cluster="in-process")
        2 runs: 1 to train; 1 to evaluate, without training
        base--restaurants--seed0--...
        >>> [row.method for row in outcome.comparison.rows]
        ['base', 'lora']
        >>> outcome.run_folder("lora").parent.as_posix()
        'results/small/runs'
    """
    from rich.console import Console

    from tunelab.launch.follow import follow
    from tunelab.launch.run import refuse_other_study, run_study
    from tunelab.launch.view import PlainView
    from tunelab.launch.waves import patience
    from tunelab.ownership import own
    from tunelab.study.planning.preview import count_parameters

    given.choice(cluster, "cluster", CLUSTERS)
    given.choice(until, "until", ("decided",))
    planned = load_study(study, overrides=overrides)
    folder = Path("results") / planned.study.name if out is None else given.path(out, "out")
    if rehearse:
        from tunelab.study.planning.rehearse import rehearsal_folder
        from tunelab.study.planning.rehearse import rehearse as smaller

        folder, cluster = rehearsal_folder(folder), None if cluster == "slurm" else cluster
        planned = smaller(planned, folder)
    if not replace:
        refuse_other_study(planned, folder)
    count_parameters(planned)  # a method that does not fit the model is told before anything is trained
    view = view or PlainView(Console(force_jupyter=False))  # a notebook would make a block of HTML of every line
    limits = None
    if until is not None:
        from tunelab.launch.until import Limits, check_limits, run_until_decided

        check_limits(limits := Limits(max_seeds, hours), planned)
    with own(folder, patience=patience()):  # one at a time, also from several hosts
        if limits is not None:
            outcome = run_until_decided(planned, out=folder, cluster=cluster, view=view, limits=limits)
        else:
            outcome = run_study(planned, out=folder, cluster=cluster, view=view)
    from tunelab.api.study_results import StudyOutcome

    return StudyOutcome.of(follow(outcome, view) if wait and outcome.jobs is not None else outcome)


def report(
    *folders: str | Path, out: str | Path | None = None, price: str | None = None, power: str | None = None
) -> StudyComparison:
    """Rebuild the report of one or several results folders from their records.

    Args:
        price: of an hour of one device, as '2.5EUR/h'; left out: the study's own.
        power: of one device, as '350W'; left out: the study's own.

    Raises:
        ConfigError: no folder, or one without study.yaml; a price or a power that is none.

    Example:
        >>> tunelab.report("results/small").run_folder("base").parent.as_posix()
        'results/small/runs'
        >>> tunelab.report(["results/small", "results/other"])
        Traceback (most recent call last):
        tunelab.errors.ConfigError: report: folders are given one by one, as in report(*folders); got ...
    """
    where = given.folders(folders)
    from tunelab.api.study_results import StudyComparison
    from tunelab.launch.report import rebuild_report

    rebuilt = rebuild_report(where, out=None if out is None else given.path(out, "out"), price=price, power=power)
    said = f"{rebuilt.warning}." if rebuilt.warning else ""
    return StudyComparison.of(rebuilt.comparison, folder=rebuilt.folder, warning=said)
