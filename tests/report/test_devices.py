"""What a report says of rows that were trained over several devices, and how it compares their costs."""

from __future__ import annotations

import csv
import json

import pytest

from report import study_folder
from report.study_folder import METRICS, write_run, write_study
from tunelab.entries import Deciding
from tunelab.records import PhaseCost
from tunelab.report.costs import phases_table, search_table
from tunelab.report.decision import decision_table, terminal_text
from tunelab.report.drawing import looks, styled
from tunelab.report.fairness import fairness_table
from tunelab.report.frame import build_comparison
from tunelab.report.markdown import render_markdown
from tunelab.report.page import build_page
from tunelab.report.quality_plot import quality_figure
from tunelab.report.spending import spent
from tunelab.report.tables import plain
from tunelab.report.verdict import verdicts
from tunelab.report.write import write_report

GPUS = {"num_devices": 4, "num_nodes": 2, "sharded": True}


def cost(seconds: float, peak: float | None, *, devices: int = 1, in_all: float | None = None) -> PhaseCost:
    """Of one phase; each device has the same peak unless `in_all` says otherwise."""
    several = {} if devices == 1 else {"peak_all_gib": in_all, "device_seconds": devices * seconds}
    return PhaseCost(seconds=seconds, peak_gib=peak, peak_method="cuda-allocator", **several)


def written(folder, monkeypatch, changes, *, skill=None, deciding=None):
    """A base, full and lora r=8, as good as each other; `changes(entry)` replaces fields of a trained run's result."""
    monkeypatch.setattr(study_folder, "SKILL", study_folder.SKILL | {"full": 0.705} | (skill or {}))
    study = write_study(folder, tasks=("restaurants",), spoil=False, methods=("base", "full", "lora r=8"))
    for entry in study.runs:
        if entry.role != "base":
            write_run(folder / "runs" / entry.id, entry, **changes(entry))
    return study if deciding is None else study._replace(deciding=deciding)


def group_of(study):
    return build_comparison([study], metrics=METRICS).groups[0]


def said(study) -> tuple[str | None, str]:
    (verdict,) = verdicts(build_comparison([study], metrics=METRICS))
    return verdict.keep, " ".join(verdict.sentences)


def full_on_four(entry):
    """full: 20 s on each of 4 devices, 0.6 GiB on the largest and 2.2 in all. lora r=8: 40 s and 1 GiB on one."""
    if entry.method == "full":
        phases = {"load": cost(2.0, 0.4, devices=4, in_all=1.6), "train": cost(20.0, 0.6, devices=4, in_all=2.2)}
        return {**GPUS, "phases": phases, "tokens_per_second": 8000.0}
    return {"phases": {"load": cost(2.0, 0.4), "train": cost(40.0, 1.0)}, "tokens_per_second": 3000.0}


def everything_on_four(entry):
    seconds, peak = (20.0, 1.5) if entry.method == "full" else (30.0, 0.6)
    return {**GPUS, "phases": {"train": cost(seconds, peak, devices=4, in_all=4 * peak)}}


# ------------------------------------------------------------------ what is shown


def test_a_study_on_single_devices_says_nothing_of_devices(tmp_path):
    study = write_study(tmp_path, tasks=("restaurants",), spoil=False)
    comparison = build_comparison([study], metrics=METRICS)
    page = render_markdown(build_page(comparison, metrics=METRICS, config_facts={}))
    for text in (page, terminal_text(comparison)):
        assert not [word for word in ("(in all", "rained over", "devices", "a device") if word in text]
    row = comparison.rows[1]
    assert (row.num_devices, row.num_nodes, row.sharded) == (1, 1, False)
    assert (row.train_device_seconds, row.peak_train_all_gib) == (row.train_seconds, row.peak_train_gib)
    assert row.tokens_per_second_per_device == row.tokens_per_second


