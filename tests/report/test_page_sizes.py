"""The page at every size: many examples, two to twelve methods, several tasks, failed runs; narrow, dark, on paper."""

import re

import pytest

from report import study_folder
from report.study_folder import HOSTILE
from report.test_page_script import choose, page_of, said, shown
from report.test_report_pages import Reader
from tunelab.report import html
from tunelab.report.tables import Part

LABELS = (
    "full", "lora r=4", "lora r=8", "qlora r=16 alpha=32 dropout=0.05 targets=all-linear", "rosa r=8 density=0.006",
    "galore r=128 update_gap=200", "dora r=8", "peft_any adalora init_r=12 target_r=8 beta1=0.85 beta2=0.85 tinit=200",
    "apollo r=1", "lora r=64 init=pissa scaling=rslora", "sequential full + lora r=4",
    "merge average of full + lora r=8",
)  # fmt: skip


def no_texts(entry, place, row):
    return row | {"prediction": None}


def unscored(entry, place, row):
    return row | {"statistics": {}}


# ------------------------------------------------------------------ where the examples are


@pytest.mark.slow
def test_examples_that_do_not_fit_lie_beside_the_page_which_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(html, "IN_PAGE", 20_000)
    tasks = ("small", "large: " + "x" * 90)
    page = page_of(tmp_path, tasks=tasks, num_examples=20).read_text()
    (beside,) = (tmp_path / "examples").iterdir()
    assert page.count('type="application/json"') == 1, "the first task fits, the second no more"
    link = f'<a href="examples/{beside.name}">'
    assert link in page and re.search(rf"All 20 examples to search, order and compare: {link}.*\(0\.0 MiB\)", page)
    assert page.count("--examples 5 --worst") == 2
    text = beside.read_text()
    assert text.count('type="application/json"') == 1 and '<a href="../report.html#task-2">' in text
    reader = Reader()
    reader.feed(text)
    assert reader.open == []


def test_all_that_fits_leaves_no_page_beside(tmp_path):
    page_of(tmp_path, num_examples=4)
    assert not (tmp_path / "examples").exists()


def test_the_command_that_is_named_shows_them(tmp_path):
    page = page_of(tmp_path, num_examples=4).read_text()
    (run,) = set(re.findall(r"<code>tunelab show (\S+) --examples 5 --worst</code>", page))
    assert (tmp_path / run / "predictions.jsonl").is_file() and run.startswith("runs/lora-r8-")


def test_a_task_without_texts_has_no_examples(tmp_path):
    page = page_of(tmp_path, no_texts, num_examples=4).read_text()
    assert "application/json" not in page and "Test examples" not in page


@pytest.mark.slow
def test_without_scores_all_are_there_in_their_order_with_no_worst(chromium, tmp_path):
    page = page_of(tmp_path, unscored, num_examples=12)
    with chromium.open(page) as tab:
        assert tab.run("[...document.querySelector('.examples select').options].map(each => each.value)") == [
            "differing", "all",
        ]  # fmt: skip
        assert said(tab) == "12 of 12 examples" and len(shown(tab)) == 8
        choose(tab, show="in their order")
        assert shown(tab)[0] == "restaurants-0" and tab.complaints() == []


def test_methods_without_texts_of_the_seed_are_named(tmp_path):
    page = page_of(tmp_path, spoil=True, num_examples=4).read_text()
    assert "Seed 0; scores: rouge_l of each example alone." in page
    assert "Without texts of this seed: full, lora r=4." in page


# ------------------------------------------------------------------ how it looks


@pytest.fixture(scope="module")
def skills():
    """A score for every label, while these tests run."""
    known = [dict(each) for each in (study_folder.SKILL, study_folder.COST, study_folder.TRAINED)]
    for place, label in enumerate(LABELS):
        study_folder.SKILL.setdefault(label, 0.6 + 0.01 * place)
        study_folder.COST.setdefault(label, (0.8 + 0.1 * place, 40.0 + 3 * place))
        study_folder.TRAINED.setdefault(label, 50_000 * (place + 1))
    yield
    for each, before in zip((study_folder.SKILL, study_folder.COST, study_folder.TRAINED), known, strict=True):
        each.clear()
        each.update(before)


@pytest.fixture(
    scope="module", params=[(2, 1), (5, 3), (12, 3)], ids=lambda each: f"{each[0]} methods, {each[1]} tasks"
)
def page(request, tmp_path_factory, skills):
    num_methods, num_tasks = request.param
    tasks = ("restaurants", "headlines", f"a long one {HOSTILE}")[:num_tasks]
    folder = tmp_path_factory.mktemp("sizes")
    return page_of(
        folder, tasks=tasks, methods=("base", *LABELS[:num_methods]), seeds=(0, 1), num_examples=12, spoil=True
    )


SIDEWAYS = "document.documentElement.scrollWidth > innerWidth"
BOXES = "[...document.querySelectorAll('.tools, .tools > *, .list article, .answers section')]"


