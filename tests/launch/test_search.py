"""A search end to end: what diverges is its outcome, unless nothing else is left."""

import io
import json

import pytest
from rich.console import Console

import tiny
from tunelab.config.read import read_study
from tunelab.launch.printing import outcome_text, run_text
from tunelab.launch.run import run_study
from tunelab.launch.view import LiveView, PlainView
from tunelab.study.planning.plan import make_plan
from tunelab.study.store import Store

pytestmark = pytest.mark.slow

STUDY = """
name: search
model: {model}
tasks: [{{name: restaurants, train_rows: 24, validation_rows: 4, test_rows: 4, metrics: [loss]}}]
methods:
  - full: {{learning_rate: {rates}}}
seeds: {seeds}
budget: {{steps: 6}}
batch: {{examples: 4, max_tokens: 256}}
optimizer: {{clip: null}}
threads: 1
"""
MUCH, TOO_MUCH = "1e30", "1e32"
"""Learning rates at which the loss is not finite after a step."""


class Seen:
    """Which runs were started, and everything that the plain view prints."""

    def __init__(self) -> None:
        self.started: list[float] = []
        self.out = io.StringIO()
        self.plain = PlainView(Console(file=self.out, width=300))

    def told(self, text: str) -> None: ...

    def planned(self, runs, store) -> None:
        self.plain.planned(runs, store)

    def event(self, run, event) -> None:
        if event == {"event": "phase", "phase": "load"}:
            self.started.append(run.method.get("learning_rate"))
        self.plain.event(run, event)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.model_folder(tmp_path_factory.mktemp("model"))


def execute(model, out, rates: str, *, seeds: str = "[0]"):
    seen = Seen()
    plan = make_plan(read_study(text=STUDY.format(model=model, rates=rates, seeds=seeds)))
    return run_study(plan, out=out, cluster="in-process", view=seen), seen


def test_a_candidate_that_diverges_is_an_outcome_of_the_search(model, tmp_path):
    outcome, seen = execute(model, tmp_path, f"[1e-3, {MUCH}]", seeds="[0, 1]")
    assert outcome.num_failed == 0, "the exit status is 0"
    row = next(row for row in outcome.comparison.rows if row.method == "full")
    assert row.learning_rate == 1e-3 and row.num_seeds == row.num_seeds_planned == 2 and not row.failures
    assert row.num_learning_rates_tried == 2 and row.search_seconds > 0, "what it cost until then is counted"
    assert "diverged at step 2: an outcome of the search" in seen.out.getvalue()
    page = (tmp_path / "report.md").read_text()
    assert "diverged at step 2" in page and "Failed runs" not in page and "did not finish" not in page
    assert "did not finish" not in outcome_text(outcome) and "FAILED" not in outcome_text(outcome) + seen.out.getvalue()
    folder = next(each for each in Store(tmp_path).all_runs() if each.divergence())
    assert "DIVERGED: step 2: loss" in run_text(folder)
    assert folder.divergence().step == 2 and folder.divergence().phases["train"].seconds > 0
    assert not folder.checkpoint.exists(), "nothing of it is kept but records"

    again, seen = execute(model, tmp_path, f"[1e-3, {MUCH}]", seeds="[0, 1]")
    assert seen.started == [] and again.num_failed == 0, "it is not tried again"
    assert "diverged at step 2" in seen.out.getvalue()


def test_one_rate_that_diverges_is_a_failure_and_is_tried_again(model, tmp_path):
    outcome, seen = execute(model, tmp_path, MUCH)
    assert outcome.num_failed == 1
    assert "FAILED" in seen.out.getvalue() and "a lower learning rate or a longer warm-up" in outcome_text(outcome)
    _, seen = execute(model, tmp_path, MUCH)
    assert seen.started == [float(MUCH)]


def test_a_search_in_which_every_candidate_diverges_has_failed(model, tmp_path):
    outcome, _ = execute(model, tmp_path, f"[{MUCH}, {TOO_MUCH}]", seeds="[0, 1]")
    assert outcome.num_failed == 2
    assert "FAILED" in outcome_text(outcome) and "a lower learning rate" in outcome_text(outcome)
    assert "Failed runs" in (tmp_path / "report.md").read_text()
    again, seen = execute(model, tmp_path, f"[1e-3, {MUCH}, {TOO_MUCH}]", seeds="[0, 1]")
    assert seen.started == [1e-3, 1e-3] and again.num_failed == 0, "a lower rate in the list is the way out"


