"""report.html: one self-contained page, and pages of examples beside it where they are too many. They ask no other host
for anything; the only script that they run is page.js, known by its hash, and they can be read without it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup

from tunelab.report.anchors import Anchors
from tunelab.report.examples import AllExamples, block
from tunelab.report.page import Chapter, Page, facts_table
from tunelab.report.plots import slug
from tunelab.report.tables import steerless

IN_PAGE = 4_000_000
"""Bytes of examples that the page itself holds, of all tasks together; a task that no longer fits has a page beside."""


class Held(NamedTuple):
    """All examples of a task as the templates show them."""

    block: Markup
    """The data, as JSON that no text in it can end."""
    num: int
    seed: int
    names: Sequence[str]
    methods: Sequence[str]
    scored: bool
    words: str
    absent: Sequence[str]
    folder: str
    file: str
    """Where the data stands beside the page; empty: in the page."""
    mib: float


def render_html(page: Page, *, files: Sequence[str] = ()) -> str:
    """Everything from models, data, labels and errors is escaped; only our own style, script and drawings are not.

    `files` are linked: those that lie beside the page.
    """
    # matplotlib escapes the text inside a drawing, so the drawing as a whole is safe to place.
    drawings = {plot.file: Markup(plot.svg) for plot in page.plots}
    anchors = Anchors()
    for section in (*page.chapters, *page.alignments):
        anchors.of(section.anchor)
    return _template("page").render(
        page=page, drawings=drawings, facts=facts_table(page), held=_held(page), files=files, anchor=anchors.of,
        rows_of=anchors.of_rows,
    )  # fmt: skip


def render_examples(page: Page) -> dict[str, str]:
    """The pages of examples that do not fit, by their name beside report.html: 'examples/alpaca.html'."""
    held = _held(page)
    chapters = [chapter for chapter in page.chapters if chapter.anchor in held and held[chapter.anchor].file]
    return {
        held[chapter.anchor].file: _template("examples").render(page=page, chapter=chapter, held=held[chapter.anchor])
        for chapter in chapters
    }


def _template(name: str) -> Template:
    here = resources.files("tunelab.report")
    names = {"page": "page.html.j2", "examples": "examples.html.j2", "controls": "controls.j2"}
    environment = Environment(
        loader=DictLoader({name: (here / file).read_text(encoding="utf-8") for name, file in names.items()}),
        autoescape=True,
        finalize=lambda value: steerless(value) if type(value) is str else value,  # not Markup, which is ours
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (here / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {
        "style": Markup((here / "page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "policy": Markup(
            f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
            "base-uri 'none'; form-action 'none'"
        ),
    }
    return environment.get_template(name)


def _held(page: Page) -> dict[str, Held]:
    """By the chapter's anchor; what fits stands in the page, in the order of the chapters."""
    found, used, left = {}, set(), IN_PAGE
    for chapter in page.chapters:
        name = slug(chapter.title, used)
        if chapter.all_examples is None:
            continue
        text = block(_shown(chapter.all_examples.as_json(chapter.anchor)))
        size = len(text.encode())
        fits = size <= left
        left -= size if fits else 0
        found[chapter.anchor] = _of_chapter(
            chapter, chapter.all_examples, text, "" if fits else f"examples/{name}.html", size
        )
    return found


def _shown(value: Any) -> Any:
    """With texts as a page may show them."""
    if isinstance(value, str):
        return steerless(value)
    if isinstance(value, Mapping):
        return {name: _shown(each) for name, each in value.items()}
    return [_shown(each) for each in value] if isinstance(value, (list, tuple)) else value


def _of_chapter(chapter: Chapter, examples: AllExamples, text: str, file: str, size: int) -> Held:
    trained = examples.trained[-1]
    return Held(
        block=Markup(text), num=len(examples.ids), seed=examples.seed, names=examples.names,
        methods=tuple(examples.of_method), scored=examples.alone is not None,
        words="" if examples.alone is None else examples.alone.words, absent=examples.absent,
        folder=examples.folders[trained], file=file, mib=size / 2**20,
    )  # fmt: skip
