"""What a report says of energy and money: what was measured, of whom it is, and what a given price makes of hours."""

from __future__ import annotations

import csv
import json

import pytest

from report.study_folder import METRICS, write_run, write_study
from tunelab.entries import Attempt, Deciding
from tunelab.records import Divergence, PhaseCost, RunResult
from tunelab.report.bill import bill_table, totals_of
from tunelab.report.frame import build_comparison
from tunelab.report.html import render_html
from tunelab.report.markdown import render_markdown
from tunelab.report.page import build_page
from tunelab.report.reading import RunRecords
from tunelab.report.tables import plain
from tunelab.report.write import write_report

HOUR = 3600.0


def measured(joules: float, *, gpu: float | None = None, seconds: float = 60.0) -> dict[str, PhaseCost]:
    """Load takes a tenth of what training takes."""
    load = PhaseCost(seconds=seconds / 10, rapl_joules=joules / 10, nvml_joules=None if gpu is None else gpu / 10)
    return {"load": load, "train": PhaseCost(seconds=seconds, rapl_joules=joules, nvml_joules=gpu)}


def study_of(folder, changes, *, deciding=None, methods=("base", "full", "lora r=4")):
    study = write_study(folder, tasks=("restaurants",), spoil=False, methods=methods)
    for entry in study.runs:
        write_run(folder / "runs" / entry.id, entry, **changes(entry))
    return study if deciding is None else study._replace(deciding=deciding)


def in_watt_hours(entry):
    """full: 7.2 kJ and 3.6 kJ of packages, 36 kJ of GPUs. lora: 3.6 kJ, no GPU's energy. base: nothing but loading."""
    if entry.method == "base":
        return {"phases": {"load": PhaseCost(seconds=6.0, rapl_joules=360.0, nvml_joules=720.0)}}
    if entry.method == "full":
        return {"phases": measured(3600.0 * (2 - entry.seed), gpu=36_000.0)}
    return {"phases": measured(3600.0)}


def compared(study):
    return build_comparison([study], metrics=METRICS)


def table_of(study) -> str:
    table = bill_table(compared(study))
    return "" if table is None else plain(table)


def attempts(folder, *spans):
    lines = []
    for number, (started, ended) in enumerate(spans):
        begun = Attempt(nonce=f"n{number}", host="one", pid=1, started=started, progress=(0, 0))
        lines += [begun, begun.model_copy(update={"ended": ended, "how": "finished"})]
    (folder / "attempts.jsonl").write_text("".join(line.model_dump_json() + "\n" for line in lines))


# ------------------------------------------------------------------ what was measured


def test_where_nothing_was_measured_and_no_price_is_given_nothing_is_said(tmp_path):
    study = write_study(tmp_path)
    write_report(study, metrics=METRICS, folder=tmp_path, config_facts={})
    assert table_of(study) == "" and "Energy" not in (tmp_path / "report.md").read_text()
    whole = json.loads((tmp_path / "comparison.json").read_text())
    assert "totals" not in whole and not {"train_rapl_wh", "price"} & set(whole["rows"][0])
    assert "_wh" not in (tmp_path / "comparison.csv").read_text().partition("\n")[0]


def test_energy_of_training_is_the_mean_over_the_seeds_in_watt_hours(tmp_path):
    rows = {row.method: row for row in compared(study_of(tmp_path, in_watt_hours)).rows}
    assert (rows["full"].train_rapl_wh, rows["full"].train_nvml_wh) == (1.5, 10.0)
    assert (rows["lora r=4"].train_rapl_wh, rows["lora r=4"].train_nvml_wh) == (1.0, None)
    assert (rows["base"].train_rapl_wh, rows["base"].train_nvml_wh) == (None, None)


def test_the_sum_is_of_all_phases_and_runs_and_missing_where_one_is_not_known(tmp_path):
    """Packages: base 0.1 Wh, full 3.3, lora 2.2. GPUs: of lora not known."""
    (total,) = totals_of(compared(study_of(tmp_path, in_watt_hours)))
    assert total.rapl_wh == pytest.approx(5.6) and total.nvml_wh is None and total.num_runs == 5
    said = table_of(study_of(tmp_path, in_watt_hours))
    assert "the whole study" in said and "5.60" in said and "Price" not in said


def test_packages_are_said_to_be_the_machines_and_not_the_runs(tmp_path):
    said = table_of(study_of(tmp_path, in_watt_hours))
    assert "Packages (RAPL): all that the machine's processors took while a run trained, of other runs" in said
    assert "at the same time" not in said


def test_runs_at_the_same_time_have_no_sum_of_packages_and_it_is_said(tmp_path):
    study = study_of(tmp_path, in_watt_hours)
    first, second, third = (tmp_path / "runs" / entry.id for entry in study.runs[:3])
    attempts(first, ("2026-01-01T10:00:00+00:00", "2026-01-01T10:05:00+00:00"))
    attempts(second, ("2026-01-01T10:05:00+00:00", "2026-01-01T10:06:00+00:00"))
    assert totals_of(compared(study))[0].rapl_wh is not None
    attempts(third, ("2026-01-01T10:05:30+00:00", "2026-01-01T10:09:00+00:00"))
    (total,) = totals_of(compared(study))
    assert total.ran_together and total.rapl_wh is None
    assert "Runs of small went on at the same time on one machine" in table_of(study)