@pytest.mark.slow
@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_of_the_page_stands_outside_it(chromium, page, width, script):
    with chromium.open(page, width, script=script) as tab:
        tab.ask("Emulation.setScriptExecutionDisabled", value=False)
        assert not tab.run(SIDEWAYS)
        outside = f"{BOXES}.filter(each => each.getBoundingClientRect().right > innerWidth + 1).length"
        assert tab.run(outside) == 0 and tab.complaints() == [] and tab.requests() == [page.as_uri()]


@pytest.mark.slow
def test_every_address_is_there_once_and_every_link_leads_somewhere(chromium, page):
    with chromium.open(page) as tab:
        ids = tab.run("[...document.querySelectorAll('[id]')].map(each => each.id)")
        assert len(ids) == len(set(ids))
        links = tab.run("[...document.querySelectorAll('a')].map(each => each.getAttribute('href'))")
        assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
        assert all((page.parent / link).is_file() for link in links if not link.startswith("#"))
        for query in ("tbody tr", "figure", "article"):
            assert tab.run(f"[...document.querySelectorAll('main {query}')].every(each => each.id)"), query
            assert tab.run(
                f"[...document.querySelectorAll('main {query}')].every(each => each.querySelector('.anchor'))"
            )


@pytest.mark.slow
def test_a_link_is_seen_where_the_pointer_or_the_keyboard_is(chromium, page):
    opacity = "getComputedStyle(document.querySelectorAll('main tbody tr .anchor')[{}]).opacity"
    with chromium.open(page) as tab:
        assert float(tab.run(opacity.format(0))) < 1
        box = "document.querySelector('main tbody tr').getBoundingClientRect()"
        tab.run("document.querySelector('main tbody tr').scrollIntoView({block: 'center'})")
        tab.ask("Input.dispatchMouseEvent", type="mouseMoved", x=tab.run(f"{box}.x") + 9, y=tab.run(f"{box}.y") + 9)
        assert tab.run(opacity.format(0)) == "1" and float(tab.run(opacity.format(1))) < 1
        tab.run("document.querySelectorAll('main tbody tr .anchor')[1].focus()")
        assert tab.run(opacity.format(1)) == "1"


@pytest.mark.slow
def test_a_link_into_a_folded_table_unfolds_it(chromium, tmp_path, monkeypatch):
    monkeypatch.setattr(Part, "is_long", True)
    folded = page_of(tmp_path, num_examples=4)
    row = "task-1-Phases-full"
    visible = f"document.getElementById({row!r}).checkVisibility()"
    with chromium.open(folded) as tab:
        assert not tab.run(visible)
    with chromium.open(folded, at=row) as tab:
        assert tab.run(visible)


@pytest.mark.slow
def test_texts_too_long_to_be_compared_say_so_at_once(chromium, tmp_path):
    def long(entry, place, row):
        return row | {"prediction": f"{entry.method} word {'again ' * 1500}", "references": ["again " * 1500]}

    with chromium.open(page_of(tmp_path, long, num_examples=2)) as tab:
        choose(tab, to="first reference")
        first = "document.querySelector('.list article')"
        texts = tab.run(f"[...{first}.querySelectorAll('p')].map(each => each.textContent)")
        assert texts[0].startswith("again") and all(text.startswith("Too long to mark. ") for text in texts[1:])
        assert len(texts) == 5 and texts[2].endswith("again ")


@pytest.mark.slow
def test_controls_are_readable_in_light_and_dark(chromium, page):
    """Contrast of text to ground by WCAG 2: at least 4.5."""
    contrast = """(query => {
      const light = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255)
        .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
      const each = document.querySelector(query), ground = element => {
        const colour = getComputedStyle(element).backgroundColor;
        return /, 0\\)$/.test(colour) ? ground(element.parentElement) : colour;
      };
      const [low, high] = [light(getComputedStyle(each).color), light(ground(each))].sort((a, b) => a - b);
      return (high + 0.05) / (low + 0.05);
    })"""
    for dark in (False, True):
        with chromium.open(page, dark=dark) as tab:
            choose(tab, answers="full", to="first reference")
            for query in (".tools button", ".tools span", ".tools select", ".tools input", ".list mark", "h4", "nav a"):
                assert tab.run(f"{contrast}({query!r})") >= 4.5, (query, dark)


@pytest.mark.slow
def test_on_paper_there_are_no_controls(chromium, page):
    with chromium.open(page) as tab:
        tab.ask("Emulation.setEmulatedMedia", media="print")
        controls = "[...document.querySelectorAll('button, input, select, label, .anchor, figcaption')]"
        visible = f"{controls}.filter(each => each.checkVisibility() && !each.closest('th'))"
        assert tab.run(f"{visible}.length") == 0
        assert tab.run("document.querySelector('.examples [role=status]').checkVisibility()"), "which they are is said"
        assert tab.run("document.querySelectorAll('.list article').length") >= 8
