"""tunelab fine-tunes one language model every way that fits, on your task, and tells which way to keep.

    import tunelab

    tunelab.plan("study.yaml").runs                     # what would be executed, with parameter counts
    outcome = tunelab.run("study.yaml")                 # execute what is not finished, write the report
    tunelab.report("results/study")                     # the report again, from records
    tunelab.generate("results/study/runs/RUN", ["..."])
    tunelab.score(["an output"], [["a reference"]], metrics=["bleu", "chrf"])

Everything heavy is imported when it is called: importing tunelab imports no torch.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tunelab.launch.run import Outcome
    from tunelab.launch.view import View
    from tunelab.records import Score
    from tunelab.report.frame import Comparison
    from tunelab.study.planning.planned import Plan
    from tunelab.study.planning.preview import Preview

__all__ = ["generate", "load_study", "plan", "report", "run", "score"]
__version__ = "0.1.0"


def load_study(study: str | Path, *, overrides: Sequence[str] = ()) -> Plan:
    """Read and check a study: a file, or the name of a bundled one.

    Args:
        overrides: as `--set`, for example ["batch.examples=8", "seeds=[0]"].

    Raises:
        ConfigError: every problem, with file and line.

    Example:
        >>> tunelab.load_study("quickstart").study.seeds
        (0, 1)
    """
    from tunelab.config.read import read_study
    from tunelab.study.planning.bundled import study_path
    from tunelab.study.planning.plan import make_plan

    return make_plan(read_study(study_path(study), overrides=overrides, lenient=True))


def plan(study: str | Path = "quickstart", *, overrides: Sequence[str] = ()) -> Preview:
    """The runs of a study with their parameter counts, from configurations alone: no weights, no hub.

    Raises:
        ConfigError: every problem, methods that do not fit the model included.

    Example:
        >>> [(run.method, run.trainable_parameters) for run in tunelab.plan("gpt2-ten-corpora").runs]
        [('base', 0), ('lora', 811008)]
    """
    from tunelab.study.planning.preview import preview

    return preview(load_study(study, overrides=overrides))


def run(
    study: str | Path = "quickstart",
    *,
    out: str | Path | None = None,
    cluster: str | None = None,
    overrides: Sequence[str] = (),
    view: View | None = None,
    rehearse: bool = False,
    until: Literal["decided"] | None = None,
    max_seeds: int = 10,
    hours: float | None = None,
    wait: bool = False,
    replace: bool = False,
) -> Outcome:
    """Execute every run of a study that is not finished, and write the report.

    Args:
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
        >>> outcome = tunelab.run("quickstart", out="results/quickstart")
        >>> outcome.comparison.rows[0].scores["rouge_l"].mean
    """
    from rich.console import Console

    from tunelab.launch.follow import follow
    from tunelab.launch.run import refuse_other_study, run_study
    from tunelab.launch.view import PlainView
    from tunelab.launch.waves import patience
    from tunelab.ownership import own
    from tunelab.study.planning.preview import count_parameters

    planned = load_study(study, overrides=overrides)
    folder = Path("results") / planned.study.name if out is None else Path(out)
    if rehearse:
        from tunelab.study.planning.rehearse import rehearsal_folder
        from tunelab.study.planning.rehearse import rehearse as smaller

        folder, cluster = rehearsal_folder(folder), None if cluster == "slurm" else cluster
        planned = smaller(planned, folder)
    if not replace:
        refuse_other_study(planned, folder)
    count_parameters(planned)  # a method that does not fit the model is told before anything is trained
    view = view or PlainView(Console())
    limits = None
    if until is not None:
        from tunelab.launch.until import Limits, check_limits, run_until_decided

        check_limits(limits := Limits(max_seeds, hours), planned)
    with own(folder, patience=patience()):  # one at a time, also from several hosts
        if limits is not None:
            outcome = run_until_decided(planned, out=folder, cluster=cluster, view=view, limits=limits)
        else:
            outcome = run_study(planned, out=folder, cluster=cluster, view=view)
    return follow(outcome, view) if wait and outcome.jobs is not None else outcome


def generate(
    model: str | Path,
    prompts: Sequence[str | Mapping[str, Any]],
    *,
    max_new_tokens: int | None = None,
    beams: int | None = None,
) -> list[str]:
    """One text a prompt, from a run's folder, an adapter, a model folder, a hub id or an embedded model.

    Raises:
        ModelError: the model is not there, or cannot be read.

    Example:
        >>> tunelab.generate("tunelab/tiny", ["The kitchen was"], max_new_tokens=20)
    """
    from tunelab.study.verbs.generate import generate as generate_text

    return generate_text(str(model), prompts, max_new_tokens=max_new_tokens, beams=beams)


def score(
    hypotheses: str | Path | Sequence[str],
    references: str | Path | Sequence[str | Sequence[str]],
    *,
    metrics: Sequence[str] = ("bleu", "rouge_l"),
) -> dict[str, Score]:
    """Score texts without a model: value, 95 % interval over the examples and signature of each metric; `note` says
    what a metric does not read of the references.

    Args:
        hypotheses: a file (see `tunelab score --help`), or the outputs themselves.
        references: a file, or for every output a text or a list of texts.
        metrics: names as in a study, a variant after a colon.

    Raises:
        ConfigError: an unknown metric.
        DataError: a file that cannot be read so, with its line, or unequal lengths.

    Example:
        >>> tunelab.score(["The Eagle is cheap."], [["The Eagle is a cheap pub."]], metrics=["rouge_1"])["rouge_1"].n
        1
    """
    from tunelab.study.verbs.score import score_texts

    return score_texts(hypotheses, references, metrics=metrics)


class _Report(ModuleType):
    """The package tunelab.report, which can also be called: the folder and the function have one name, and importing
    anything below tunelab.report would otherwise put the folder in the function's place."""

    def __call__(self, *folders: str | Path, out: str | Path | None = None) -> Comparison:
        """Rebuild the report of one or several results folders from their records.

        Raises:
            ConfigError: a folder without study.yaml.

        Example:
            >>> tunelab.report("results/quickstart", "results/e2e-tiny", out="results/both").rows
        """
        from tunelab.launch.report import rebuild_report

        return rebuild_report([Path(folder) for folder in folders], out=None if out is None else Path(out)).comparison


from tunelab import report  # noqa: E402  (an empty folder; its class is the one above)

sys.modules["tunelab.report"].__class__ = _Report
