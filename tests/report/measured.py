"""What a reader of the page gets in a window of one size, measured by a real browser, and what is printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from report.browser import Chromium

MEASURE = """(() => {
  const width = document.documentElement.clientWidth;
  const box = (element) => element.getBoundingClientRect();
  const named = (element) => element.tagName + "." + (element.getAttribute("class") || "") + " "
    + element.textContent.trim().slice(0, 60);
  const scrolled = (element) => element.closest(".scroll") !== null || element.closest("svg") !== null;
  const beyond = (element) => !scrolled(element) && box(element).right > width + 1;
  const outside = [...document.body.querySelectorAll("*")].filter(beyond);
  const texts = [...document.querySelectorAll("figure svg text")];
  const cut = texts.filter((text) => {
    const own = box(text), svg = box(text.closest("svg"));
    const inside = (low, high, from, to) => low > from - 1.5 && high < to + 1.5;
    return !inside(own.left, own.right, svg.left, svg.right) || !inside(own.top, own.bottom, svg.top, svg.bottom);
  });
  const told = (title) => {
    const at = box(title.parentElement);
    const hit = document.elementFromPoint((at.left + at.right) / 2, (at.top + at.bottom) / 2);
    return hit !== null && hit.closest("g:has(> title)") !== null;
  };
  const quality = (title) => title.textContent.includes("rouge_l");
  const spots = [...document.querySelectorAll(".summary svg title")].filter(quality);
  const first = (selector) => { const one = document.querySelector(selector); return one ? box(one) : {}; };
  return {
    width: document.documentElement.scrollWidth, outside: outside.map(named).slice(0, 9),
    cut: cut.map((text) => text.textContent), smallest_text: Math.min(...texts.map((text) => box(text).height)),
    titles: [...document.querySelectorAll("figure svg title")].map((title) => title.textContent),
    told: spots.filter(told).length, spots: spots.length,
    background: getComputedStyle(document.body).backgroundColor,
    figures_end: first(".plots.summary").bottom, table_begins: first(".decision").top,
    table_ends: first(".decision table").bottom,
  };
})()"""


class Seen(NamedTuple):
    facts: dict[str, Any]
    """In CSS pixels."""
    errors: tuple[str, ...]
    """Of scripts, styles and requests that were refused."""


def seen(chromium: Chromium, page: Path, *, width: int, dark: bool = False) -> Seen:
    with chromium.open(page, width, dark) as tab:
        return Seen(tab.run(MEASURE), tuple(tab.complaints()))


def printed(chromium: Chromium, page: Path) -> tuple[int, Path]:
    """Number of pages, and the PDF."""
    pdf = chromium.pdf(page)
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf.read_bytes())), pdf
