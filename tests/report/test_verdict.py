"""The sentences that say which way to keep."""

from __future__ import annotations

import pytest
import study_folder
from study_folder import METRICS, write_run, write_study

from tunelab.records import PhaseCost
from tunelab.report.frame import build_comparison
from tunelab.report.verdict import overall, verdicts


def judged(study):
    found = verdicts(build_comparison([study], metrics=METRICS))
    return [verdict.keep for verdict in found], [" ".join(verdict.sentences) for verdict in found], overall(found)


def small(folder, monkeypatch, **skill):
    """A clean one-task study with these skills."""
    monkeypatch.setattr(study_folder, "SKILL", study_folder.SKILL | skill)
    return write_study(folder, tasks=("restaurants",), spoil=False, methods=("base", "full", "lora r=8"))


def test_of_two_tied_methods_the_one_with_less_memory_is_kept(tmp_path, monkeypatch):
    keep, text, whole = judged(small(tmp_path, monkeypatch, full=0.705))
    assert keep == ["lora r=8"] and whole == "Keep lora r=8."
    assert "full is tied with it. Keep lora r=8: best; compared with full 1.9x less memory, 1.4x less time." in text[0]


def test_a_method_tied_with_the_best_is_kept_when_it_is_cheaper(tmp_path, monkeypatch):
    keep, text, _ = judged(small(tmp_path, monkeypatch, full=0.715))
    assert keep == ["lora r=8"] and "lora r=8 is tied with it" in text[0]
    assert "): tied in quality with full, 1.9x less memory, 1.4x less time." in text[0]


def test_a_clearly_better_method_is_kept_at_any_price(tmp_path, monkeypatch):
    keep, text, _ = judged(small(tmp_path, monkeypatch, full=0.9))
    assert keep == ["full"] and "tied" not in text[0] and "Keep full." in text[0]


def test_when_no_method_beats_the_base_the_base_is_kept(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch, **{"base": 0.8, "full": 0.6, "lora r=8": 0.6})
    keep, text, whole = judged(study)
    assert keep == ["base"] and "base is best" in text[0]
    assert whole == "No method beats the base: keep the base."
    marks = [row.marks for row in build_comparison([study], metrics=METRICS).rows]
    assert marks[0] == () and all("does not beat the base" in mark for mark in marks[1:])


def test_among_equal_peaks_the_faster_is_kept(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch, full=0.705)
    for entry in study.runs:
        if entry.role == "run":
            seconds, peak = (30.0, 1.01) if entry.method == "full" else (40.0, 1.0)
            phases = {"train": PhaseCost(seconds=seconds, peak_gib=peak)}
            write_run(tmp_path / "runs" / entry.id, entry, phases=phases)
    assert judged(study)[0] == ["full"]


def test_without_a_peak_for_every_method_time_decides(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch, full=0.705)
    for entry in study.runs:
        if entry.method == "full":
            write_run(tmp_path / "runs" / entry.id, entry, phases={"train": PhaseCost(seconds=20.0)})
    keep, text, _ = judged(study)
    assert keep == ["full"] and "memory" not in text[0]


def test_different_hardware_is_marked_and_said(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch)
    for entry in study.runs:
        if entry.method == "full":
            result = write_run(tmp_path / "runs" / entry.id, entry)
            made = result.provenance.model_copy(update={"hardware": "H200"})
            write_run(tmp_path / "runs" / entry.id, entry, provenance=made)
    comparison = build_comparison([study], metrics=METRICS)
    assert "hardware differs: H200 (elsewhere AMD EPYC, 2 cores, 8 GiB)" in comparison.rows[1].marks
    assert "different machines" in judged(study)[1][0]


@pytest.mark.parametrize(
    "value, text", [(3e-4, "3e-4"), (1.5e-5, "1.5e-5"), (1e-3, "1e-3"), (None, "–"), (0.1, "1e-1")]
)
def test_learning_rates_are_short_and_exact(value, text):
    from tunelab.report.numbers import rate

    assert rate(value) == text
