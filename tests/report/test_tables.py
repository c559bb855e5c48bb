"""A table on a terminal: it fits, and nothing of it is left out."""

import pytest

from report.study_folder import METRICS, write_study
from tunelab.report.decision import terminal_text
from tunelab.report.frame import build_comparison
from tunelab.report.tables import Cell, Column, Table, display_width, plain, words, wrapped


def table(*, names=("lora", "full"), metrics=6, keys=1) -> Table:
    columns = (words("Method"), *(Column(f"metric{number} ↑", "points") for number in range(metrics)), words("Said"))
    rows = tuple(
        (
            Cell(name, marks="a"),
            *(Cell(f"0.{number}{place}1", below="[0.100, 0.900]", tone="best") for number in range(metrics)),
            Cell("as good"),
        )
        for place, name in enumerate(names)
    )
    return Table("The caption", columns, rows, ("a: a footnote of many words " * 4,), keys=keys)


def test_without_a_terminal_it_is_one_table_as_wide_as_it_is():
    lines = plain(table()).splitlines()
    assert len(lines) == 6 and max(map(len, lines)) > 150
    assert "0.001 * [0.100, 0.900]" in lines[3]


def test_where_it_fits_it_is_the_same():
    assert plain(table(metrics=1), width=120).splitlines()[:5] == plain(table(metrics=1)).splitlines()[:5]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 132])
@pytest.mark.parametrize("names", [("lora", "full"), ("lora targets=attention rank=4 " * 3, "x" * 120, "文" * 60)])
def test_it_fits_every_terminal_and_every_value_stands_in_it(width, names):
    made = table(names=names)
    text = plain(made, width=width)
    assert max(map(display_width, text.splitlines())) <= width
    for row in made.rows:
        for cell in row[1:-1]:
            assert cell.text in text
    for column in made.columns:
        assert column.title.split()[0] in text
    together = text.replace("\n", "").replace(" ", "").replace("─", "")
    assert all(name.replace(" ", "")[:20] in together for name in names)


def test_every_part_begins_with_what_names_the_row():
    parts = plain(table(), width=60).split("\n\n")
    assert len(parts) > 1
    assert all(any(line.startswith("lora [a]") for line in part.splitlines()) for part in parts)


def test_an_interval_goes_under_its_value_before_anything_is_split():
    lines = plain(table(metrics=2), width=64).splitlines()
    assert lines[1].split() == ["Method", "metric0", "↑", "metric1", "↑", "Said"]
    row = next(number for number, line in enumerate(lines) if line.startswith("lora"))
    assert lines[row].split() == ["lora", "[a]", "0.001", "*", "0.101", "*", "as", "good"]
    assert lines[row + 1].split() == ["[0.100,", "0.900]"] * 2


def test_lines_are_broken_between_words_with_an_indent():
    text = "  note: one two three four five six seven"
    assert wrapped(text, 20, indent="  ") == ["  note: one two", "    three four five", "    six seven"]
    assert wrapped(text, None) == [text] and wrapped("short", 20) == ["short"]


def test_a_path_is_left_whole_so_that_it_can_be_copied():
    path = "results/study/runs/" + "x" * 40
    assert wrapped(f"see {path} for more", 30) == ["see", path, "for more"]
    assert max(map(len, wrapped(path, 30, cut=True))) <= 30


def test_control_characters_never_reach_a_terminal():
    assert "\x1b" not in "".join(wrapped("a \x1b[31m b " * 10, 20))
    assert "\x1b" not in plain(table(names=("a\x1b[31m", "b")), width=50)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_what_run_prints_fits_and_shows_every_metric(tmp_path, width):
    comparison = build_comparison([write_study(tmp_path)], metrics=METRICS)
    text = terminal_text(comparison, width=width)
    assert max(map(display_width, text.splitlines())) <= width
    for group in comparison.groups:
        assert all(f"{metric} {'↑' if group.higher_is_better(metric) else '↓'}" in text for metric in group.metrics)
    verdict = next(line for line in text.splitlines() if line.startswith("On restaurants"))
    assert len(verdict) > width / 2, "it uses the terminal's width"


def test_notes_of_the_data_stand_under_the_verdict_once_and_say_of_whom(tmp_path):
    comparison = build_comparison([write_study(tmp_path, tasks=("restaurants",))], metrics=METRICS)
    text = terminal_text(comparison)
    assert text.count("note: 3 of 500 training rows were cut to 512 tokens\n") == 1
    row = comparison.groups[0].rows[1]
    changed = comparison.groups[0].__class__(
        **{
            **vars(comparison.groups[0]),
            "rows": tuple(
                each.__class__(**{**vars(each), "notes": ("only here",) if each is row else ()})
                for each in comparison.groups[0].rows
            ),
        }
    )
    only = terminal_text(comparison.__class__(study="small", groups=(changed,)))
    assert f"note: only here ({row.method})" in only


@pytest.mark.parametrize("methods", [("base",), ("base", "full", "lora r=8")])
def test_the_star_is_explained_where_there_is_one(tmp_path, methods):
    study = write_study(tmp_path, tasks=("restaurants",), spoil=False, methods=methods)
    text = terminal_text(build_comparison([study], metrics=METRICS))
    assert ("*: as good as the best" in text) == (len(methods) > 1) == (" *" in text)
