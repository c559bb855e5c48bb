"""The sentences that say which way to keep."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from report import study_folder
from report.study_folder import METRICS, write_run, write_study
from tunelab.entries import Deciding
from tunelab.records import PhaseCost
from tunelab.report.choice import choose
from tunelab.report.decision import terminal_text
from tunelab.report.frame import build_comparison
from tunelab.report.html import render_html
from tunelab.report.markdown import render_markdown
from tunelab.report.page import build_page
from tunelab.report.verdict import overall, verdicts


def judged(study):
    found = verdicts(build_comparison([study], metrics=METRICS))
    return [verdict.keep for verdict in found], [" ".join(verdict.sentences) for verdict in found], overall(found)


def small(folder, monkeypatch, **skill):
    """A clean one-task study with these skills."""
    monkeypatch.setattr(study_folder, "SKILL", study_folder.SKILL | skill)
    return write_study(folder, tasks=("restaurants",), spoil=False, methods=("base", "full", "lora r=8"))


def test_of_two_methods_as_good_the_one_with_less_memory_is_kept(tmp_path, monkeypatch):
    keep, text, whole = judged(small(tmp_path, monkeypatch, full=0.705))
    assert keep == ["lora r=8"] and whole == "", "one task: its own sentences say it"
    assert "full is as good (margin 0.0507, 10 % of the best's gain over the base)." in text[0]
    assert (
        "Keep lora r=8: the best mean; beside full, 1.9x less memory (1.03 GiB to 1.91 GiB), 1.4x less time" in text[0]
    )


def test_a_method_as_good_as_the_best_is_kept_when_it_is_cheaper(tmp_path, monkeypatch):
    keep, text, _ = judged(small(tmp_path, monkeypatch, full=0.715))
    assert keep == ["lora r=8"] and "lora r=8 is as good (margin" in text[0]
    assert "): beside full, 1.9x less memory (1.03 GiB to 1.91 GiB), 1.4x less time (44.5 s to 62.5 s)." in text[0]


def test_what_a_search_has_chosen_stands_beside_what_is_kept(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch, full=0.705)
    entries = tuple(
        entry._replace(setting=(("rank", "8"), ("alpha", "16"))) if entry.method == "lora r=8" else entry
        for entry in study.runs
    )
    (verdict,) = verdicts(build_comparison([study._replace(runs=entries)], metrics=METRICS))
    assert verdict.keep == "lora r=8" and "Keep lora r=8 with rank=8, alpha=16: the best mean" in " ".join(
        verdict.sentences
    )


def test_a_clearly_better_method_is_kept_at_any_price(tmp_path, monkeypatch):
    keep, text, _ = judged(small(tmp_path, monkeypatch, full=0.9))
    assert keep == ["full"] and "lora r=8 is worse" in text[0] and "Keep full." in text[0]


def test_when_no_method_beats_the_base_the_base_is_kept(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch, **{"base": 0.8, "full": 0.6, "lora r=8": 0.6})
    keep, text, whole = judged(study)
    assert keep == ["base"] and "no margin: nothing gains over the base" in text[0]
    assert text[0].count("No method is shown to beat the base (0.799 [0.778, 0.820]): keep the base") == 1
    assert whole == ""
    marks = [row.marks for row in build_comparison([study], metrics=METRICS).rows]
    assert marks[0] == () and all("does not beat the base" in mark for mark in marks[1:])


@pytest.mark.slow
def test_one_task_is_told_once_and_several_also_together(tmp_path, monkeypatch):
    monkeypatch.setattr(study_folder, "SKILL", study_folder.SKILL | {"full": 0.9})
    methods = ("base", "full", "lora r=8")
    one = write_study(tmp_path / "one", tasks=("restaurants",), spoil=False, methods=methods)
    both = write_study(tmp_path / "both", spoil=False, methods=methods)
    for study, times in ((one, 1), (both, 3)):
        comparison = build_comparison([study], metrics=METRICS)
        page = build_page(comparison, metrics=METRICS, config_facts={})
        for text in (terminal_text(comparison), render_markdown(page), render_html(page)):
            assert text.count("Keep full") == times
            assert text.count("Keep full on both tasks.") == (times == 3)
        assert "****" not in render_markdown(page) and 'class="overall"></p>' not in render_html(page)


def test_when_all_score_the_same_nothing_is_told(tmp_path):
    study = write_study(tmp_path, tasks=("restaurants",), spoil=False, methods=("base", "full", "lora r=8"))
    for entry in study.runs:
        file = tmp_path / "runs" / entry.id / "predictions.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            line["statistics"]["rouge_l"] = [0.0, 1.0]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        result_file = file.with_name("result.json")
        result = json.loads(result_file.read_text())
        result["scores"]["rouge_l"].update(value=0.0, low=0.0, high=0.0)
        result_file.write_text(json.dumps(result))
    keep, text, whole = judged(study)
    assert keep == [None] and whole == ""
    assert "all methods and the base score the same on rouge_l (0.000 [0.000, 0.000]); nothing can be told" in text[0]
    assert "best" not in text[0] and "keep the base" not in text[0].lower()


def test_an_undecided_method_is_not_kept_and_what_would_decide_is_said(tmp_path, monkeypatch):
    keep, text, _ = judged(small(tmp_path, monkeypatch, base=0.66, full=0.71))
    assert keep == [None]
    assert "full and lora r=8 are undecided" in text[0] and "Nothing can be kept yet." in text[0]
    assert "in all would decide about" in text[0] and "Keep" not in text[0]


def test_while_a_cheaper_method_is_undecided_the_best_is_kept_so_far(tmp_path, monkeypatch):
    keep, text, _ = judged(small(tmp_path, monkeypatch, **{"base": 0.5, "full": 0.73, "lora r=8": 0.71}))
    assert keep == ["full"] and "Keep full so far. lora r=8 may be as good at no higher cost." in text[0]


def test_a_small_difference_of_memory_beyond_the_process_keeps_nothing(tmp_path, monkeypatch):
    """39 MiB of 798, of which the process alone has 330: within a tenth, and time is the same."""
    study = small(tmp_path, monkeypatch, full=0.715)
    for entry in study.runs:
        if entry.role == "run":
            peak = 0.779 if entry.method == "full" else 0.741
            write_run(
                tmp_path / "runs" / entry.id, entry, process_gib=0.322,
                phases={"train": PhaseCost(seconds=40.0 + entry.seed, peak_gib=peak)},
            )  # fmt: skip
    keep, text, _ = judged(study)
    assert keep == ["full"]
    assert "lora r=8 has about the same peak training memory: training time, then the mean, decided." in text[0]


def test_what_every_method_pays_is_left_out_of_the_comparison_of_memory(tmp_path, monkeypatch):
    """38 MiB of 798 again, but the process alone has 553 of them: 16 % of what is left."""
    study = small(tmp_path, monkeypatch, full=0.715)
    for entry in study.runs:
        if entry.role == "run":
            peak = 0.779 if entry.method == "full" else 0.741
            phases = {"train": PhaseCost(seconds=40.0, peak_gib=peak)}
            write_run(tmp_path / "runs" / entry.id, entry, process_gib=0.54, phases=phases)
    assert judged(study)[0] == ["lora r=8"]


def test_a_method_as_good_as_the_best_that_does_not_beat_the_base_is_not_kept(tmp_path, monkeypatch):
    """lora r=8 is as good and cheaper, until its own lead over the base is not significant."""
    (group,) = build_comparison([small(tmp_path, monkeypatch, full=0.715)], metrics=METRICS).groups
    assert choose(group).keep == "lora r=8"
    for keep, told in (("full", {"lora r=8": False}), ("lora r=8", {"full": False}), ("lora r=8", {"lora r=8": None})):
        rows = tuple(
            replace(row, scores=row.scores | {"rouge_l": row.scores["rouge_l"]._replace(beats_base=told[row.method])})
            if row.method in told
            else row
            for row in group.rows
        )
        assert choose(replace(group, rows=rows)).keep == keep, told


def test_a_cost_below_the_spread_of_its_own_seeds_decides_nothing(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch, full=0.715)._replace(deciding=Deciding(cost="time"))
    for entry in study.runs:
        if entry.role == "run":
            seconds = 60.0 if entry.method == "full" else (40.0, 65.0)[entry.seed]
            write_run(tmp_path / "runs" / entry.id, entry, phases={"train": PhaseCost(seconds=seconds, peak_gib=1.0)})
    assert judged(study)[0] == ["full"]


def test_the_cost_is_the_studys_choice(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch, full=0.705)
    for entry in study.runs:
        if entry.role == "run":
            seconds, peak = (20.0, 1.9) if entry.method == "full" else (40.0, 1.0)
            write_run(tmp_path / "runs" / entry.id, entry, phases={"train": PhaseCost(seconds=seconds, peak_gib=peak)})
    kept = {cost: judged(study._replace(deciding=Deciding(cost=cost)))[0] for cost in ("memory", "time", "size")}
    assert kept == {"memory": ["lora r=8"], "time": ["full"], "size": ["lora r=8"]}
    priced = study._replace(deciding=Deciding(cost="price", price_per_hour=3.6))
    keep, text, _ = judged(priced)
    # Two seeds of 20 s each; 40 s, and two rates that lost with all their phases.
    assert keep == ["full"] and "cheaper (0.02 to " in text[0]


def test_another_metric_that_prefers_a_rejected_method_is_said_in_the_same_breath(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch, full=0.71)
    for entry in study.runs:
        file = tmp_path / "runs" / entry.id / "predictions.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            line["statistics"]["loss"][0] -= 0.3 if entry.method == "full" else 0.0
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    keep, text, _ = judged(study)
    assert keep == ["lora r=8"] and "But loss prefers full (" in text[0]


def test_a_validation_loss_that_prefers_a_rejected_method_is_said(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch, full=0.705)
    for entry in study.runs:
        if entry.method == "full":
            write_run(tmp_path / "runs" / entry.id, entry, validation_loss=0.3 + 0.01 * entry.seed)
    keep, text, _ = judged(study)
    assert keep == ["lora r=8"] and "But the validation loss prefers full (0.3050) to lora r=8 (0.8000)." in text[0]
    assert "validation loss" not in judged(small(tmp_path / "same", monkeypatch, full=0.705))[1][0]


def test_the_metric_and_the_margin_are_the_studys_choice(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch, full=0.74)
    strict = study._replace(deciding=Deciding(share=None, margin=0.001))
    (group,) = build_comparison([strict], metrics=METRICS).groups
    assert group.comparisons["rouge_l"].margin == 0.001 and group.comparisons["loss"].margin != 0.001
    by_loss = study._replace(deciding=Deciding(metric="loss"))
    (group,) = build_comparison([by_loss], metrics=METRICS).groups
    assert group.metrics == ("loss", "rouge_l") and "best mean of loss" in judged(by_loss)[1][0]


def by_loss(study):
    """The same scores with the sign of their goodness turned: 3 x (1 - skill), lower is better."""
    return study._replace(deciding=Deciding(metric="loss"))


def test_where_lower_is_better_the_lowest_mean_is_the_best(tmp_path, monkeypatch):
    keep, text, _ = judged(by_loss(small(tmp_path, monkeypatch, full=0.9)))
    assert keep == ["full"] and "full has the best mean of loss (0.3" in text[0]
    assert "lora r=8 is worse" in text[0] and "Keep full." in text[0]


def test_where_lower_is_better_a_cheaper_method_that_is_as_good_is_kept(tmp_path, monkeypatch):
    keep, text, _ = judged(by_loss(small(tmp_path, monkeypatch, full=0.715)))
    assert keep == ["lora r=8"] and "full has the best mean of loss" in text[0] and "lora r=8 is as good" in text[0]


def test_where_lower_is_better_no_method_above_the_base_is_kept(tmp_path, monkeypatch):
    keep, text, _ = judged(by_loss(small(tmp_path, monkeypatch, **{"base": 0.8, "full": 0.6, "lora r=8": 0.6})))
    assert keep == ["base"] and "No method is shown to beat the base (0.60" in text[0]


@pytest.mark.parametrize(("skill", "is_said"), [(0.9, True), (0.5, False)])
def test_where_lower_is_better_one_seed_with_a_lower_mean_is_said_to_be_better(skill, is_said, tmp_path, monkeypatch):
    study = by_loss(small(tmp_path, monkeypatch, **{"lora r=8": skill}))
    entries = tuple(entry for entry in study.runs if entry.method != "lora r=8" or entry.seed == 0)
    keep, text, _ = judged(study._replace(runs=entries))
    assert keep == ["full"] and ("lora r=8 has a better mean on one seed." in text[0]) == is_said


def test_where_lower_is_better_the_methods_that_are_as_good_are_told_from_the_best_on(tmp_path, monkeypatch):
    skill = {"base": 0.2, "full": 0.700, "lora r=4": 0.708, "lora r=8": 0.704}
    monkeypatch.setattr(study_folder, "SKILL", skill)
    study = by_loss(write_study(tmp_path, tasks=("restaurants",), spoil=False))
    (group,) = build_comparison([study], metrics=METRICS).groups
    means = {row.method: row.scores["loss"].mean for row in group.rows}
    good = [row.method for row in choose(group).good]
    assert len(good) == 3 and good == sorted(good, key=means.get)


def test_among_equal_peaks_the_faster_is_kept(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch, full=0.705)
    for entry in study.runs:
        if entry.role == "run":
            seconds, peak = (30.0, 1.01) if entry.method == "full" else (40.0, 1.0)
            phases = {"train": PhaseCost(seconds=seconds, peak_gib=peak)}
            write_run(tmp_path / "runs" / entry.id, entry, phases=phases)
    assert judged(study)[0] == ["full"]


def test_a_method_whose_peak_was_not_measured_makes_no_dearer_one_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(study_folder, "SKILL", {"base": 0.2, "full": 0.71, "lora r=4": 0.708, "lora r=8": 0.706})
    study = write_study(tmp_path, tasks=("restaurants",), spoil=False)
    for entry in study.runs:
        if entry.method == "lora r=4":
            write_run(tmp_path / "runs" / entry.id, entry, phases={})
    keep, text, _ = judged(study)
    assert keep == ["lora r=8"] and "The peak training memory of lora r=4 was not measured." in text[0]


def test_without_any_peak_time_decides(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch, full=0.705)
    for entry in study.runs:
        if entry.role != "base":
            seconds = 20.0 if entry.method == "full" else 44.0
            write_run(tmp_path / "runs" / entry.id, entry, phases={"train": PhaseCost(seconds=seconds)})
    keep, text, _ = judged(study)
    assert keep == ["full"] and "No peak training memory was measured: training time" in text[0]


def test_a_better_mean_on_one_seed_is_said_and_not_called_the_best(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch, **{"lora r=8": 0.9})
    entries = tuple(entry for entry in study.runs if entry.method != "lora r=8" or entry.seed == 0)
    keep, text, _ = judged(study._replace(runs=entries))
    assert keep == ["full"] and "full has the best mean of rouge_l of the methods that are compared" in text[0]
    assert "lora r=8 has one seed and is not compared" in text[0]
    assert "lora r=8 has a better mean on one seed." in text[0]


def test_a_method_without_statistics_is_not_said_to_have_one_seed(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch)
    for entry in study.runs:
        if entry.method == "lora r=8":
            file = tmp_path / "runs" / entry.id / "predictions.jsonl"
            lines = [json.loads(line) | {"statistics": {}} for line in file.read_text().splitlines()]
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = judged(study)[1][0]
    assert "lora r=8 is not compared, for want of finite scores of every example" in text and "one seed" not in text


def test_without_a_base_it_is_said_that_there_is_no_margin_for_want_of_one(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch)
    without = study._replace(runs=tuple(entry for entry in study.runs if entry.method != "base"))
    assert "(no margin: there is no base to gain over)" in judged(without)[1][0]


def test_a_score_that_is_not_finite_is_said_and_makes_no_mean(tmp_path, monkeypatch):
    study = small(tmp_path, monkeypatch)
    broken = next(entry for entry in study.runs if entry.method == "full")
    result = write_run(tmp_path / "runs" / broken.id, broken)
    score = result.scores["rouge_l"].model_copy(update={"value": float("inf")})
    write_run(tmp_path / "runs" / broken.id, broken, scores={**result.scores, "rouge_l": score})
    row = next(row for row in build_comparison([study], metrics=METRICS).rows if row.method == "full")
    assert row.scores["rouge_l"].mean is None
    assert "rouge_l is not a finite number in 1 of 2 runs: no mean is shown" in row.notes


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
