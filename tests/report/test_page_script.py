"""What page.js does, in a real browser: tables sorted, filtered and copied; examples searched and compared; no text
becomes markup; nothing is asked of anybody. Without it the page shows what it holds."""

import csv
import io
import json
import re
import time
from importlib import resources

import pytest

from report.study_folder import METRICS, write_study
from tunelab.report.write import write_report

WORDS = ("The Eagle is a cheap pub", "The Eagle is a French pub", "The Eagle is a cheap French pub near the river")


def rewritten(folder, study, change):
    """Every prediction of the finished runs, as `change(entry, place, prediction)` makes it."""
    for entry in study.runs:
        path = folder / "runs" / entry.id / "predictions.jsonl"
        if path.exists():
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            made = [change(entry, place, row) for place, row in enumerate(rows)]
            path.write_text("".join(json.dumps(row) + "\n" for row in made))


def page_of(folder, change=lambda entry, place, row: row, **options):
    options = {"tasks": ("restaurants",), "seeds": (0,), "num_examples": 20, "spoil": False} | options
    study = write_study(folder, **options)
    rewritten(folder, study, change)
    write_report(study, metrics=METRICS, folder=folder, config_facts={"model": "tunelab/tiny"})
    return folder / "report.html"


def worded(entry, place, row):
    """Example 7 has the same text by all methods; `full` writes what the reference says."""
    text = {"full": WORDS[2], "lora r=4": WORDS[0]}.get(entry.method, WORDS[1])
    return row | {"prediction": "the same" if place == 7 else text, "references": [WORDS[2], "another"]}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("page"), worded)


@pytest.fixture
def tab(chromium, page):
    with chromium.open(page) as tab:
        yield tab
        assert tab.complaints() == [] and tab.requests() == [page.as_uri()]


def choose(tab, *, search=None, show=None, answers=None, to=None):
    """By the words that a reader sees."""
    for place, text in enumerate((show, answers, to)):
        if text is not None:
            tab.run(
                f"(() => {{ const select = document.querySelectorAll('.examples select')[{place}];"
                f"select.value = [...select.options].find(each => each.text === {json.dumps(text)}).value;"
                "select.dispatchEvent(new Event('input')); })()"
            )
    if search is not None:
        tab.run("document.querySelector('.examples input').select()")
        tab.type(search)


def shown(tab):
    return tab.run("[...document.querySelectorAll('.list article h4')].map(each => each.textContent)")


def said(tab):
    """How many examples are left; after that it is said which."""
    return tab.run("document.querySelector('.examples [role=status]').textContent").rpartition(", ")[0]


def cards(tab):
    """Of the first example: who, what, and the words that are marked."""
    return tab.run(
        "[...document.querySelector('.list article').querySelectorAll('section')].map(each => ["
        "each.querySelector('h5').firstChild.textContent.trim(), each.querySelector('p').textContent,"
        "[...each.querySelectorAll('mark')].map(mark => mark.textContent.trim()).filter(String)])"
    )


def column(tab, place, table=0):
    cells = f"document.querySelectorAll('main table')[{table}].querySelectorAll('tbody tr:not([hidden])')"
    return tab.run(f"[...{cells}].map(row => row.cells[{place}].firstChild.textContent)")


def click(tab, query, number=0):
    tab.run(f"document.querySelectorAll({json.dumps(query)})[{number}].click()")


# ------------------------------------------------------------------ the script itself


def test_the_script_is_small_and_the_only_one_that_is_allowed(page):
    script = (resources.files("tunelab.report") / "page.js").read_bytes()
    assert len(script) <= 8192
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page.read_text())[1]
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy
    assert "unsafe-inline" not in policy.replace("style-src 'unsafe-inline'", "")
    assert not re.search(
        rb"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|fetch\(|import\(", script
    )


@pytest.mark.slow
def test_a_script_that_got_into_the_page_is_refused(chromium, page, tmp_path):
    (tmp_path / "spoilt.html").write_text(page.read_text().replace("</main>", "<script>window.hit = 1</script></main>"))
    with chromium.open(tmp_path / "spoilt.html") as tab:
        assert tab.run("window.hit") is None and any("Content Security Policy" in text for text in tab.complaints())


@pytest.mark.slow
def test_without_script_the_page_shows_the_chosen_examples_and_no_control(chromium, page):
    with chromium.open(page, script=False) as tab:
        tab.ask("Emulation.setScriptExecutionDisabled", value=False)
        assert tab.run("document.querySelectorAll('.examples article').length") == 8
        assert tab.run("document.querySelectorAll('.tools, select, input, button').length") == 0
        assert tab.run("document.body.innerText").count("Write:") == 8


# ------------------------------------------------------------------ tables


