"""The browser of the tests is a real one: it executes script, follows the colour scheme, prints."""

import pytest

PAGE = """<!doctype html><meta charset="utf-8"><title>page</title><style>:root { color-scheme: light dark }</style>
<p id="text">before</p><button onclick="this.textContent += '!'">press</button>
<script>document.getElementById('text').textContent = 'after ' + matchMedia('(prefers-color-scheme: dark)').matches;
</script>"""


@pytest.fixture
def page(tmp_path):
    (tmp_path / "page.html").write_text(PAGE)
    return tmp_path / "page.html"


@pytest.mark.slow
def test_script_can_be_on_and_off(chromium, page):
    assert "after false" in chromium.dom(page)
    assert ">before<" in chromium.dom(page, script=False)


@pytest.mark.slow
def test_pictures_and_prints_are_made(chromium, page):
    light, dark = (chromium.screenshot(page, 400, dark).read_bytes() for dark in (False, True))
    assert light.startswith(b"\x89PNG") and light != dark
    assert int.from_bytes(light[16:20], "big") == 400
    assert chromium.pdf(page).read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_keys_reach_the_page_and_its_errors_reach_us(chromium, page):
    with chromium.open(page) as tab:
        tab.press("Tab")
        tab.press("Enter", "\r")
        assert tab.run("document.querySelector('button').textContent") == "press!"
        assert tab.complaints() == [] and tab.requests() == [page.as_uri()]
        tab.run("setTimeout(() => { throw Error('mine') })")
        tab.wait("Runtime.exceptionThrown")
        assert tab.complaints()
