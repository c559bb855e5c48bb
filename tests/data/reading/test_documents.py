"""Lines become articles, and texts that stand in many rows are taken once."""

from tunelab.data.reading.documents import articles, distinct
from tunelab.data.sets.named import source_rows


def rows(*lines: str) -> list[dict]:
    return [{"text": line} for line in lines]


def test_an_article_begins_at_a_title_between_empty_lines():
    lines = [
        "",
        " = One = \n",
        "",
        " First . \n",
        " = = Part = = \n",
        "",
        " More . \n",
        "",
        " = Two = \n",
        "",
        " Last . \n",
    ]
    assert articles(rows(*lines)) == rows("= One = \n First . \n = = Part = = \n More .", "= Two = \n Last .")


def test_a_line_that_looks_like_a_title_inside_a_text_begins_nothing():
    lines = ["", " = One = \n", "", " where \n", " = b = \n", " holds . \n", "", " a = b \n", ""]
    assert articles(rows(*lines)) == rows("= One = \n where \n = b = \n holds . \n a = b")


def test_rows_without_a_title_are_documents_already():
    assert articles(rows("One .", "Two .")) == rows("One .", "Two .")


def test_wikitext_has_its_published_articles_and_words(shared):
    for split, num_words in (("validation", 217_646 - 3_760), ("test", 245_569 - 4_358)):  # without an eos a line
        found = articles(source_rows("wikitext_2", split, path=shared / "data/wikitext"))
        assert len(found) == 60
        assert sum(len(row["text"].split()) for row in found) == num_words
        assert all(row["text"].startswith("= ") for row in found)


def test_the_first_row_of_each_value_is_kept():
    given = [{"context": text, "id": number} for number, text in enumerate("abacb")]
    assert distinct(given, "context") == [given[0], given[1], given[3]]
