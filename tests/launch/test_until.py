"""Seeds are added until it is decided, each look is paid for and written down, and a stopped study goes on."""

import json

import pytest

import tiny
from tunelab.config.read import read_study
from tunelab.errors import ConfigError, RunError
from tunelab.launch.report import rebuild_report
from tunelab.launch.run import run_study
from tunelab.launch.until import Limits, check_limits, run_until_decided
from tunelab.significance.looks import Taken, next_level
from tunelab.study.planning.plan import make_plan
from tunelab.study.store import Store

pytestmark = pytest.mark.slow

STUDY = """
name: decided
model: {model}
tasks: [{{name: restaurants, train_rows: 24, validation_rows: 4, test_rows: 24, metrics: [loss]}}]
methods:
  - full: {{learning_rate: 0.01}}
  - {second}
{more}
seeds: {seeds}
budget: {{steps: 6}}
batch: {{examples: 4, max_length: 64}}
decision: {{margin: {margin}}}
launch: {{cluster: in-process}}
threads: 1
"""


class Seen:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.started: list[tuple[str, int]] = []
        self.stop_at: tuple[str, int] | None = None

    def planned(self, runs, store) -> None: ...

    def told(self, text: str) -> None:
        self.lines.append(text)

    def event(self, run, event) -> None:
        if event == {"event": "phase", "phase": "load"}:
            self.started.append((run.method["label"], run.seed))
            if self.started[-1] == self.stop_at:
                raise KeyboardInterrupt


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.model_folder(tmp_path_factory.mktemp("model"))


LORA, NEAR = "lora: {rank: 2, learning_rate: 0.01}", "full: {learning_rate: 0.0101}"
"""Far from the first method, and so near to it that no number of seeds can tell."""


def planned(model, *, second=LORA, seeds="[0, 1, 2]", margin="10 %", more=""):
    return make_plan(read_study(text=STUDY.format(model=model, second=second, seeds=seeds, margin=margin, more=more)))


def until(plan, out, *, most=4, hours=None, seen=None):
    seen = seen or Seen()
    return run_until_decided(plan, out=out, cluster=None, view=seen, limits=Limits(most, hours)), seen


def looks_of(out):
    return json.loads((out / "looks.json").read_text())


def words(outcome):
    return {row.method: row.scores["loss"].word for row in outcome.comparison.rows}


def test_what_is_decided_at_the_first_look_gets_no_further_seed(model, tmp_path):
    outcome, seen = until(planned(model, margin="50.0"), tmp_path)
    assert words(outcome) == {"base": None, "full": "as good", "lora": "as good"}
    (look,) = looks_of(tmp_path)["looks"]
    assert look["counted"] == 3 and look["level"] == pytest.approx(next_level([], 3, 4))
    assert looks_of(tmp_path)["further"] == [] and len(seen.started) == 1 + 2 * 3
    assert seen.lines[0].endswith("to train; 1 to evaluate, without training")
    assert seen.lines[1:] == ["restaurants at 3 seeds: full, lora as good (level 2.9 %)"]


def test_undecided_methods_get_the_same_further_seeds_up_to_the_limit_and_every_look_is_paid_for(model, tmp_path):
    plan = planned(model, margin="1.0e-9", second=NEAR)
    outcome, _ = until(plan, tmp_path, most=4)
    first, second = looks_of(tmp_path)["looks"]
    assert (first["counted"], second["counted"]) == (3, 4)
    assert second["level"] == pytest.approx(next_level([Taken(3, first["level"])], 4, 4), rel=1e-9)
    undecided = [method for method, word in first["words"].items() if word == "undecided"]
    further = {one["method"]: one["seeds"] for one in looks_of(tmp_path)["further"]}
    assert undecided and further == {method: [3] for method in {*undecided, first["best"]}}
    assert max(row.num_seeds for row in outcome.comparison.rows) == 4
    assert "Looks until it was decided" in (tmp_path / "report.html").read_text()
    table = (tmp_path / "report.md").read_text().partition("### Looks until it was decided")[2].splitlines()
    assert table[4].startswith(f"| 3 | {100 * first['level']:.2f} % |") and table[5].startswith("| 4 |")


def test_a_report_made_anew_and_a_plain_run_keep_the_words_and_take_no_look(model, tmp_path):
    plan = planned(model, margin="1.0e-9", second=NEAR)
    outcome, _ = until(plan, tmp_path, most=4)
    before = (tmp_path / "looks.json").read_bytes()
    assert words(rebuild_report([tmp_path])) == words(outcome)
    seen = Seen()
    assert words(run_study(plan, out=tmp_path, cluster=None, view=seen)) == words(outcome)
    assert seen.started == [] and (tmp_path / "looks.json").read_bytes() == before
    again, seen = until(plan, tmp_path, most=4)
    assert words(again) == words(outcome) and seen.started == []
    assert seen.lines[0].endswith("finished, kept as they are")
    assert all("stay undecided at 4 seeds, the limit" in line for line in seen.lines[1:]) and seen.lines[1:]
    assert (tmp_path / "looks.json").read_bytes() == before


def test_a_stopped_study_goes_on_with_the_look_that_it_was_at(model, tmp_path):
    plan = planned(model, margin="1.0e-9", second=NEAR)
    whole, _ = until(plan, tmp_path / "whole", most=4)
    seen = Seen()
    seen.stop_at = next((one["method"], 3) for one in looks_of(tmp_path / "whole")["further"])
    with pytest.raises(KeyboardInterrupt):
        until(plan, tmp_path / "stopped", most=4, seen=seen)
    assert len(looks_of(tmp_path / "stopped")["looks"]) == 1
    outcome, _ = until(plan, tmp_path / "stopped", most=4)
    assert words(outcome) == words(whole)
    without = [{**look, "when": ""} for look in looks_of(tmp_path / "stopped")["looks"]]
    assert without == [{**look, "when": ""} for look in looks_of(tmp_path / "whole")["looks"]]


