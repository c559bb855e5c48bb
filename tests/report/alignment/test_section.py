"""The Alignment section in the page, in report.md and in comparison.json; absent for one back end."""

from __future__ import annotations

import json

import pytest

from report.study_folder import HOSTILE, METRICS, write_failure, write_study
from report.test_report_pages import Reader
from report.two_ends import aligned, home, of, set_series, two_ends
from tunelab.entries import Deciding
from tunelab.report.alignment.figures import figures
from tunelab.report.alignment.pairs import Beside, paired
from tunelab.report.alignment.section import alignments
from tunelab.report.frame import build_comparison
from tunelab.report.html import render_html
from tunelab.report.markdown import render_markdown
from tunelab.report.page import build_page
from tunelab.report.verdict import overall, verdicts
from tunelab.report.write import write_report


def page_of(study):
    return build_page(build_comparison([study], metrics=METRICS), metrics=METRICS, config_facts={})


def written(study, folder):
    write_report(study, metrics=METRICS, folder=folder, config_facts={})
    return json.loads((folder / "comparison.json").read_text())


def test_one_back_end_has_no_section(tmp_path):
    study = write_study(tmp_path)
    assert list(written(study, tmp_path)) == ["study", "tunelab", "decisions", "rows"]
    for name in ("report.html", "report.md"):
        assert not [word for word in ("Alignment", "Back end") if word in (tmp_path / name).read_text()]
    assert not list((tmp_path / "plots").glob("*alignment*"))


def test_the_section_is_in_all_forms_with_its_figures(tmp_path):
    study = two_ends(tmp_path)
    whole = written(study, tmp_path)
    assert "<title>full on jittor, seed 1: " in (tmp_path / "report.html").read_text(), "lines tell their last value"
    (facts,) = whole["alignment"]
    assert (facts["task"], facts["first"], facts["other"]) == ("restaurants", "torch", "jittor")
    assert {(each["method"], each["seed"], each["loss"]["num_steps"]) for each in facts["pairs"]} == {
        ("full", 0, 60), ("full", 1, 60), ("lora r=4", 0, 60), ("lora r=4", 1, 60),
    }  # fmt: skip
    assert facts["methods"]["full"]["metrics"]["rouge_l"]["difference"] == 0
    assert (facts["methods"]["base"]["texts_same"], facts["methods"]["base"]["texts"]) == (60, 60)
    html, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    headings = (
        "Alignment: restaurants, jittor beside torch", "Losses and gradients, step by step", "Final metrics: lora r=4",
        "Time and memory", "Distance of what was trained", "What may set them apart",
    )  # fmt: skip
    for heading in headings:
        assert f">{heading}</h" in html and f"# {heading}\n" in text
    for kind in ("loss", "perplexity", "ms"):
        name = f"restaurants-jittor-beside-torch_alignment_{kind}.png"
        assert (tmp_path / "plots" / name).read_bytes()[:4] == b"\x89PNG" and f"plots/{name}" in text
    assert html.index('id="task-2"') < html.index('id="alignment-1"') < html.index('id="all"')
    assert facts["sentence"].startswith("On restaurants, ") and aligned(study).sentence in text


def test_further_back_ends_are_each_beside_the_first(tmp_path):
    found = alignments(
        build_comparison([two_ends(tmp_path, others=("jittor", "mlx"), methods=("full",))], metrics=METRICS), METRICS
    )
    assert [(each.facts["first"], each.facts["other"]) for each in found] == [("torch", "jittor"), ("torch", "mlx")]
    assert len({plot.file for each in found for plot in each.plots}) == 6
    assert [each.anchor for each in found] == ["alignment-1", "alignment-2"]


def test_every_task_has_its_own(tmp_path):
    study = two_ends(tmp_path, tasks=("restaurants", "headlines"), methods=("full",), num_examples=10)
    found = alignments(build_comparison([study], metrics=METRICS), METRICS)
    assert [each.facts["task"] for each in found] == ["restaurants", "headlines"]


def test_the_same_study_in_two_folders_is_named_apart(tmp_path):
    studies = [two_ends(tmp_path / name, num_examples=10) for name in ("a", "b")]
    found = alignments(build_comparison(studies, metrics=METRICS), METRICS)
    assert len(found) == len({each.title for each in found}) == 2
    assert len({plot.file for each in found for plot in each.plots}) == 6


