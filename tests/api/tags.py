"""HTML as a test reads it."""

from html.parser import HTMLParser


class Tags(HTMLParser):
    """Every tag that is opened, and the text outside tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.opened.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data
