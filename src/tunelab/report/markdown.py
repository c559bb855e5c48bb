"""report.md: the same contents with the figures as files beside it."""

from __future__ import annotations

from tunelab.report.alignment.section import Alignment
from tunelab.report.examples import SideBySide
from tunelab.report.page import Chapter, Page, facts_table
from tunelab.report.tables import Cell, Table, cells, escaped_markdown, markdown, words


def render_markdown(page: Page) -> str:
    """GitHub's Markdown."""
    blocks = [f"# {escaped_markdown(page.title)}"]
    blocks += [f"**{escaped_markdown(text)}**" for text in (page.warning, page.overall) if text]
    several = len(page.chapters) > 1
    bullet = "- " if several else ""
    if several:
        blocks += [escaped_markdown(f"- {chapter.title}: {chapter.headline}") for chapter in page.chapters]
    else:
        blocks += [escaped_markdown(" ".join(chapter.sentences)) for chapter in page.chapters]
    blocks += [f"{bullet}{escaped_markdown(alignment.headline)}" for alignment in page.alignments]
    if page.matrix is not None:
        blocks += ["## Every task", markdown(page.matrix)]
    for chapter in page.chapters:
        blocks += _chapter(chapter, with_verdict=several)
    for alignment in page.alignments:
        blocks += _alignment(alignment)
    facts = facts_table(page)
    if facts is not None:
        blocks += ["## Study", markdown(facts)]
    for part in page.parts:
        blocks += [f"## {part.heading}", markdown(part.table)]
    blocks.append(escaped_markdown(f"{page.rule} Written by tunelab {page.version}."))
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _alignment(alignment: Alignment) -> list[str]:
    blocks = [f"## {escaped_markdown(alignment.title)}", escaped_markdown(alignment.sentence)]
    blocks += [f"![{escaped_markdown(plot.title)}](plots/{plot.file})" for plot in alignment.plots]
    for part in alignment.parts:
        blocks += [f"### {escaped_markdown(part.heading)}", markdown(part.table)]
    return blocks


def _chapter(chapter: Chapter, *, with_verdict: bool) -> list[str]:
    figures = [f"![{escaped_markdown(plot.title)}](plots/{plot.file})" for plot in (*chapter.summary, *chapter.plots)]
    verdict = [escaped_markdown(" ".join(chapter.sentences))] if with_verdict else []
    blocks = [f"## {escaped_markdown(chapter.title)}", *verdict, markdown(chapter.decision), *figures]
    for part in chapter.parts:
        blocks += [f"### {part.heading}", markdown(part.table)]
    if chapter.examples:
        blocks.append("### Examples on which the methods differ most")
        blocks += [markdown(_example(example)) for example in chapter.examples]
    return blocks


def _example(example: SideBySide) -> Table:
    rows = [cells("prompt", example.prompt, "")]
    rows += [cells("reference", reference, "") for reference in example.references]
    rows += [
        (Cell(answer.method), Cell("(no text)" if answer.text is None else answer.text), Cell(answer.score))
        for answer in example.answers
    ]
    caption = f"Example {example.id}, seed {example.seed}"
    return Table(caption, (words("Who"), words("Text"), words(example.metric)), tuple(rows))
