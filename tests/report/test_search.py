"""What a report says of a search: its candidates, the edge where a winner may stand, and the figure."""

import pytest

from report.study_folder import METRICS, write_failure, write_run
from tunelab.entries import RunEntry, StudyRuns
from tunelab.records import Divergence, PhaseCost
from tunelab.report.costs import search_table
from tunelab.report.drawing import looks, styled
from tunelab.report.frame import build_comparison
from tunelab.report.rate_plot import rate_figure
from tunelab.report.search import candidates, edge_of_winner, winner
from tunelab.report.tables import plain

LOSSES = {1e-4: 1.4, 3e-4: 1.2, 1e-3: 1.3}


def group_of(folder, losses: dict, *, diverged: tuple = (), failed: tuple = ()):
    """A search of 'lora' over the rates that `losses` names (the lowest wins), and over rates that came to nothing."""
    rates = [*losses, *diverged, *failed]
    best = min(losses, key=losses.get, default=None)
    entries = []
    for rate in rates:
        role = "run" if rate == best else "candidate"
        entries.append(RunEntry(f"lora-{rate:g}", "lora", "restaurants", 0, "torch", rate, role, len(rates)))
    entries.append(RunEntry("full", "full", "restaurants", 0, "torch", 2e-5, "run", 1))
    for entry in entries:
        home = folder / "runs" / entry.id
        if entry.learning_rate in (*diverged, *failed):
            write_failure(home, entry, "step 7: loss nan")
        else:
            write_run(home, entry, num_examples=4, validation_loss=losses.get(entry.learning_rate, 1.0))
        if entry.learning_rate in diverged:
            facts = Divergence(step=7, phases={"train": PhaseCost(seconds=30.0), "load": PhaseCost(seconds=1.0)})
            text = (home / "failure.json").read_text()
            (home / "failure.json").write_text(f'{text[:-1]}, "diverged": {facts.model_dump_json()}}}')
    (group,) = build_comparison([StudyRuns("s", folder, tuple(entries))], metrics=METRICS).groups
    return group


def test_the_winner_between_others_stands_at_no_edge(tmp_path):
    group = group_of(tmp_path, LOSSES)
    assert [run.entry.learning_rate for run in candidates(group, "lora")] == [1e-4, 3e-4, 1e-3]
    assert winner(group, "lora").entry.learning_rate == 3e-4
    assert edge_of_winner(group, "lora") is None
    assert candidates(group, "full") == [] and winner(group, "full") is None and edge_of_winner(group, "full") is None


@pytest.mark.parametrize(("best", "edge"), [(1e-4, "lowest"), (1e-3, "highest")])
def test_an_edge_is_named(tmp_path, best, edge):
    group = group_of(tmp_path, LOSSES | {best: 0.9})
    assert edge_of_winner(group, "lora") == edge
    assert f"kept; at the edge of what was tried: the {edge} rate" in plain(search_table(group))


def test_a_rate_that_diverged_bounds_the_search_and_one_that_failed_does_not(tmp_path):
    below = {1e-4: 1.4, 3e-4: 1.2}
    assert edge_of_winner(group_of(tmp_path / "1", below, diverged=(1e-3,)), "lora") is None
    assert edge_of_winner(group_of(tmp_path / "2", below, failed=(1e-3,)), "lora") == "highest"


def test_what_diverged_is_told_with_its_step_and_cost_and_no_run_is_missing(tmp_path):
    group = group_of(tmp_path, LOSSES, diverged=(3e-3,))
    table = plain(search_table(group))
    (line,) = [line for line in table.splitlines() if "3e-3" in line]
    assert "31.0 s" in line and "diverged at step 7" in line
    assert all(run.state == "finished" for run in group.runs)
    row = next(row for row in group.rows if row.method == "lora")
    assert row.search_seconds == pytest.approx(2 * (1.2 + 0.4 + 50.0 + 9.0) + 31.0) and not row.failures


def test_the_figure_has_every_candidate_a_ring_at_the_winner_and_a_cross_where_one_diverged(tmp_path):
    group = group_of(tmp_path, LOSSES, diverged=(3e-3,))
    with styled():
        figure = rate_figure(group, "restaurants", looks(["lora", "full"], "base"))
    (axes,) = figure.axes
    drawn = [line for line in axes.lines if line.get_alpha() != 0]
    curve, ring, cross = drawn
    told = [line.get_gid() for line in axes.lines if line.get_alpha() == 0]
    assert "tip:lora at learning rate 3e-4: validation loss 1.2000 (kept)" in told and len(told) == len(LOSSES)
    assert list(zip(*curve.get_data(), strict=True)) == list(LOSSES.items())
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (3e-4, 1.2) and ring.get_markerfacecolor() == "none"
    assert cross.get_xdata()[0] == 3e-3 and cross.get_marker() == "x"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["lora", "kept", "diverged"]
    assert axes.get_xscale() == "log" and axes.get_yscale() == "linear"
    figure.canvas.draw()
    assert {"1e-4", "2e-4", "5e-4", "1e-3", "2e-3"} <= {text.get_text() for text in axes.get_xticklabels()}


def test_a_very_bad_candidate_flattens_nothing(tmp_path):
    group = group_of(tmp_path, LOSSES | {1e-2: 300.0})
    with styled():
        figure = rate_figure(group, "restaurants", looks(["lora", "full"], "base"))
    assert figure.axes[0].get_yscale() == "log"


def test_without_a_search_there_is_no_figure(tmp_path):
    group = group_of(tmp_path, {1e-4: 1.0})
    assert rate_figure(group, "restaurants", looks(["lora", "full"], "base")) is None
