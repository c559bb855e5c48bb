"""Special tokens of a tokenizer where they stand in rows as characters: `<s>`, `<|im_end|>`, `[INST]`.

At the edges those that tunelab writes by itself are taken off (a start token in front of a text, an end token behind an
answer): they would stand there twice, and a reference that ends in one equals no prediction. Inside a text they stay
plain characters, so that nobody's text becomes a control token; the study's own words in a template are the exception,
and all of them with `data.special_tokens: control`. References lose what a prediction loses when it is decoded.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from tunelab.data.tokens.chat import end_tokens
from tunelab.data.tokens.encoded import edges, encode_compactly, encode_texts, label_edges
from tunelab.errors import DataError
from tunelab.records import Example, Span, Turn

FOREIGN = {
    *("<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>"),
    *("<|start_header_id|>", "<|end_of_text|>", "<start_of_turn>", "<end_of_turn>", "<|assistant|>", "<|user|>"),
}
"""Of the chat formats that rows are most often written in already."""

Reading = Literal["text", "control"]


class Cleaned(NamedTuple):
    example: Example
    stripped: bool
    """A marker stood at an edge of a text that is learned or asked."""
    inside: tuple[str, ...]
    """Markers inside its texts, those of the study's own words aside."""
    foreign: tuple[str, ...]
    """Other models' markers, which are no special tokens of this tokenizer."""


NOTHING_FOUND = (False, (), ())
"""What `Cleaned` says beside an example without markers."""


class Markers:
    """Of one tokenizer. One without special tokens changes nothing."""

    def __init__(self, tokenizer: Any, *, encoder_decoder: bool, reading: Reading = "text") -> None:
        self.tokenizer, self.reading = tokenizer, reading
        special = _special(tokenizer)
        starts, ends = _edge_tokens(tokenizer, encoder_decoder=encoder_decoder)
        self._foreign, self._seen = _pattern(FOREIGN - special), _pattern(FOREIGN | special)
        self._any, self._start, self._end = _pattern(special), _edge(starts, front=True), _edge(ends, front=False)
        self._prompt_end = self._end if encoder_decoder else None

    def clean(self, example: Example) -> Cleaned:
        """Raises nothing; an example without markers is given back as it is."""
        if self._any is None or self._seen is None or not any(self._seen.search(text) for text in _texts(example)):
            return Cleaned(example, *NOTHING_FOUND)
        dropped = self._learned_control(example)
        prompt, asked = self._stripped(example.prompt, example.control[0], end=self._prompt_end)
        target, learned = self._stripped(example.target, example.control[1], end=self._end)
        cleaned = example._replace(
            prompt=prompt,
            target=target,
            references=tuple(self.clean_text(text, dropped=dropped) for text in example.references),
            turns=tuple(turn._replace(text=self.clean_text(turn.text)) for turn in example.turns),
            control=(asked, learned),
        )
        before, after = (tuple(_learned_texts(one)) for one in (example, cleaned))
        inside = [self.plain_markers(prompt, asked), self.plain_markers(target, learned)]
        inside += [self.plain_markers(turn.text) for turn in cleaned.turns]
        foreign = self._foreign.findall("\n".join(after)) if self._foreign else ()
        return Cleaned(cleaned, before != after, tuple(name for names in inside for name in names), tuple(foreign))

    def clean_text(self, text: str, *, dropped: Iterable[str] = ()) -> str:
        """A reference or a prediction, or what one side says: without markers at its edges."""
        if self._any is None or not self._any.search(text):
            return text
        for name in dropped:
            text = text.replace(name, "")
        return self._stripped(text, (), end=self._end)[0]

    def plain_markers(self, text: str, control: Sequence[Span] = ()) -> list[str]:
        """Those that are to be read as characters; none where all are control tokens."""
        if self._any is None or self.reading == "control":
            return []
        return [found.group() for found in self._any.finditer(text) if not _within(found.span(), control)]

    def ids(self, texts: Sequence[str], control: Sequence[Sequence[Span]]) -> list[Sequence[int]]:
        """Without any token that the tokenizer adds by itself."""
        found = encode_compactly(texts, self.tokenizer)
        for place, text, own in self._marked(texts, control):
            found[place] = self.encode(text, own)
        return found

    def closed_ids(self, texts: Sequence[str], control: Sequence[Sequence[Span]], *, target: bool) -> list[list[int]]:
        """As the tokenizer itself closes a source, or (`target`) makes labels."""
        if not texts:
            return []
        if target:
            found = self.tokenizer(text_target=list(texts), add_special_tokens=True)["input_ids"]
        else:
            found = encode_texts(texts, self.tokenizer, whole=True)
        for place, text, own in self._marked(texts, control):
            around = label_edges(self.tokenizer) if target else edges(self.tokenizer)
            found[place] = [*around.start, *self.encode(text, own), *around.end]
        return found

    def conversation(self, text: str, turns: Sequence[Turn], *, name: str) -> tuple[Span, ...] | None:
        """Where the template's own words stand in what it wrote; None: no turn holds a marker.

        Raises:
            DataError: a turn with markers is not in the text as it is, so that they cannot be told from the template's.
        """
        for turn in turns:
            if found := self.plain_markers(turn.more):
                raise DataError(
                    f"{name}: the {turn.role}'s turn holds {found[0]!r}, a special token of the tokenizer, beside its "
                    "text (in a tool call, reasoning or a name), where it would become a control token; take it out"
                )
        if not any(self.plain_markers(turn.text) for turn in turns):
            return None
        spans, place = [], 0
        for turn in turns:
            said = turn.text.strip()
            found = text.find(said, place)
            if found >= 0:
                spans.append((place, found))
                place = found + len(said)
            elif self.plain_markers(said):
                raise DataError(
                    f"{name}: what the {turn.role} says holds {self.plain_markers(said)[0]!r}, a special token of the "
                    "tokenizer, and the chat template rewrites that text; take the token out of it"
                )
        return (*spans, (place, len(text)))

    def _marked(
        self, texts: Sequence[str], control: Sequence[Sequence[Span]]
    ) -> Iterator[tuple[int, str, Sequence[Span]]]:
        for place, (text, own) in enumerate(zip(texts, control, strict=True)):
            if self.plain_markers(text, own):
                yield place, text, own

    def encode(self, text: str, control: Sequence[Span] = ()) -> list[int]:
        """A text with plain markers, cut at its control tokens: a tokenizer cuts there before it does anything else."""
        assert self._any is not None
        found = [one.span() for one in self._any.finditer(text) if _within(one.span(), control)]
        borders = [0, *(place for span in found for place in span), len(text)]
        ids: list[int] = []
        for number, (start, stop) in enumerate(pairwise(borders)):
            if number % 2:
                ids.append(self.tokenizer.convert_tokens_to_ids(text[start:stop]))
            elif stop > start:
                ids += self.tokenizer([text[start:stop]], add_special_tokens=False, split_special_tokens=True)[
                    "input_ids"
                ][0]
        return ids

    def _stripped(
        self, text: str, control: Sequence[Span], *, end: re.Pattern[str] | None
    ) -> tuple[str, tuple[Span, ...]]:
        stop = found.start() if end and (found := end.search(text)) else len(text)
        begin = found.end() if self._start and (found := self._start.match(text[:stop])) else 0
        moved = ((max(one - begin, 0), min(two, stop) - begin) for one, two in control)
        return text[begin:stop], tuple(span for span in moved if span[1] > span[0])

    def _learned_control(self, example: Example) -> set[str]:
        """Control tokens that a target holds: a prediction loses them when it is decoded."""
        assert self._any is not None
        if self.reading == "control":
            return {name for text in example.references for name in self._any.findall(text)}
        spans = example.control[1]
        return {one.group() for one in self._any.finditer(example.target) if _within(one.span(), spans)}