@pytest.mark.slow
def test_a_column_sorts_up_down_and_back_by_numbers_with_the_missing_last(tab):
    order = ["base", "full", "lora r=4", "lora r=8"]
    head = next(place for place, text in enumerate(tab.run(
        "[...document.querySelectorAll('main table')[0].querySelectorAll('th')].map(each => each.textContent)"
    )) if text.startswith("Trained"))  # fmt: skip
    assert column(tab, 0) == order and column(tab, head) == ["–", "5.00 M", "60.0 K", "120 K"]
    for way, expected in (
        ("ascending", ["60.0 K", "120 K", "5.00 M", "–"]), ("descending", ["5.00 M", "120 K", "60.0 K", "–"]),
    ):  # fmt: skip
        click(tab, "main table th button", head)
        assert column(tab, head) == expected
        assert tab.run(f"document.querySelectorAll('main table th')[{head}].getAttribute('aria-sort')") == way
    click(tab, "main table th button", head)
    assert column(tab, 0) == order and tab.run("document.querySelectorAll('[aria-sort]').length") == 0
    click(tab, "main table th button", 0)
    click(tab, "main table th button", 0)
    assert column(tab, 0) == order[::-1]


@pytest.mark.slow
def test_rows_are_filtered_and_it_is_said_how_many_are_left(tab):
    place = tab.run(
        "[...document.querySelectorAll('main table')].findIndex(each => each.rows.length > 6 && "
        "each.textContent.includes('data revision'))"
    )
    box = f"document.querySelectorAll('main table')[{place}].closest('.table')"
    tab.run(f"{box}.querySelector('input').focus()")
    tab.type("REVISION")
    assert column(tab, 0, place) == ["data revision"]
    assert re.fullmatch(r"1 of \d+ rows", tab.run(f"{box}.querySelector('[role=status]').textContent"))


def copied(tab, form, table=0):
    """What reaches the clipboard."""
    tab.run(
        "document.addEventListener('copy', () => { window.copied = document.activeElement.value }, {once: true});"
        f"[...document.querySelectorAll('main table')][{table}].closest('.table').querySelectorAll('.tools button')"
        f"[{['Markdown', 'LaTeX', 'CSV'].index(form)}].click()"
    )
    assert tab.run("document.querySelectorAll('textarea').length") == 0
    return tab.run("window.copied")


@pytest.mark.slow
def test_a_table_is_copied_as_it_is_shown(tab):
    rows = list(csv.reader(io.StringIO(copied(tab, "CSV"))))
    assert [row[0] for row in rows] == ["Method", "base", "full", "lora r=4", "lora r=8"]
    score = rows[0].index("rouge_l ↑")
    assert 0 < float(rows[2][score]) < 1 and rows[0][score + 1] == "rouge_l ↑, below" and rows[2][score + 1][0] == "["
    markdown = copied(tab, "Markdown").splitlines()
    assert markdown[0].startswith("| Method | ") and markdown[1].startswith("| :--- | ")
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in markdown[:6]}) == 1
    latex = copied(tab, "LaTeX")
    lines = latex.splitlines()
    assert (
        re.fullmatch(r"\\begin\{tabular\}\{[lr]+\}", lines[0]) and lines[1] == r"\toprule" and lines[3] == r"\midrule"
    )
    assert r"\bottomrule" in lines and r"rouge\_l" in lines[2] and r"100 \%" in latex and "−" not in latex
    columns = len(lines[0].split("{")[-1]) - 1
    assert all(line.count(" & ") == columns - 1 for line in lines if line.endswith("\\\\"))
    click(tab, "main table th button", 0)
    click(tab, "main table th button", 0)
    assert copied(tab, "CSV").splitlines()[1].startswith("lora r=8,")


@pytest.mark.slow
def test_where_the_browser_does_not_copy_the_text_stands_there(tab):
    tab.run("document.execCommand = () => false")
    click(tab, "main .tools button", 2)
    area = "document.activeElement"
    assert tab.run(f"{area}.tagName") == "TEXTAREA" and tab.run(f"{area}.value").startswith("Method,")
    assert tab.run(f"{area}.selectionEnd === {area}.value.length")


@pytest.mark.slow
def test_labels_that_mean_something_to_a_spreadsheet_or_latex_are_text(chromium, tmp_path):
    label = r"=lora [a_b] 100% x\y ~^{}$#&|<"
    page = page_of(tmp_path, methods=("base", label, "[bracket]"), num_examples=4)
    with chromium.open(page) as tab:
        assert list(csv.reader(io.StringIO(copied(tab, "CSV"))))[2][0] == "'" + label
        *_, latex, bracket = copied(tab, "LaTeX").splitlines()[:7]
        assert bracket.startswith("{[}bracket] & "), "after a line's end a bracket would be read as its argument"
        assert latex.startswith(
            r"=lora [a\_b] 100\% x\textbackslash{}y \textasciitilde{}\textasciicircum{}\{\}\$\#\&$|$$<$ & "
        )
        assert copied(tab, "Markdown").splitlines()[3].startswith(r"| =lora \[a_b\] 100% x\\y \~^{}\$#\&\|\< |")
        assert tab.complaints() == []


