"""Plain language modelling over ten text sets: Wikipedia, stories, news, reviews, film reviews.

By default about 415,000 documents to train on, 46,000 to validate on and 8,000 to test on, as counted from the sets'
published sizes. Whether documents share rows or each has its own is the study's `data.packing`. WikiText-2's articles
are WikiText-103's too: the tests of both are the same 60 articles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Literal, NamedTuple, get_args

import numpy as np
from pydantic import PositiveInt

from tunelab.data.examples.formats import format_rows
from tunelab.data.examples.splits import draw, held_out
from tunelab.data.reading.documents import articles, distinct
from tunelab.data.reading.lazy import Selected
from tunelab.data.reading.rows import Row
from tunelab.data.sets.mixture import MixedTask, SetOptions, SetRows, Split
from tunelab.data.sets.named import SOURCES, source_rows
from tunelab.errors import DataError

Name = Literal[
    "wikitext_103",
    "wikitext_2",
    "tinystories",
    "ag_news",
    "yelp_review_full",
    "amazon_polarity",
    "cnn_dailymail",
    "xsum",
    "squad",
    "imdb",
]
HELD_OUT_SHARE = 0.1


class TextSet(NamedTuple):
    """Where the documents of a data set are."""

    column: str
    documents: Callable[[Sequence[Row]], Sequence[Row]] | None = None
    """From all rows to one a document; None: each row is one, so that a sample of the rows is enough."""


TEXTS: dict[str, TextSet] = {
    "wikitext_103": TextSet("text", articles),
    "wikitext_2": TextSet("text", articles),
    "tinystories": TextSet("text"),
    "ag_news": TextSet("text"),
    "yelp_review_full": TextSet("text"),
    "amazon_polarity": TextSet("content"),
    "cnn_dailymail": TextSet("article"),
    "xsum": TextSet("document"),
    "squad": TextSet("context", partial(distinct, column="context")),
    "imdb": TextSet("text"),
}


class Corpus(SetOptions):
    train: PositiveInt | None = 57_700
    validation: PositiveInt = 6_900
    """Validate on at most so many: the set's own split where it has all three, else documents held out of train, a
    tenth of them where there are fewer than train and validation want. Twins (data/examples/twins.py) stay together."""

    test: PositiveInt | None = 1_000
    """Test on at most so many: the set's test split, or its validation split where it has no test."""


class Corpora(MixedTask):
    name: str = "corpora"

    sources: tuple[Name, ...] = get_args(Name)
    """Which data sets."""

    wikitext_103: Corpus = Corpus()
    """Merity et al. 2017 (arXiv:1609.07843): lines joined to articles, which begin at ' = Title = ' headings."""

    wikitext_2: Corpus = Corpus()
    """The same, 600 articles to train on."""

    tinystories: Corpus = Corpus()
    """Eldan and Li 2023 (arXiv:2305.07759)."""

    ag_news: Corpus = Corpus()
    """Zhang et al. 2015 (arXiv:1509.01626): headline and teaser."""

    yelp_review_full: Corpus = Corpus()
    """Zhang et al. 2015: the review."""

    amazon_polarity: Corpus = Corpus()
    """Zhang et al. 2015: the review without its title."""

    cnn_dailymail: Corpus = Corpus()
    """See et al. 2017 (arXiv:1704.04368): the article."""

    xsum: Corpus = Corpus()
    """Narayan et al. 2018 (arXiv:1808.08745): the article."""

    squad: Corpus = Corpus()
    """Rajpurkar et al. 2016 (arXiv:1606.05250): each paragraph once, however many questions it has."""

    imdb: Corpus = Corpus()
    """Maas et al. 2011: the review."""

    metrics: tuple[str, ...] = ("perplexity", "bits_per_token", "bits_per_byte", "sequence_loss")

    def options_of(self, name: str) -> Corpus:
        return getattr(self, name)

    def set_rows(self, name: str, split: Split) -> SetRows:
        options = self.options_of(name)
        has_all = {"train", "validation", "test"} <= set(SOURCES[name].splits)
        if split == "test":
            theirs = "test" if "test" in SOURCES[name].splits else "validation"
            documents = self._documents(name, theirs, n=options.test)
        elif has_all:
            documents = self._documents(name, split, n=getattr(options, split))
        else:
            documents = self._held_apart(name, split)
        column = TEXTS[name].column
        source = f"{options.path or name} ({split})"
        formatted = format_rows(documents, prompt=None, target=f"{{{column}}}", split=split, source=source)
        empty = f"{split}, {name}: {formatted.num_empty_targets} of {formatted.num_rows} rows left out, they are empty"
        return SetRows(formatted.examples, [empty] if formatted.num_empty_targets else [])

    def _held_apart(self, name: str, split: Split) -> Sequence[Row]:
        """Train without what is held out of it, or that."""
        options = self.options_of(name)
        wanted = None if options.train is None else options.train + options.validation
        documents = self._documents(name, "train", n=wanted)
        if len(documents) < 2:
            raise DataError(f"{options.path or name}: has {len(documents)} documents, too few to hold any out of train")
        if name not in self._held_out:
            few = wanted is None or len(documents) < wanted
            most = min(options.validation, int(len(documents) * HELD_OUT_SHARE)) if few else options.validation
            texts = (str(row[TEXTS[name].column]) for row in documents)
            try:
                self._held_out[name] = held_out(texts, n=max(1, most), seed=self.seed)
            except DataError as error:
                raise DataError(f"{options.path or name}: has {error}") from None
        return Selected(documents, np.flatnonzero(self._held_out[name] == (split == "validation")))

    @cached_property
    def _held_out(self) -> dict[str, np.ndarray]:
        """Of each set's documents; filled as splits are asked for, since every text is read for it."""
        return {}

    def _documents(self, name: str, split: str, *, n: int | None) -> Sequence[Row]:
        """Of a split of the set's own, drawn by the seed."""
        join, path = TEXTS[name].documents, self.options_of(name).path
        if join is None:
            return source_rows(name, split, path=path, n=n, seed=self.seed)
        return draw(join(source_rows(name, split, path=path)), n=n, seed=self.seed)
