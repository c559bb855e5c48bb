"""The documentation as a site: every page is in its navigation, links hold, it builds strictly and fetches nothing."""

import importlib.util
import os
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from docs.pages import PAGES, ROOT, SITE, prose

NAVIGATION = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]


def in_navigation(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    return [place for part in (entry.values() if isinstance(entry, dict) else entry) for place in in_navigation(part)]


def test_every_page_stands_in_the_navigation_once():
    assert sorted(in_navigation(NAVIGATION)) == sorted(map(str, PAGES.values())), "mkdocs.yml: nav"


@cache
def anchors(page: Path) -> set[str]:
    """Of headings, as GitHub and Python-Markdown both make them of plain words."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[ -]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_what_is_there(page):
    for target in SITE.links(page.read_text()):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve()
        assert there.exists() and there.is_relative_to(ROOT), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(there), f"{page}: {target}; there are {sorted(anchors(there))}"
    for anchor in re.findall(r"\]\(#([^)]*)\)", prose(page)):
        assert anchor in anchors(page), f"{page}: #{anchor}"


def test_links_are_found_and_a_broken_one_is_an_error(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "code.py").write_text("")
    page, other = tmp_path / "README.md", tmp_path / "docs" / "a.md"
    other.write_text("")
    page.write_text("[a](docs/a.md#b), [code](code.py), [x](https://example.org)\n```\n[no](gone.md)\n```\n")
    placed = {page: Path("index.md"), other: Path("a.md")}
    assert SITE.links(page.read_text()) == ["docs/a.md#b", "code.py"]
    laid = SITE.laid_out(page, placed, keep=lambda picture: picture, root=tmp_path)
    assert laid == "[a](a.md#b), code, [x](https://example.org)\n```\n[no](gone.md)\n```\n"
    page.write_text("[gone](gone.md)")
    with pytest.raises(ValueError, match=r"README.md: gone.md is not there"):
        SITE.laid_out(page, placed, keep=lambda picture: picture, root=tmp_path)


@pytest.mark.slow
def test_the_site_builds_strictly_and_fetches_nothing_from_other_hosts(tmp_path):
    if importlib.util.find_spec("zensical") is None:
        message = "zensical is not installed: pip install -e '.[docs]'"
        pytest.fail(message) if os.environ.get("TUNELAB_REQUIRE_ALL") == "1" else pytest.skip(message)
    first = SITE.build(tmp_path)
    made = {path.relative_to(first.parent).with_suffix(".md").as_posix() for path in first.parent.rglob("*.html")}
    assert made - {"404.md"} == set(map(str, PAGES.values()))
    loads = re.compile(
        r"""<(?:script|img|iframe|source|audio|video)\b[^>]*\ssrc\s*=\s*["']?(?:https?:)?//"""
        r"""|<link\b(?=[^>]*\brel\s*=\s*["']?(?:stylesheet|preload|preconnect|icon|dns-prefetch|modulepreload))"""
        r"""[^>]*\shref\s*=\s*["']?(?:https?:)?//""",
        re.IGNORECASE,
    )
    assert loads.search('<script src="https://x">') and loads.search("<link rel=stylesheet href=//x>")
    for html in first.parent.rglob("*.html"):
        assert not loads.search(html.read_text()), html
    sheets = list(first.parent.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        assert not re.search(r"""url\(\s*["']?(?:https?:)?//|@import\s+["']?(?:https?:)?//""", sheet.read_text()), sheet
