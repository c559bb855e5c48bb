"""Pages seen by a real browser: Chromium without a window. See the fixture `chromium` in tests/conftest.py."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

OUTER = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe id="page" src="{page}" style="width:{width}px;height:{height}px;border:0"></iframe><pre id="seen"></pre>
<script>
addEventListener("load", () => {{
  const frame = document.getElementById("page"), inner = frame.contentDocument, window_ = frame.contentWindow;
  const box = (element) => element.getBoundingClientRect();
  const named = (element) => element.tagName + "." + (element.getAttribute("class") || "") + " "
    + element.textContent.trim().slice(0, 60);
  const scrolled = (element) => element.closest(".scroll") !== null || element.closest("svg") !== null;
  const outside = [...inner.body.querySelectorAll("*")].filter((one) => !scrolled(one) && box(one).right > {width} + 1);
  const texts = [...inner.querySelectorAll("figure svg text")];
  const cut = texts.filter((text) => {{
    const own = box(text), svg = box(text.closest("svg"));
    const inside = (low, high, from, to) => low > from - 1.5 && high < to + 1.5;
    return !inside(own.left, own.right, svg.left, svg.right) || !inside(own.top, own.bottom, svg.top, svg.bottom);
  }});
  const told = (title) => {{
    const spot = title.parentElement, at = box(spot);
    const hit = inner.elementFromPoint((at.left + at.right) / 2, (at.top + at.bottom) / 2);
    return hit !== null && hit.closest("g:has(> title)") !== null;
  }};
  const spots = [...inner.querySelectorAll(".summary svg title")].filter((one) => one.textContent.includes("rouge_l"));
  const first = (selector) => {{ const one = inner.querySelector(selector); return one ? box(one) : {{}}; }};
  document.getElementById("seen").textContent = JSON.stringify({{
    width: inner.documentElement.scrollWidth, outside: outside.map(named).slice(0, 9),
    cut: cut.map((text) => text.textContent), smallest_text: Math.min(...texts.map((text) => box(text).height)),
    titles: [...inner.querySelectorAll("figure svg title")].map((title) => title.textContent),
    told: spots.filter(told).length, spots: spots.length,
    background: window_.getComputedStyle(inner.body).backgroundColor,
    figures_end: first(".plots.summary").bottom, table_begins: first(".decision").top,
    table_ends: first(".decision table").bottom,
  }});
}});
</script>"""


class Seen(NamedTuple):
    """What a reader with a window of one size gets."""

    facts: dict[str, Any]
    """What the script of OUTER measures, in CSS pixels."""
    errors: tuple[str, ...]
    """Of the console: scripts, styles and requests that were refused."""


def seen(chromium: str, page: Path, *, width: int, height: int = 900, dark: bool = False) -> Seen:
    """The page in a frame of this width: a window itself cannot be as narrow as a phone."""
    outer = page.with_name(f"outer-{width}-{'dark' if dark else 'light'}.html")
    outer.write_text(OUTER.format(page=page.name, width=width, height=height), encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    flags = ["--allow-file-access-from-files", "--enable-logging=stderr", "--virtual-time-budget=20000"]
    done = _run(chromium, page.parent, *flags, scheme, "--window-size=1500,1000", "--dump-dom", outer.as_uri())
    found = re.search(r'<pre id="seen">(\{.*?\})</pre>', done.stdout, flags=re.DOTALL)
    assert found, f"nothing was measured: {done.stdout[-500:]} {done.stderr[-2000:]}"
    text = found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    errors = tuple(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return Seen(json.loads(text), errors)


def printed(chromium: str, page: Path) -> tuple[int, Path]:
    """Number of pages, and the PDF."""
    pdf = page.with_suffix(".pdf")
    _run(chromium, page.parent, "--no-pdf-header-footer", f"--print-to-pdf={pdf}", page.as_uri())
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf.read_bytes())), pdf


def _run(chromium: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With a profile of its own: two browsers at once do not share one."""
    profile = folder / "profile"
    base = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
    return subprocess.run([*base, *arguments], capture_output=True, text=True, timeout=120, check=True)