def test_runs_that_came_after_the_last_look_say_nothing_new(model, tmp_path):
    """A look that nobody paid for: a plain run with a seed more."""
    until(planned(model, margin="1.0e-9", second=NEAR), tmp_path, most=3)
    before = looks_of(tmp_path)["looks"][-1]["words"]
    plan = planned(model, margin="1.0e-9", second=NEAR, seeds="[0, 1, 2, 7]")
    later = run_study(plan, out=tmp_path, cluster=None, view=Seen())
    assert {row.num_seeds for row in later.comparison.rows if row.method != "base"} == {4}
    assert {method: word for method, word in words(later).items() if method != "base"} == before
    for row in later.comparison.rows:
        if row.method != "base":
            cell = row.scores["loss"]
            assert cell.lacks_high == float("inf") and cell.beats_base is not False, "nothing is claimed, nor denied"


def test_a_study_of_one_seed_begins_with_three_and_gets_no_more_when_called_again(model, tmp_path):
    plan = planned(model, margin="50.0", seeds="[5]")
    outcome, _ = until(plan, tmp_path)
    further = {"full": [6, 7], "lora": [6, 7]}
    assert {one["method"]: one["seeds"] for one in looks_of(tmp_path)["further"]} == further
    assert words(outcome)["full"] == "as good"
    _, seen = until(plan, tmp_path)
    assert seen.started == [] and {one["method"]: one["seeds"] for one in looks_of(tmp_path)["further"]} == further


def test_a_method_that_is_added_later_catches_up_and_the_limit_holds(model, tmp_path):
    until(planned(model, margin="1.0e-9", second=NEAR), tmp_path, most=4)
    more = "  - apollo: {rank: 2, learning_rate: 0.01}"
    outcome, seen = until(planned(model, margin="1.0e-9", second=NEAR, more=more), tmp_path, most=4)
    rows = {row.method: row for row in outcome.comparison.rows}
    assert rows["apollo"].num_seeds == 4 or rows["apollo"].scores["loss"].word != "undecided"
    assert max(row.num_seeds for row in rows.values()) == 4
    assert {method for method, _ in seen.started} == {"apollo"}


def test_a_task_or_a_label_that_is_gone_ends_nothing(model, tmp_path):
    until(planned(model, margin="1.0e-9", second=NEAR), tmp_path, most=3)
    fewer = planned(model, margin="1.0e-9", second="lora: {rank: 2, learning_rate: 0.01}")
    outcome, _ = until(fewer, tmp_path, most=3)
    assert set(words(outcome)) == {"base", "full", "lora"}


def test_looks_at_another_metric_count_for_nothing(model, tmp_path):
    until(planned(model, margin="50.0"), tmp_path)
    study = STUDY.format(model=model, second=LORA, seeds="[0, 1, 2]", margin="1.0e-9", more="")
    other, _ = until(make_plan(read_study(text=study)), tmp_path, most=3)
    looks = looks_of(tmp_path)["looks"]
    assert [look["rule"] for look in looks] == ["50.0", "1e-09"]
    assert "as good" not in [word for method, word in words(other).items() if method != looks[-1]["best"]]


def test_a_limit_raised_when_all_is_spent_trains_nothing_more(model, tmp_path):
    until(planned(model, margin="1.0e-9", second=NEAR), tmp_path, most=3)
    _, seen = until(planned(model, margin="1.0e-9", second=NEAR), tmp_path, most=4)
    assert seen.started == [] and "earlier looks have spent the whole level" in seen.lines[-1]


def test_what_is_made_of_runs_gets_its_parents_seeds(model, tmp_path):
    plan = planned(
        model,
        margin="1.0e-9",
        second=NEAR,
        more="  - merge: {of: [full learning_rate=0.01, full learning_rate=0.0101]}",
    )
    until(plan, tmp_path, most=4)
    further = {one["method"]: one["seeds"] for one in looks_of(tmp_path)["further"]}
    if any(label.startswith("merge") for label in further):
        assert further["full learning_rate=0.01"] == further["full learning_rate=0.0101"] == [3]


def test_hours_end_it_after_a_look(model, tmp_path):
    _, seen = until(planned(model, margin="1.0e-9", second=NEAR), tmp_path, hours=0.0)
    assert len(looks_of(tmp_path)["looks"]) == 1 and "hours are over" in seen.lines[-1]


def test_a_limit_below_the_studys_own_seeds_is_refused(model):
    with pytest.raises(ConfigError, match="--max-seeds 3 is below the study's own 4 seeds"):
        check_limits(Limits(3), planned(model, seeds="[0, 1, 2, 3]"))
    with pytest.raises(ConfigError, match="--max-seeds 2 is below 3, the fewest that are looked at"):
        check_limits(Limits(2), planned(model, seeds="[0]"))


def test_looks_that_cannot_be_read_are_one_line(tmp_path):
    (tmp_path / "looks.json").write_text('{"looks": [{}]}')
    with pytest.raises(RunError, match=r"looks.json cannot be read \(\d+ problems\); put it back, or delete it"):
        Store(tmp_path).read_looks()