class MarkerCounts:
    """Of one split."""

    def __init__(self) -> None:
        self.stripped = self.inside = self.foreign = 0
        self.names: Counter[str] = Counter()
        self.foreign_names: Counter[str] = Counter()

    def add(self, cleaned: Cleaned) -> Example:
        if cleaned[1:] == NOTHING_FOUND:
            return cleaned.example
        self.stripped += cleaned.stripped
        self.inside += bool(cleaned.inside)
        self.foreign += bool(cleaned.foreign)
        self.names.update(cleaned.inside)
        self.foreign_names.update(cleaned.foreign)
        return cleaned.example


def _special(tokenizer: Any) -> set[str]:
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return {*getattr(tokenizer, "all_special_tokens", ()), *(str(token) for token in added if token.special)}


def _edge_tokens(tokenizer: Any, *, encoder_decoder: bool) -> tuple[set[str], set[str]]:
    """What may be taken off in front of a text, and behind it."""
    if not hasattr(tokenizer, "convert_ids_to_tokens"):
        return set(), set()
    around = [edges(tokenizer), *([label_edges(tokenizer)] if encoder_decoder else [])]
    starts = {id for edge in around for id in edge.start} | {tokenizer.bos_token_id}
    ends = {id for edge in around for id in edge.end} | {*end_tokens(tokenizer), tokenizer.pad_token_id}
    known = (tokenizer.convert_ids_to_tokens([id for id in ids if id is not None]) for ids in (starts, ends))
    first, last = (set(names) & _special(tokenizer) for names in known)
    return first, last


def _pattern(names: Iterable[str]) -> re.Pattern[str] | None:
    """The longest first, as the tokenizer reads them."""
    ordered = sorted(names, key=lambda name: (-len(name), name))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _edge(names: Iterable[str], *, front: bool) -> re.Pattern[str] | None:
    """With the blanks between a marker and the text."""
    pattern = _pattern(names)
    if pattern is None:
        return None
    one = f"(?:{pattern.pattern})"
    return re.compile(rf"\s*(?:{one}\s*)+" if front else rf"(?:\s*{one})+\s*\Z")


def _within(span: Span, control: Sequence[Span]) -> bool:
    return any(start <= span[0] and span[1] <= stop for start, stop in control)


def _texts(example: Example) -> Iterable[str]:
    yield example.prompt
    yield example.target
    yield from (text for text in example.references if text is not example.target)
    yield from (turn.text for turn in example.turns)


def _learned_texts(example: Example) -> Iterable[str]:
    """What is tokenised: a conversation's prompt is for readers alone."""
    yield from (turn.text for turn in example.turns) if example.turns else (example.prompt, example.target)
