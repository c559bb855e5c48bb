"""report.html: one self-contained page. It asks no other host for anything and runs no script."""

from __future__ import annotations

from importlib import resources

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from tunelab.report.page import Page, facts_table


def render_html(page: Page) -> str:
    """Everything from models, data, labels and errors is escaped; only our own style and drawings are not."""
    here = resources.files("tunelab.report")
    environment = Environment(
        loader=DictLoader({"page": (here / "page.html.j2").read_text(encoding="utf-8")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup((here / "page.css").read_text(encoding="utf-8"))
    # matplotlib escapes the text inside a drawing, so the drawing as a whole is safe to place.
    drawings = {plot.file: Markup(plot.svg) for plot in page.plots}
    return environment.get_template("page").render(page=page, style=style, drawings=drawings, facts=facts_table(page))
