"""Examples to token rows: the one place where text becomes ids, for training, evaluation, generation and export.

Examples stream through in chunks, which the tokenizer encodes on its own threads. Only targets, and the assistant's
turns of a conversation, are supervised, each with the token that ends it: by position, never by token id, so that a
model whose padding is its end token still learns to end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from tunelab.config.schema import DataSettings
from tunelab.data.tokens.chat import ChatForm, plain_text
from tunelab.data.tokens.chat_fields import unwritten_plainly
from tunelab.data.tokens.chat_ids import encode_chats
from tunelab.data.tokens.counts import Counts, Split, Tally
from tunelab.data.tokens.encoded import Encoded, Tokenizer, encode_joined, encode_pairs, end_token
from tunelab.data.tokens.markers import MarkerCounts, Markers
from tunelab.data.tokens.overlong import cut, cut_prompt, is_overlong, windows
from tunelab.data.tokens.packing import Packer
from tunelab.data.tokens.round_trip import RoundTrip
from tunelab.errors import DataError
from tunelab.records import Example, TokenRow

DEFAULTS = DataSettings()
CHUNK = 1000
"""Examples encoded at a time."""


class Tokenised(NamedTuple):
    rows: list[TokenRow]
    counts: Counts


def tokenise(
    examples: Iterable[Example],
    tokenizer: Tokenizer,
    *,
    max_length: int,
    encoder_decoder: bool,
    settings: DataSettings = DEFAULTS,
    split: Split = "train",
) -> Tokenised:
    """All rows at once; see Tokeniser."""
    tokeniser = Tokeniser(
        tokenizer, max_length=max_length, encoder_decoder=encoder_decoder, settings=settings, split=split
    )
    rows = list(tokeniser.rows(examples))
    return Tokenised(rows, tokeniser.counts())


class Tokeniser:
    """The rows of one split, in the order of its examples.

    Training rows of plain text are packed. Test examples are never dropped, so that every method is scored on the same
    ones: a long document is read in overlapping rows, anything else is cut.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        encoder_decoder: bool,
        settings: DataSettings = DEFAULTS,
        split: Split = "train",
    ) -> None:
        self.tokenizer, self.max_length, self.encoder_decoder = tokenizer, max_length, encoder_decoder
        self.settings = settings
        self.split: Split = split
        end_token(tokenizer)
        self._form: ChatForm | None = None
        self.markers = Markers(tokenizer, encoder_decoder=encoder_decoder, reading=settings.special_tokens)
        self._tally = self._new_tally()

    def rows(self, examples: Iterable[Example]) -> Iterator[TokenRow]:
        """One by one, with at most a chunk of the examples in memory; `TokenRow.example` counts from 0.

        Raises:
            DataError: at the end, with the count: rows are overlong and that is an error, none is left, or every
                target is cut; at once: a text or a conversation that cannot be encoded.
        """
        self._tally = tally = self._new_tally()
        packer = Packer(self.max_length)
        for position, (example, encoded) in enumerate(self._encoded(examples, tally.markers)):
            tally.see(example, encoded.body[encoded.supervised], unused=encoded.unused)
            tally.plain_conversations += bool(example.turns) and (self._form is None or not self._form.has_template)
            packable = self._is_packable(example)
            if packable and self.split == "train":
                rows = self._packed(encoded, position, packer)
            else:
                rows = self._fitted(encoded, position, example, ends_matter=not packable)
            for row in rows:
                yield tally.counted(row)
        for row in packer.rest():
            yield tally.counted(row)
        tally.packed_documents, tally.split_documents = packer.num_documents, packer.num_split
        tally.check()

    def prompts(self, examples: Iterable[Example]) -> Iterator[np.ndarray]:
        """The ids that the model is given before it generates each last target: exactly those of training."""
        for _, encoded in self._encoded(examples, MarkerCounts()):
            yield cut_prompt(encoded, max_length=self.max_length)

    def as_written(self, examples: Iterable[Example]) -> Iterator[Example]:
        """Examples with the texts that predictions are compared with: without markers (markers.py); an answer with tool
        calls or reasoning is what the model's chat template writes of it, without special tokens."""
        for example in (self.markers.clean(example).example for example in examples):
            if not (example.turns and example.turns[-1].more) or self.encoder_decoder:
                yield example
                continue
            (encoded,) = self._encode([example])
            answer = encoded.body[encoded.last : -1].tolist()
            text = self.tokenizer.decode(answer, skip_special_tokens=True).strip()
            yield example._replace(target=text, references=(text,))

    def counts(self) -> Counts:
        """Of the rows that `rows` has given so far."""
        return self._tally.counts()

    def _new_tally(self) -> Tally:
        unknown, end = getattr(self.tokenizer, "unk_token_id", None), self.tokenizer.eos_token_id
        # GPT-2's unknown token is its end token: a byte-level tokenizer knows every character.
        unknown = None if unknown == end else unknown
        control = self.settings.special_tokens == "control"
        trip = RoundTrip(self.tokenizer, encoder_decoder=self.encoder_decoder, control=control)
        return Tally(self.split, self.max_length, unknown=unknown, end=end, round_trip=trip)

    def _is_packable(self, example: Example) -> bool:
        return self.settings.packing and self._is_document(example)

    def _is_document(self, example: Example) -> bool:
        """Plain text, of which all is learned."""
        return not (self.encoder_decoder or example.prompt or example.turns)

    def _packed(self, encoded: Encoded, position: int, packer: Packer) -> Iterator[TokenRow]:
        document = cut(encoded, position, max_length=len(encoded.start) + len(encoded.body), rule="truncate").row
        if document.num_supervised:
            return packer.add(document)
        self._tally.dropped_unsupervised += 1
        return iter(())

    def _fitted(self, encoded: Encoded, position: int, example: Example, *, ends_matter: bool) -> list[TokenRow]:
        """The example's own row, or none."""
        tally, overlong = self._tally, is_overlong(encoded, max_length=self.max_length)
        tally.overlong += overlong
        if overlong and self.split == "test" and self._is_document(example):
            tally.windowed += 1
            return windows(encoded, position, max_length=self.max_length)
        setting = "truncate_prompt" if self.split == "test" else self.settings.overlong
        if overlong and setting in ("drop", "error"):
            tally.leave_out(example, refuse=setting == "error")
            return []
        rule = "truncate" if setting == "truncate" else "truncate_prompt"
        row, prompt_cut, target_cut = cut(encoded, position, max_length=self.max_length, rule=rule)
        if self.split != "test" and not row.num_supervised:
            tally.dropped_unsupervised += 1
            return []
        tally.prompts_cut += prompt_cut
        tally.targets_cut += target_cut
        if target_cut and ends_matter:  # an earlier answer may have its end
            tally.endless += bool(row.supervised[np.argmax(row.supervised) :].all())
        return [row]

    def _encoded(self, examples: Iterable[Example], counts: MarkerCounts) -> Iterator[tuple[Example, Encoded]]:
        stream = (counts.add(self.markers.clean(example)) for example in examples)
        while chunk := list(islice(stream, CHUNK)):
            yield from zip(chunk, self._encode(chunk), strict=True)

    def _encode(self, chunk: list[Example]) -> list[Encoded]:
        try:
            return self._encoded_pairs(chunk) if self.encoder_decoder else self._encoded_joined(chunk)
        except (TypeError, UnicodeEncodeError):  # what a tokenizer says of a text that is not Unicode
            self._check_characters(chunk)
            raise

    def _encoded_pairs(self, chunk: list[Example]) -> list[Encoded]:
        """A conversation's last answer is learned from what stands before it in the plain form."""
        unused = [unwritten_plainly(one.turns, one.given, name=one.id) if one.turns else () for one in chunk]
        prompts = [plain_text(one.turns[:-1], end="", answer=True).text if one.turns else one.prompt for one in chunk]
        targets = [one.turns[-1].text if one.turns else one.target for one in chunk]
        sources = self.markers.closed_ids(prompts, [one.control[0] for one in chunk], target=False)
        labels = self.markers.closed_ids(targets, [one.control[1] for one in chunk], target=True)
        pairs = encode_pairs(sources, labels, self.tokenizer)
        return [pair._replace(unused=fields) for pair, fields in zip(pairs, unused, strict=True)]

    def _encoded_joined(self, chunk: list[Example]) -> list[Encoded]:
        chats = [one for one in chunk if one.turns]
        others = [one for one in chunk if not one.turns]
        prompts = self.markers.ids([one.prompt for one in others], [one.control[0] for one in others])
        targets = self.markers.ids([one.target for one in others], [one.control[1] for one in others])
        plain = iter(encode_joined(prompts, targets, self.tokenizer))
        spoken = iter(self._encoded_chats(chats) if chats else [])
        return [next(spoken) if one.turns else next(plain) for one in chunk]

    def _encoded_chats(self, chats: list[Example]) -> list[Encoded]:
        if self._form is None:
            self._form = ChatForm(self.tokenizer)
        rendered = [self._form.render(one.turns, name=one.id, given=one.given) for one in chats]
        names = [one.id for one in chats]
        own = [
            self.markers.conversation(text.text, one.turns, name=one.id)
            for text, one in zip(rendered, chats, strict=True)
        ]
        return encode_chats(rendered, names, self._form, own=own, markers=self.markers)

    def _check_characters(self, chunk: list[Example]) -> None:
        for one in chunk:
            text = "".join([one.prompt, one.target, one.given, *(turn.text + turn.more for turn in one.turns)])
            half = next((character for character in text if "\ud800" <= character <= "\udfff"), None)
            if half is not None:
                raise DataError(
                    f"{self.split} row {one.id}: holds half a character (U+{ord(half):04X}, a lone surrogate), which "
                    "no tokenizer can read; write the file as UTF-8 without \\ud800 escapes"
                )