def test_an_error_of_a_candidate_that_is_no_divergence_stays_a_failure(model, tmp_path, monkeypatch):
    from tunelab.training import loop

    whole = loop.take_step

    def broken(session, run, order, number, *, peak):
        if peak > 1e-3:
            raise MemoryError("out of memory")
        return whole(session, run, order, number, peak=peak)

    monkeypatch.setattr(loop, "take_step", broken)
    outcome, seen = execute(model, tmp_path, "[1e-3, 3e-3]")
    assert outcome.num_failed == 1 and "FAILED: MemoryError: out of memory" in seen.out.getvalue()
    failures = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/failure.json")]
    assert len(failures) == 1 and "diverged" not in failures[0]


def test_a_terminal_shows_a_candidate_that_diverged(model, tmp_path):
    shown = io.StringIO()
    view = LiveView(Console(file=shown, width=200))
    plan = make_plan(read_study(text=STUDY.format(model=model, rates=f"[1e-3, {MUCH}]", seeds="[0]")))
    run_study(plan, out=tmp_path, cluster="in-process", view=view)
    Console(file=shown, width=200).print(view._render())
    line = next(line for line in shown.getvalue().splitlines() if "rate 1e+30" in line)
    assert "diverged at step 2" in line and "failed" not in line


AUTO = STUDY.replace("full: {{learning_rate: {rates}}}", "{method}")


def execute_auto(model, out, method: str, *, seeds: str = "[0]"):
    seen = Seen()
    plan = make_plan(read_study(text=AUTO.format(model=model, method=method, seeds=seeds)))
    return run_study(plan, out=out, cluster="in-process", view=seen), seen


def test_auto_goes_one_rung_beyond_the_edge_where_the_winner_stands_and_no_further(model, tmp_path):
    outcome, seen = execute_auto(model, tmp_path, "lora: {learning_rate: auto}", seeds="[0, 1]")
    assert seen.started == [None, 2e-4, 6e-5, 6e-4, 2e-3, 2e-3], "a tiny model wants more than the documented rate"
    row = next(row for row in outcome.comparison.rows if row.method == "lora")
    assert (row.learning_rate, row.num_learning_rates_tried, row.num_seeds) == (2e-3, 4, 2)
    page = (tmp_path / "report.md").read_text()
    assert "kept; at the edge of what was tried: the highest rate" in page
    assert "auto went one rung beyond its ladder, where the winner stood: lora." in page
    again, seen = execute_auto(model, tmp_path, "lora: {learning_rate: auto}", seeds="[0, 1]")
    assert seen.started == [] and again.num_failed == 0


def test_auto_does_not_go_beyond_a_rate_that_diverged(model, tmp_path, monkeypatch):
    from tunelab.methods.full import Full

    monkeypatch.setattr(Full, "documented_rate", 1e-3)
    from tunelab.errors import Diverged
    from tunelab.training import loop

    whole = loop.take_step

    def diverging(session, run, order, number, *, peak):
        if peak > 1e-3:
            raise Diverged(f"step {number}: loss nan", step=number)
        return whole(session, run, order, number, peak=peak)

    monkeypatch.setattr(loop, "take_step", diverging)
    outcome, seen = execute_auto(model, tmp_path, "full: {learning_rate: auto}")
    assert seen.started == [None, 1e-3, 3e-4, 3e-3]
    row = next(row for row in outcome.comparison.rows if row.method == "full")
    assert row.learning_rate == 1e-3 and outcome.num_failed == 0
    assert "edge" not in (tmp_path / "report.md").read_text()


def test_the_one_more_rung_is_no_unequal_effort_and_is_counted(model, tmp_path):
    methods = "lora: {learning_rate: auto}\n  - full: {learning_rate: [2e-4, 3e-4, 1e-4]}"
    outcome, _ = execute_auto(model, tmp_path, methods)
    rows = {row.method: row for row in outcome.comparison.rows}
    assert rows["lora"].num_learning_rates_tried == 4 and rows["full"].num_learning_rates_tried == 3
    assert not any("unequal" in mark for row in rows.values() for mark in row.marks)