def test_a_row_has_its_costs_of_one_device_and_in_all(tmp_path, monkeypatch):
    study = written(tmp_path, monkeypatch, full_on_four)
    write_report(study, metrics=METRICS, folder=tmp_path, config_facts={})
    whole = json.loads((tmp_path / "comparison.json").read_text())
    row = whole["rows"][1]
    expected = {
        "num_devices": 4, "num_nodes": 2, "sharded": True, "train_seconds": 20.0, "train_device_seconds": 80.0,
        "peak_train_gib": 0.6, "peak_train_all_gib": 2.2, "tokens_per_second": 8000.0,
        "tokens_per_second_per_device": 2000.0,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected and whole["decisions"][0]["costs_in_all"] is True
    with (tmp_path / "comparison.csv").open(newline="") as file:
        line = list(csv.DictReader(file))[1]
    assert (line["num_devices"], line["sharded"], line["train_device_seconds"]) == ("4", "True", "80.0")
    for page in ((tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()):
        assert "Trained over" in page and "2 nodes, sharded" in page and "(in all 80.0)" in page


def test_the_decision_table_says_over_what_a_row_was_trained(tmp_path, monkeypatch):
    group = group_of(written(tmp_path, monkeypatch, full_on_four))
    for short in (False, True):
        table = decision_table(group, caption="", short=short)
        titles = [column.title for column in table.columns]
        memory, time, over = (titles.index(name) for name in (
            ("Memory", "Time", "Trained over") if short else ("Peak memory", "Train time", "Trained over")
        ))  # fmt: skip
        base, full, lora = table.rows
        assert [(full[at].text, full[at].below) for at in (memory, time, over)] == [
            ("0.60", "(in all 2.20)"), ("20.0", "(in all 80.0)"), ("4 devices (2 nodes, sharded)", ""),
        ]  # fmt: skip
        assert [(lora[at].text, lora[at].below) for at in (memory, time, over)] == [
            ("1.00", ""), ("40.0", ""), ("1 device", ""),
        ]  # fmt: skip
        assert base[over].text == "–"
        assert any("seconds times devices" in foot for foot in table.feet)


def test_phases_have_both_and_speed_is_in_all_and_a_device(tmp_path, monkeypatch):
    table = phases_table(group_of(written(tmp_path, monkeypatch, full_on_four)))
    titles = [column.title for column in table.columns]
    _, full, lora = table.rows
    assert (full[titles.index("load")].text, full[titles.index("load")].below) == (
        "2.00", "0.40 GiB; in all 8.00 s, 1.60 GiB",
    )  # fmt: skip
    assert full[titles.index("train")].below == "0.60 GiB; in all 80.0 s, 2.20 GiB"
    assert (full[-1].text, full[-1].below, lora[-1].below) == ("8,000", "(2,000 a device)", "")


def test_candidates_of_a_search_cost_time_of_all_their_devices(tmp_path, monkeypatch):
    def changes(entry):
        return {"phases": {"train": cost(30.0, 1.0, devices=2, in_all=2.0)}, "num_devices": 2}

    group = group_of(written(tmp_path, monkeypatch, changes))
    assert "30.0 s (in all 60.0 s)" in plain(search_table(group))
    row = group.rows[2]
    assert (row.search_seconds, row.search_device_seconds) == (60.0, 120.0)


def test_fairness_names_the_devices_of_every_method(tmp_path, monkeypatch):
    lines = [[cell.text for cell in row] for row in fairness_table(
        group_of(written(tmp_path, monkeypatch, full_on_four))
    ).rows]  # fmt: skip
    assert ["trained over", "full: 4 devices (2 nodes, sharded); lora r=8: 1 device", "no"] in lines
    same = fairness_table(group_of(written(tmp_path / "same", monkeypatch, everything_on_four)))
    assert ["trained over", "4 devices (2 nodes, sharded)", "yes"] in [[c.text for c in row] for row in same.rows]


def test_figures_compare_in_all_where_devices_differ(tmp_path, monkeypatch):
    group = group_of(written(tmp_path, monkeypatch, full_on_four))
    look = looks([row.method for row in group.rows], "base")
    with styled():
        memory, time = (quality_figure(group, look, kind, "").axes[0] for kind in ("memory", "time"))
    assert memory.get_xlabel().startswith("peak training memory in all (GiB)")
    assert time.get_xlabel().startswith("device time of training (s)")
    across = [bars.lines[0].get_xdata()[0] for bars in time.containers]
    assert across == [80.0, 40.0]


# ------------------------------------------------------------------ marks


def test_rows_over_other_devices_are_marked(tmp_path, monkeypatch):
    _, full, lora = group_of(written(tmp_path, monkeypatch, full_on_four)).rows
    clause = ": memory of one device and time by the clock are not comparable, those in all are"
    assert [mark for mark in full.marks if "trained over" in mark] == [
        f"trained over 4 devices (2 nodes, sharded), elsewhere 1 device{clause}"
    ]
    assert [mark for mark in lora.marks if "trained over" in mark] == [
        f"trained over 1 device, elsewhere 4 devices (2 nodes, sharded){clause}"
    ], "of two rows neither is the usual one"


def test_one_row_among_others_alone_is_marked(tmp_path, monkeypatch):
    monkeypatch.setattr(study_folder, "SKILL", study_folder.SKILL)
    study = write_study(tmp_path, tasks=("restaurants",), spoil=False)
    for entry in study.runs:
        if entry.method == "full":
            write_run(tmp_path / "runs" / entry.id, entry, **full_on_four(entry))
    marked = [row.method for row in group_of(study).rows if any("trained over" in mark for mark in row.marks)]
    assert marked == ["full"]


def test_sharding_alone_is_marked_and_costs_stay_those_of_one_device(tmp_path, monkeypatch):
    def changes(entry):
        return everything_on_four(entry) | {"num_nodes": 1, "sharded": entry.method == "full"}

    group = group_of(written(tmp_path, monkeypatch, changes))
    assert "trained over 4 devices (sharded), elsewhere 4 devices" in group.rows[1].marks
    assert not group.compares_in_all


def test_devices_that_differ_between_the_seeds_of_a_method_are_said(tmp_path, monkeypatch):
    def changes(entry):
        return full_on_four(entry) if entry.method == "full" and entry.seed == 1 else {}

    group = group_of(written(tmp_path, monkeypatch, changes))
    row = group.rows[1]
    assert (
        "its seeds were trained over different devices (seed 0: 1 device; seed 1: 4 devices (2 nodes, sharded))"
        in row.marks
    )
    assert row.num_devices == 4
    table = plain(decision_table(group, caption=""))
    assert "1 device / 4 devices (2 nodes, sharded)" in table.split("\n[low, high]")[0]
    assert row.tokens_per_second_per_device == pytest.approx((54_000 / 62.0 + 2000.0) / 2)


def test_a_training_that_went_on_over_fewer_devices_is_said(tmp_path, monkeypatch):
    """10 s on 4 devices, then 30 s on one."""

    def changes(entry):
        train = cost(40.0, 1.0)
        if entry.method == "full":
            train = train.model_copy(update={"device_seconds": 70.0, "peak_all_gib": 3.0})
        return {"phases": {"train": train}}

    study = written(tmp_path, monkeypatch, changes)
    group = group_of(study)
    full = group.rows[1]
    assert "not trained over the same number of devices from start to end: its time counts in all alone" in full.marks
    assert (full.train_seconds, full.train_device_seconds, full.tokens_per_second_per_device) == (40.0, 70.0, None)
    keep, text = said(study)
    assert keep == "lora r=8" and (
        "3.0x less memory in all (1.00 GiB to 3.00 GiB), 1.8x less device time (40.0 s to 70.0 s)" in text
    )


def test_a_base_that_was_scored_elsewhere_marks_nothing(tmp_path, monkeypatch):
    study = written(tmp_path, monkeypatch, everything_on_four)
    group = group_of(study)
    assert group.rows[0].num_devices == 1 and not group.compares_in_all
    assert not any("trained over" in mark for row in group.rows for mark in row.marks)


def test_another_gpu_is_marked_and_said(tmp_path, monkeypatch):
    study = written(tmp_path, monkeypatch, lambda entry: {})
    for entry in study.runs:
        if entry.method == "full":
            result = write_run(tmp_path / "runs" / entry.id, entry)
            made = result.provenance.model_copy(update={"device": "NVIDIA H200"})
            write_run(tmp_path / "runs" / entry.id, entry, provenance=made)
    assert "device differs: NVIDIA H200 (elsewhere cpu)" in group_of(study).rows[1].marks
    assert "Times and memory come from different machines or settings (see the marks)." in said(study)[1]


# ------------------------------------------------------------------ what is kept


@pytest.mark.parametrize(
    ("deciding", "beside"),
    [
        (Deciding(), "2.2x less memory in all (1.00 GiB to 2.20 GiB), 2.0x less device time (40.0 s to 80.0 s)"),
        (Deciding(cost="time"), "2.0x less device time (40.0 s to 80.0 s), 2.2x less memory in all"),
    ],
)
def test_more_devices_make_no_method_cheaper(tmp_path, monkeypatch, deciding, beside):
    """On each of its four devices full takes less memory and half the time."""
    keep, text = said(written(tmp_path, monkeypatch, full_on_four, deciding=deciding))
    assert keep == "lora r=8" and beside in text
    assert "trained over different numbers of devices (see the marks), so their costs are compared in all" in text


def test_a_price_is_of_all_devices_also_where_all_rows_have_as_many(tmp_path, monkeypatch):
    """3.60 an hour: full 20 s on 4 devices are 0.08; lora r=8 30 s are 0.12, and two rates that lost 0.24."""
    deciding = Deciding(cost="price", price_per_hour=3.6)
    keep, text = said(written(tmp_path, monkeypatch, everything_on_four, deciding=deciding))
    assert keep == "full" and "4.5x cheaper (0.08 to 0.36)" in text


def test_a_price_follows_the_devices_and_not_the_clock(tmp_path, monkeypatch):
    """full: 22 s by the clock, 88 of devices. lora r=8: 42 s, and two rates that lost: 126."""

    def changes(entry):
        return full_on_four(entry) | ({"phases": {"train": cost(1.0, 1.0)}} if entry.role == "candidate" else {})

    deciding = Deciding(cost="price", price_per_hour=36.0)
    keep, text = said(written(tmp_path, monkeypatch, changes, deciding=deciding))
    assert keep == "lora r=8" and "2.0x cheaper (0.44 to 0.88)" in text


def test_over_equally_many_devices_one_device_and_the_clock_are_compared(tmp_path, monkeypatch):
    keep, text = said(written(tmp_path, monkeypatch, everything_on_four))
    assert keep == "lora r=8"
    assert (
        "2.5x less memory a device (614 MiB to 1.50 GiB), 1.5x more time (30.0 s to 20.0 s)" in text
        and "in all" not in text.split("Keep")[1]
    )


def test_a_peak_that_is_not_known_in_all_keeps_nothing_for_costing_less(tmp_path, monkeypatch):
    def changes(entry):
        phases = {"train": cost(20.0, 0.2, devices=4, in_all=None if entry.seed else 0.3)}
        return {**GPUS, "phases": phases} if entry.method == "full" else full_on_four(entry)

    study = written(tmp_path, monkeypatch, changes)
    assert group_of(study).rows[1].peak_train_all_gib is None
    keep, text = said(study)
    assert keep == "lora r=8" and "The peak training memory in all of full was not measured." in text


def test_what_processes_take_by_themselves_is_taken_on_every_device(tmp_path, monkeypatch):
    """2.2 GiB in all are 0.2 beyond 4 processes of 0.5; 2.35 GiB on one device are 1.85 beyond one."""

    def changes(entry):
        if entry.method == "full":
            return {"num_devices": 4, "process_gib": 0.5, "phases": {"train": cost(10.0, 0.6, devices=4, in_all=2.2)}}
        return {"process_gib": 0.5, "phases": {"train": cost(40.0, 2.35)}}

    group = group_of(written(tmp_path, monkeypatch, changes))
    assert [spent(row, "memory", group).own for row in group.rows[1:]] == pytest.approx([0.2, 1.85])