# ------------------------------------------------------------------ examples


@pytest.mark.slow
def test_it_begins_with_the_examples_that_the_page_shows_without_it(chromium, page, tab):
    static = re.findall(r"<article[^>]*>\s*<h4>.*?</a>([^<]*)</h4>", page.read_text())
    assert shown(tab) == static and len(static) == 8
    assert said(tab) == "19 of 20 examples", "one has the same text by all methods"
    click(tab, ".examples > button")
    assert len(shown(tab)) == 16
    click(tab, ".examples > button")
    assert len(shown(tab)) == 19 and tab.run("document.querySelector('.examples > button').hidden")


@pytest.mark.slow
def test_worst_best_and_all_of_one_method(tab, page):
    line = next(path for path in (page.parent / "runs").glob("full-*/predictions.jsonl"))
    rows = [json.loads(row) for row in line.read_text().splitlines()]
    by_score = [row["id"] for row in sorted(rows, key=lambda row: row["statistics"]["rouge_l"][0])]
    choose(tab, show="worst", answers="full")
    assert shown(tab) == by_score[:8] and said(tab) == "20 of 20 examples"
    assert set(tab.run("[...document.querySelectorAll('.list h5')].map(each => each.firstChild.textContent)")) == {
        "full "
    }
    choose(tab, show="best")
    assert shown(tab) == by_score[::-1][:8]
    choose(tab, show="in their order")
    assert shown(tab) == [row["id"] for row in rows][:8]


@pytest.mark.slow
def test_examples_are_found_by_id_prompt_reference_and_answer(tab):
    choose(tab, show="in their order")
    for text, ids in (("restaurants-13", ["restaurants-13"]), ("#5", ["restaurants-5"]), ("NOWHERE", [])):
        choose(tab, search=text)
        assert shown(tab) == ids
    choose(tab, search="the same")
    assert shown(tab) == ["restaurants-7"] and said(tab) == "1 of 20 examples"
    choose(tab, search="ANOTHER")
    assert said(tab) == "20 of 20 examples"


@pytest.mark.slow
def test_two_texts_stand_side_by_side_with_what_differs_marked(tab):
    choose(tab, show="in their order", answers="full", to="lora r=4")
    assert cards(tab) == [
        ["lora r=4", WORDS[0], []], ["full", WORDS[2], ["French", "near", "the", "river"]],
    ]  # fmt: skip
    left, right = tab.run(
        "[...document.querySelector('.list article').querySelectorAll('section')].map(each => each.offsetLeft)"
    )
    assert left < right
    choose(tab, answers="lora r=8", to="first reference")
    assert cards(tab) == [
        ["first reference", WORDS[2], ["cheap", "near", "the", "river"]], ["lora r=8", WORDS[1], []],
    ]  # fmt: skip
    choose(tab, answers="all methods", to="full")
    assert [card[0] for card in cards(tab)] == ["first reference", "base", "full", "lora r=4", "lora r=8"]
    assert [card[2] for card in cards(tab)] == [[]] * 5, "nothing is in the others that full does not write"


@pytest.mark.slow
def test_what_two_methods_write_alike_is_not_among_what_differs(tab):
    choose(tab, show="differing most", answers="lora r=8", to="full")
    assert said(tab) == "19 of 20 examples" and "restaurants-7" not in shown(tab)
    choose(tab, answers="lora r=8", to="base")
    assert said(tab) == "0 of 20 examples", "both write the same, always"


@pytest.mark.slow
def test_a_link_to_an_example_shows_it_first(chromium, page, tab):
    with chromium.open(page, at="task-1-example-restaurants-7") as linked:
        assert shown(linked)[0] == "restaurants-7" and len(shown(linked)) == 9
        assert linked.run("Math.abs(document.querySelector('.list article').getBoundingClientRect().top) < 120")
    tab.run("location.hash = '#task-1-example-restaurants-12'")
    deadline = time.monotonic() + 10
    while shown(tab)[0] != "restaurants-12" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert shown(tab)[0] == "restaurants-12" and shown(tab).count("restaurants-12") == 1
    ids = tab.run("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_everything_can_be_reached_by_the_keyboard(tab):
    tab.run("document.querySelector('main table th button').focus()")
    tab.press("Enter", "\r")
    tab.press("Enter", "\r")
    assert column(tab, 0) == ["lora r=8", "lora r=4", "full", "base"]
    tab.run("document.querySelector('.examples input').focus()")
    seen = []
    for _ in range(4):
        seen.append(tab.run("document.activeElement.tagName"))
        tab.press("Tab")
    assert seen == ["INPUT", "SELECT", "SELECT", "SELECT"]
    tab.run("document.querySelector('main tbody tr .anchor').focus()")
    assert tab.run("getComputedStyle(document.activeElement).opacity") == "1"
    assert tab.run("document.activeElement.getAttribute('href')") == "#task-1-lora-r=8"