def test_nothing_finished_on_both_is_said(tmp_path):
    study = two_ends(tmp_path, seeds=(0,))
    for method in ("full", "lora r=4"):
        (of(study, "jittor", method) / "result.json").unlink()
    (section,) = alignments(build_comparison([study], metrics=METRICS), METRICS)
    assert section.headline == (
        "On restaurants, nothing can be said of whether jittor and torch agree: no method has finished with the same "
        "seed on both torch and jittor."
    )
    assert section.plots == ()
    assert "2 of 3 runs cannot be compared (named below)." in section.sentence
    page = page_of(study)
    assert "Runs that are not compared" in render_html(page) and "Runs that are not compared" in render_markdown(page)


def test_a_study_without_records_has_a_section_that_names_every_run(tmp_path):
    study = write_study(tmp_path, tasks=("restaurants",), methods=("base", "full"), written=False)
    twins = tuple(each._replace(id=f"j-{each.id}", backend="jittor") for each in study.runs)
    (facts,) = written(study._replace(runs=(*study.runs, *twins)), tmp_path)["alignment"]
    assert set(facts["not_compared"].values()) == {"torch: has not finished; jittor: has not finished"}
    assert len(facts["not_compared"]) == 3


def test_hostile_names_stay_text(tmp_path):
    study = two_ends(tmp_path, methods=("base", f"lora {HOSTILE}"), num_examples=10)
    page = page_of(study)
    reader = Reader()
    reader.feed(render_html(page))
    assert reader.open == [] and reader.tags.count("script") == 1 + len(page.chapters)
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert "<script" not in render_markdown(page)


@pytest.mark.parametrize(("kind", "scale"), [("loss", "linear"), ("perplexity", "log"), ("ms", "log")])
def test_a_figure_has_a_panel_a_method_and_a_line_a_seed_and_back_end(tmp_path, monkeypatch, kind, scale):
    seen = {}
    monkeypatch.setattr(
        "tunelab.report.alignment.figures.svg", lambda figure, prefix: seen.update({prefix: figure}) or ""
    )
    study = two_ends(tmp_path)
    set_series(of(study, "jittor", "full") / "steps.jsonl", loss=[1.0, 2.0], seconds=[3.0, 0.25])
    (first, other) = (group for group in build_comparison([study], metrics=METRICS).groups)
    figures(paired(Beside(first, other)).pairs, ("torch", "jittor"), title="t", slug="s")
    panels = [axes for axes in seen[f"s_{kind}"].axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["full, 2 runs", "lora r=4, 2 runs"]
    assert {axes.get_yscale() for axes in panels} == {scale}
    lines = [line for line in panels[0].lines if line.get_linestyle() != "None"]
    assert len(lines) == 4 and len({line.get_color() for line in lines}) == 2
    expected = {"loss": [1.0, 2.0], "perplexity": [2.718281828, 7.389056099], "ms": [3000.0, 250.0]}[kind]
    assert list(lines[1].get_ydata()) == pytest.approx(expected) and list(lines[1].get_xdata()) == [1, 2]
    texts = [text.get_text() for text in seen[f"s_{kind}"].legends[0].get_texts()]
    assert texts == ["torch", "jittor"]


# ------------------------------------------------------------------ the rest of a report with two back ends


def test_verdicts_over_back_ends_do_not_speak_of_tasks(tmp_path):
    study = two_ends(tmp_path, seeds=(0, 1, 2))._replace(deciding=Deciding(margin=0.2))
    found = verdicts(build_comparison([study], metrics=METRICS))
    assert [verdict.name for verdict in found] == ["restaurants (torch)", "restaurants (jittor)"]
    other = found[1]._replace(choice=found[1].choice._replace(keep="full"))
    assert found[0].keep == "lora r=4"
    assert overall(found) == "Keep lora r=4 on both back ends."
    said = overall([found[0], other])
    assert said.startswith(
        "The way to keep differs by back end: lora r=4 on restaurants (torch); full on restaurants (jittor)."
    )
    assert "every back end" in said and "task" not in said
    unknown = found[1]._replace(choice=found[1].choice._replace(keep=None))
    assert overall([found[0], unknown]) == "So far, for 1 of 2 back ends: lora r=4 on restaurants (torch)."


def test_failed_pending_runs_and_notes_name_their_back_end(tmp_path):
    study = two_ends(tmp_path)
    entries = [each for each in study.runs if (each.backend, each.method) == ("jittor", "full")]
    for each in entries:
        (home(study, each) / "result.json").unlink()
    write_failure(home(study, entries[0]), entries[0], "out of memory")
    parts = {part.heading: part.table for part in page_of(study).parts}
    for heading in ("Failed runs", "Runs that have not finished", "Notes of the runs"):
        table = parts[heading]
        place = [column.title for column in table.columns].index("Back end")
        named = {row[place].text for row in table.rows}
        assert named == ({"torch", "jittor"} if heading.startswith("Notes") else {"jittor"})
