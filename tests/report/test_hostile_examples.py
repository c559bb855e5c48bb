"""Examples whose texts try to become markup, script or addresses: as data, by the script, in the page beside."""

import json
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report.test_page_script import page_of
from report.test_report_pages import Reader
from tunelab.report import html
from tunelab.report.anchors import Anchors, slug, slugs
from tunelab.report.examples import block
from tunelab.report.tables import steerless

TEXTS = (
    "</script><script>window.hit = 1</script>",
    "<!--<script>",
    "--></script><img src=x onerror='window.hit = 1'>",
    "<svg onload='window.hit = 1'></svg><style>* { display: none }</style>",
    "]]><iframe src='https://example.org/'></iframe><base href='https://example.org/'>",
    '" onmouseover="window.hit = 1" x=\'',
    "javascript:window.hit=1//",
    "{{ 7 * 7 }}${7 * 7}<%= 7 * 7 %>&lt;b&gt;&amp;&#60;",
    "\u2028\u2029\u202e\x00\x0b\x7f a\u0301 日本語 \U0001f600",
    "__proto__",
    "constructor",
    "",
    " \n\t ",
)


def hostile(entry, place, row):
    """Every text of a row; the id too, and so its address."""
    text = TEXTS[place % len(TEXTS)]
    other = TEXTS[(place + len(entry.method)) % len(TEXTS)]
    return row | {"id": f"{place} {text}", "prompt": text, "prediction": other, "references": [text, other]}


@given(
    st.recursive(st.text() | st.sampled_from(TEXTS), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_no_data_ends_its_block_or_changes_in_it(data):
    written = block({"data": data})
    assert not re.search("[<>&\u2028\u2029]", written)
    assert json.loads(written) == {"data": data}


@given(st.lists(st.text()))
def test_addresses_need_no_escape_and_are_never_the_same_twice(texts):
    found = slugs(texts)
    assert len(set(found)) == len(found) == len(texts)
    assert all(set(each) <= set(string.ascii_letters + string.digits + "._=-") and each for each in found)
    if len(set(map(slug, texts))) == len(texts):
        assert found == tuple(map(slug, texts)), "where all differ, each is made of its own text alone"


def test_an_address_that_looks_like_a_second_one_is_not_given_twice():
    anchors = Anchors()
    assert [anchors.of(text) for text in ("a", "a-2", "a", "a", "a-2")] == ["a", "a-2", "a-3", "a-4", "a-2-2"]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    methods = ("base", "full", f"lora {TEXTS[0]}", f"lora {TEXTS[2]}")
    return page_of(tmp_path_factory.mktemp("hostile"), hostile, tasks=(TEXTS[2],), methods=methods)


def check(tab, page):
    """Nothing was executed, asked for or complained of; every text is there, letter for letter, but for
    what would turn it around."""
    tab.run("[...document.querySelectorAll('select')][0].value = 'all'")
    tab.run("document.querySelector('.examples select').dispatchEvent(new Event('input'))")
    tab.run("document.querySelector('.examples > button').click()")
    tab.run("document.querySelector('.examples > button').click()")
    assert tab.run("document.querySelectorAll('.list article').length") == 20
    prompts = tab.run(
        "[...document.querySelectorAll('.list article')].map(each => each.querySelector('dd').textContent)"
    )
    assert prompts == [steerless(TEXTS[place % len(TEXTS)]) for place in range(20)]
    heads = tab.run("[...document.querySelectorAll('.list article h4')].map(each => each.textContent)")
    assert heads == [steerless(f"{place} {TEXTS[place % len(TEXTS)]}") for place in range(20)]
    for to in range(5):  # marked against each
        tab.run(f"[...document.querySelectorAll('.examples select')][2].value = '{to}'")
        tab.run("document.querySelectorAll('.examples select')[2].dispatchEvent(new Event('input'))")
        kinds = tab.run("[...new Set([...document.querySelectorAll('.list *')].map(each => each.tagName))].sort()")
        assert set(kinds) <= {"A", "ARTICLE", "DD", "DIV", "DL", "DT", "H4", "H5", "I", "MARK", "P", "SECTION", "SPAN"}
    for button in range(3):
        tab.run(f"document.querySelectorAll('.table .tools button')[{button}]?.click()")
    assert tab.run("window.hit") is None
    assert tab.complaints() == [] and tab.requests() == [page.as_uri()]


@pytest.mark.slow
def test_hostile_examples_stay_text_in_the_page(chromium, page):
    with chromium.open(page) as tab:
        check(tab, page)
        links = tab.run("[...document.querySelectorAll('.list a')].map(each => each.getAttribute('href'))")
        assert all(re.fullmatch(r"#task-1-example-[A-Za-z0-9._=-]+", link) for link in links)
        assert len(set(links)) == len(links)


@pytest.mark.slow
def test_and_in_the_page_beside_it(chromium, page, monkeypatch, tmp_path):
    monkeypatch.setattr(html, "IN_PAGE", 100)
    report = page_of(tmp_path, hostile)
    (beside,) = (tmp_path / "examples").iterdir()
    with chromium.open(beside) as tab:
        check(tab, beside)
    reader = Reader()
    reader.feed(report.read_text())
    assert reader.open == [] and reader.tags.count("script") == 1, "no data in the report itself"