def test_all_forms_of_the_report_have_it(tmp_path):
    study = study_of(tmp_path, in_watt_hours)
    page = build_page(compared(study), metrics=METRICS, config_facts={})
    assert "## Energy and price" in render_markdown(page) and "Energy and price" in render_html(page, files=())
    write_report(study, metrics=METRICS, folder=tmp_path, config_facts={})
    whole = json.loads((tmp_path / "comparison.json").read_text())
    assert [row["train_rapl_wh"] for row in whole["rows"]] == [None, 1.5, 1.0]
    assert whole["totals"][0]["rapl_wh"] == pytest.approx(5.6) and "price" not in whole["rows"][0]
    lines = list(csv.DictReader((tmp_path / "comparison.csv").open()))
    assert [line["train_nvml_wh"] for line in lines] == ["", "10.0", ""]


def test_a_result_of_before_energy_was_measured_is_read_and_says_the_same(tmp_path):
    study = study_of(tmp_path, lambda entry: {})
    file = tmp_path / "runs" / study.runs[1].id / "result.json"
    facts = json.loads(file.read_text())
    for phase in facts["phases"].values():
        assert phase.pop("rapl_joules") is None and phase.pop("nvml_joules") is None
    file.write_text(json.dumps(facts))
    assert RunRecords(entry=study.runs[1], folder=file.parent).result == RunResult.model_validate(facts)
    assert table_of(study) == ""


def test_of_a_run_that_is_made_of_others_the_training_is_theirs(tmp_path, monkeypatch):
    study = study_of(tmp_path, in_watt_hours)
    before = totals_of(compared(study))[0].rapl_wh

    class Made:
        parents = ("one", "other")

    monkeypatch.setattr(RunRecords, "_config", lambda run: Made() if run.entry.method == "full" else None)
    from tunelab.report import frame

    monkeypatch.setattr(frame, "marks_of", lambda *given, **more: ())
    monkeypatch.setattr("tunelab.report.rows.options_of", lambda runs: {})
    assert totals_of(compared(study))[0].rapl_wh == pytest.approx(before - 3.0)


# ------------------------------------------------------------------ by a price and a power


def test_a_price_makes_money_of_all_phases_and_of_the_whole_search(tmp_path):
    """2.5 an hour. full: an hour and a tenth. lora: the same, and two rates that lost."""
    deciding = Deciding(price_per_hour=2.5, currency="EUR", watts=300.0)
    study = study_of(
        tmp_path, lambda entry: {"phases": {"train": PhaseCost(seconds=HOUR), "load": PhaseCost(seconds=HOUR / 10)}},
        deciding=deciding, methods=("full", "lora r=8"),
    )  # fmt: skip
    rows = {row.method: row for row in compared(study).rows}
    assert rows["full"].price == pytest.approx(2.75) and rows["full"].power_wh == pytest.approx(330)
    assert rows["lora r=8"].price == pytest.approx(3 * 2.75)
    (total,) = totals_of(compared(study))
    assert total.price == pytest.approx(6 * 2.75) and total.power_wh == pytest.approx(6 * 330)
    said = table_of(study)
    assert "2.75 EUR" in said and "16.5 EUR" in said and "At 2.5 EUR an hour and 300 W of a device" in said
    assert "Packages" not in said


def test_several_devices_and_runs_that_diverged_cost_what_they_took(tmp_path):
    def changes(entry):
        return {"phases": {"train": PhaseCost(seconds=HOUR, device_seconds=4 * HOUR)}}

    study = study_of(tmp_path, changes, deciding=Deciding(price_per_hour=1.0), methods=("full", "lora r=8"))
    lost = next(entry for entry in study.runs if entry.role == "candidate")
    folder = tmp_path / "runs" / lost.id
    (folder / "result.json").unlink()
    facts = Divergence(step=3, phases={"train": PhaseCost(seconds=HOUR / 2)})
    (folder / "failure.json").write_text(json.dumps({"error": "diverged", "diverged": facts.model_dump()}))
    rows = {row.method: row for row in compared(study).rows}
    assert rows["full"].price == pytest.approx(4.0) and rows["lora r=8"].price == pytest.approx(8.5)
    assert totals_of(compared(study))[0].price == pytest.approx(5 * 4 + 0.5)


def test_runs_that_shared_a_machine_are_said_to_be_charged_all_of_it(tmp_path):
    study = study_of(tmp_path, lambda entry: {}, deciding=Deciding(price_per_hour=1.0))
    for entry in study.runs[:2]:
        attempts(tmp_path / "runs" / entry.id, ("2026-01-01T10:00:00+00:00", "2026-01-01T10:05:00+00:00"))
    assert "Without a GPU a device is the machine" in table_of(study)
