"""Templates, grouping of equal prompts, and rows that are left out."""

import pytest

from tunelab.data.examples.formats import format_rows, parse_template
from tunelab.errors import DataError
from tunelab.records import Example

ROWS = [
    {"q": "a", "r": "1"},
    {"q": "b", "r": "  "},
    {"q": "a", "r": "2"},
    {"q": "c", "r": None},
    {"q": "d", "r": "3"},
    {"q": "a", "r": "1"},
]


def formatted(rows=ROWS, *, prompt="{q}\n", target="{r}", group=False):
    return format_rows(rows, prompt=prompt, target=target, split="test", source="rows.csv", group=group)


def fill(template: str, **row) -> str:
    return parse_template(template).fill(row, row_name="rows.csv: row 1")


def test_templates_replace_columns_and_nothing_else():
    assert fill("Q: {q}\nA: ", q="{r} {{") == "Q: {r} {{\nA: "
    assert fill("{{{q}}} {{q}}", q="x") == "{x} {q}"
    assert fill("{the column: a}", **{"the column: a": "x"}) == "x"
    assert parse_template("{b}{a}{b}").columns == ("b", "a")


def test_values_that_are_numbers_are_written_as_in_json():
    assert fill("{a} {b} {c} {d}", a=3, b=0.5, c=True, d=None) == "3 0.5 true "


@pytest.mark.parametrize("template", ["{q", "q}", "{}", "{a{b}}"])
def test_stray_braces_are_refused(template):
    with pytest.raises(ValueError, match=r"is not '\{column\}'; write '\{\{' or '\}\}' for a brace itself"):
        parse_template(template)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{Q}", r"rows.csv: row 1 has no column 'Q'. Did you mean 'q'? Columns: q, r"),
        (
            "{q.__class__}",
            "has no column 'q.__class__'. Only a column's name may stand between braces, as {q}. Columns: q, r",
        ),
        ("{q[0]}", "has no column 'q[0]'. Only a column's name may stand between braces, as {q}."),
        ("{q!r:>10}", "has no column 'q!r:>10'. Only a column's name"),
        ("{zzz}", "has no column 'zzz'. Columns: q, r"),
    ],
)
def test_unknown_columns_list_those_that_exist(template, message):
    with pytest.raises(DataError) as error:
        fill(template, q="1", r="2")
    assert message in str(error.value)


def test_a_column_that_only_some_rows_have_names_the_row():
    with pytest.raises(DataError, match=r"^rows\.csv: row 2 has no column 'r'"):
        formatted([{"q": "1", "r": "1"}, {"q": "1"}])


def test_a_list_is_no_text():
    with pytest.raises(DataError, match="row 1: the column 'a' is list, not text; write it as text first"):
        fill("{a}", a=[1])


def test_rows_without_target_are_left_out_and_counted():
    result = formatted()
    assert (result.num_rows, result.num_empty_targets) == (6, 2)
    assert [example.id for example in result.examples] == ["test-000000", "test-000002", "test-000004", "test-000005"]
    assert result.examples[1] == Example("test-000002", "a\n", "2", ("2",))


def test_equal_prompts_become_one_example_in_order_of_first_appearance():
    result = formatted(group=True)
    assert [example.id for example in result.examples] == ["test-000000", "test-000004"]
    assert result.examples[0].references == ("1", "2", "1")
    assert result.examples[0].target == "1"


def test_plain_text_is_never_grouped():
    result = formatted(prompt=None, group=True)
    assert [example.target for example in result.examples] == ["1", "2", "3", "1"]
    assert {example.prompt for example in result.examples} == {""}


def test_nothing_but_empty_targets_is_an_error():
    with pytest.raises(DataError, match=r"^rows\.csv: all 2 rows have an empty target; check the template '\{r\}'"):
        formatted([{"q": "1", "r": ""}, {"q": "1", "r": "\n"}])
