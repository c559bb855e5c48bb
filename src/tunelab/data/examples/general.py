"""General text that no task is about: what tuning may make a model forget. Generated, the same for every study."""

from __future__ import annotations

from itertools import islice

from tunelab.data.examples.fingerprint import of_generator
from tunelab.data.synthetic import pretraining
from tunelab.records import Example

NUM_DOCUMENTS = 200
START = 3_000_000_000
"""Number of the first document: none that an embedded model was made from."""


def general_text() -> list[Example]:
    """Stories, news, dialogues, lists: plain text, a document each."""
    texts = islice(pretraining.iterate(seed=0, start=START), NUM_DOCUMENTS)
    return [Example(f"general-{number:06d}", "", text, (text,)) for number, text in enumerate(texts)]


def general_signature() -> str:
    """Changes whenever the text does."""
    return of_generator(pretraining, options={"documents": NUM_DOCUMENTS, "start": START})
