"""Conversations as token ids: a rendered conversation is tokenised so that every turn begins and ends with a token.

The ids are those of the whole text wherever its tokens respect the turns' borders. Where one would lie across a border
(an answer that begins with a line break behind a header that ends with one) the two sides are tokenised apart, as a
prompt and its target always are; a tokenizer whose text changes by that is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np

from tunelab.data.tokens.chat import ChatForm, Rendered
from tunelab.data.tokens.encoded import Encoded, edges, encode_texts
from tunelab.data.tokens.markers import Markers
from tunelab.errors import DataError
from tunelab.records import Span


def encode_chats(
    rendered: Sequence[Rendered],
    names: Sequence[str],
    form: ChatForm,
    *,
    own: Sequence[Sequence[Span] | None],
    markers: Markers,
) -> list[Encoded]:
    """`names` begin the messages. `own`: of conversations that hold special tokens as text, the template's own words.

    Raises:
        DataError: a conversation whose turns cannot be told apart in tokens.
    """
    tokenizer = form.tokenizer
    pieces = [_pieces(one) for one in rendered]
    wholes = encode_texts([one.text for one in rendered], tokenizer)
    flat = iter(encode_texts([piece for own in pieces for piece in own], tokenizer))
    apart = [[next(flat) for _ in own] for own in pieces]
    # A template writes its own start token; the plain form has none.
    start = [] if form.has_template else edges(tokenizer).start
    end = tokenizer.convert_tokens_to_ids(form.end)
    encoded = []
    for one, name, whole, parts, control in zip(rendered, names, wholes, apart, own, strict=True):
        if control is None:
            kept = _at_borders(one, whole, parts, tokenizer, name=name)
        else:
            kept = _marked(one, control, markers)
        if any(answer[-1:] != [end] for answer in kept[1::2]):
            raise DataError(f"{name}: the tokenizer does not keep the end-of-turn token {form.end!r} whole")
        made = _encoded(kept, start=start, written=getattr(tokenizer, "bos_token_id", None))
        encoded.append(made._replace(unused=one.unused))
    return encoded


def _pieces(one: Rendered) -> list[str]:
    """What stands before an answer, the answer, and so on in turn."""
    borders = [0, *(border for span in one.spans for border in span)]
    if borders[-1] < len(one.text):
        borders.append(len(one.text))
    return [one.text[start:stop] for start, stop in pairwise(borders)]


def _marked(one: Rendered, control: Sequence[Span], markers: Markers) -> list[list[int]]:
    """The pieces' ids where turns hold special tokens that are to stay characters."""
    kept, start = [], 0
    for piece in _pieces(one):
        moved = [(max(first - start, 0), min(last - start, len(piece))) for first, last in control]
        kept.append(markers.encode(piece, [span for span in moved if span[1] > span[0]]))
        start += len(piece)
    return kept


def _at_borders(
    one: Rendered, whole: list[int], apart: list[list[int]], tokenizer: Any, *, name: str
) -> list[list[int]]:
    """The pieces' ids: the whole text's wherever its tokens end where the pieces do."""
    joined = list(chain.from_iterable(apart))
    if joined == whole:
        return apart
    # SentencePiece writes a blank in front of whatever it is given, so its pieces are cut out of the whole.
    stops = list(accumulate(len(piece) for piece in _pieces(one)))[:-1]
    prefixes = encode_texts([one.text[:stop] for stop in stops], tokenizer)
    if all(whole[: len(ids)] == ids for ids in prefixes):
        borders = [0, *(len(ids) for ids in prefixes), len(whole)]
        return [whole[start:stop] for start, stop in pairwise(borders)]
    if tokenizer.decode(joined) != tokenizer.decode(whole):
        raise DataError(f"{name}: the tokenizer joins the end of one turn with the beginning of the next in one token")
    return apart


def _encoded(pieces: list[list[int]], *, start: list[int], written: int | None) -> Encoded:
    """`written`: the start token that a template may have put in front."""
    if not start and pieces[0][:1] == [written]:
        start, pieces = pieces[0][:1], [pieces[0][1:], *pieces[1:]]
    body = np.fromiter(chain.from_iterable(pieces), dtype=np.int32)
    lengths = [len(ids) for ids in pieces]
    supervised = np.repeat(np.arange(len(pieces)) % 2 == 1, lengths)
    answered = len(pieces) % 2 == 0
    return Encoded(start, body, supervised, len(body) - lengths[-1] if answered else len(body))
