"""Lays out the text that the embedded models are pretrained on: `python scripts/pretraining_corpus.py DATA OUT`.

DATA is a folder with the data sets (each beside a SOURCE.md that says where it is from and under which licence). OUT
gets train.jsonl and validation.jsonl ({"text"}); for the encoder-decoder pairs-*.jsonl ({"source", "target"}), the same
texts with spans taken out, and pairs, and later-*.jsonl, more pairs; held-out texts for the bars (held-out/*.jsonl);
the studies; and sources.json with counts. The texts are not shipped; no test split and nothing of E2E is trained on.
"""

import argparse
import csv
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tunelab.data.synthetic import pretraining

PASSAGE = 1_700
"""Characters of a passage at most, about 450 tokens; it ends with a paragraph, or with a sentence of a longer one."""
GENERATED, PAIRS = 16_000, 16_000
"""Documents, and pairs, of which a causal model reads source and target as one document."""
STORIES = slice(0, 4_000)
"""Of 5,511; the last 545 are held out, and nobody has trained on those between."""
HELD_OUT_CHARACTERS = 90_000
"""Some 20,000 tokens."""
LATER, LATER_CHECKED, LATER_SPANS = slice(16_000, 61_000), slice(90_000, 90_200), 6
"""Pairs of the encoder-decoder's second stage, and beside them one in so many of the first stage's spans."""
EVERY = 250
"""One passage in so many is validated on."""
SENTINELS = 24
"""`<extra_id_0>` and on: as many spans at most."""
CORRUPTED, MEAN_SPAN = 0.15, 3.0
"""As T5 (Raffel et al. 2020, arXiv:1910.10683)."""
LEGAL = re.compile(r"project gutenberg|gutenberg\.net|etext|\*END\*|small print", re.IGNORECASE)
BEGIN = re.compile(r"\*END\*.{0,3}THE SMALL PRINT.*|\*\*\* ?START OF TH.*", re.IGNORECASE)
SENTENCE_END = re.compile(r"(?<=[.!?][\"'”’)]) |(?<=[.!?]) ")


class Source(NamedTuple):
    name: str
    licence: str
    passages: list[str]


def passages(paragraphs: Iterable[str], *, between: str = "\n") -> Iterator[str]:
    """Paragraphs joined up to PASSAGE characters; one that is longer is cut behind a sentence."""
    held = ""
    for paragraph in paragraphs:
        for piece in _pieces(paragraph.strip()):
            if held and len(held) + len(between) + len(piece) > PASSAGE:
                yield held
                held = ""
            held = f"{held}{between}{piece}" if held else piece
    if held:
        yield held


def _pieces(paragraph: str) -> Iterator[str]:
    held = ""
    for sentence in SENTENCE_END.split(paragraph) if len(paragraph) > PASSAGE else [paragraph]:
        if held and len(held) + 1 + len(sentence) > PASSAGE:
            yield held
            held = ""
        held = f"{held} {sentence}" if held else sentence
    if held:
        yield held[: 2 * PASSAGE]  # a table, say


def book(text: str) -> list[str]:
    """Without Project Gutenberg's own words."""
    begins = [match.end() for match in BEGIN.finditer(text)]
    text = text[begins[-1] :] if begins else text
    kept = (line for line in text.splitlines() if line.strip() and not LEGAL.search(line))
    return list(passages(kept))


def wikitext(text: str) -> list[str]:
    """Each article's sections, tokenised as the set is."""
    articles = re.split(r"(?m)^(?= = [^=].* = $)", text)
    return [each for article in articles for each in passages(article.splitlines()) if len(each) > 40]


def stories(data: Path) -> list[str]:
    text = (data / "tinystories" / "tinystories.txt").read_text(encoding="utf-8")
    return [story.strip() for story in re.split(r"(?<!\n)\n(?!\n)", text) if story.strip()]


def sources(data: Path) -> Iterator[Source]:
    books = sorted((data / "books").glob("*.txt"))
    yield Source("books", "public domain", [each for path in books for each in book(path.read_text(encoding="utf-8"))])
    yield Source("tinystories", "CDLA-Sharing-1.0", stories(data)[STORIES])
    valid = (data / "wikitext" / "valid.txt").read_text(encoding="utf-8")
    yield Source("wikitext, validation", "CC BY-SA 3.0", wikitext(valid))
    extra = data / "plain_text_extra"
    plays = (extra / "tinyshakespeare_input.txt").read_text(encoding="utf-8").split("\n\n")
    yield Source("shakespeare", "public domain", list(passages(plays, between="\n\n")))
    web = [json.loads(line)["text"] for line in (extra / "c4_demo.jsonl").read_text(encoding="utf-8").splitlines()]
    yield Source("c4", "ODC-BY", [each for text in web for each in passages(text.splitlines())])
    wiki = (extra / "wiki_demo.txt").read_text(encoding="utf-8").splitlines()
    yield Source("wikipedia", "CC BY-SA 4.0", [each for text in wiki for each in passages([text])])
    problems = map(json.loads, (data / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines())
    yield Source("gsm8k, train", "MIT", [f"{row['question']}\n{row['answer']}" for row in problems])
    csv.field_size_limit(10**7)
    with (data / "cnn_dailymail" / "train_first200.csv").open(encoding="utf-8", newline="") as file:
        articles = [row["text"] for row in csv.DictReader(file)]
    yield Source(
        "cnn/dailymail, train", "Apache-2.0", [each for text in articles for each in passages(text.splitlines())]
    )
    yield Source("generated", "this project", list(islice(pretraining.iterate(seed=0), GENERATED)))
    yield Source("generated pairs", "this project", [f"{each['source']}\n{each['target']}" for each in pairs()])


def pairs(which: slice = slice(0, PAIRS)) -> Iterator[dict[str, str]]:
    return islice(pretraining.iterate_pairs(seed=0), which.start, which.stop)


def spans(text: str, rng: np.random.Generator) -> dict[str, str]:
    """Words taken out by spans, each in its place a sentinel; the target names what was there."""
    words = text.split(" ")
    count = min(max(1, round(len(words) * CORRUPTED / MEAN_SPAN)), SENTINELS, max(1, len(words) // 2))
    lengths = rng.geometric(1 / MEAN_SPAN, size=count)
    starts = np.sort(rng.choice(len(words), size=count, replace=False))
    source, target, at = [], [], 0
    for number, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        if start < at:
            continue
        source += [*words[at:start], f"<extra_id_{number}>"]
        at = min(start + length, len(words))
        target += [f"<extra_id_{number}>", *words[start:at]]
    return {"source": " ".join([*source, *words[at:]]), "target": " ".join(target)}


def held_out(data: Path) -> dict[str, list[str]]:
    """What the bars are measured on; trained on by nobody."""
    test = (data / "wikitext" / "test.txt").read_text(encoding="utf-8")
    with (data / "e2e_nlg" / "devset.csv").open(encoding="utf-8", newline="") as file:
        references = [row["ref"] for row in csv.DictReader(file)]
    return {"wikitext": wikitext(test), "tinystories": stories(data)[-545:], "e2e": references}


def write(path: Path, rows: Iterable[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    train, validation, counts, plain = [], [], {}, 0
    for source in sources(options.data):
        size = sum(len(each.encode()) for each in source.passages)
        counts[source.name] = {"licence": source.licence, "documents": len(source.passages), "bytes": size}
        plain = len(train) if source.name == "generated pairs" else plain
        train += [each for number, each in enumerate(source.passages) if number % EVERY]
        validation += source.passages[::EVERY]
        print(f"{source.name}: {len(source.passages):,} documents, {size:,} bytes, {source.licence}", flush=True)
    rng = np.random.default_rng(0)
    apart = [each for number, each in enumerate(pairs()) if number % EVERY]
    for name, texts, both in (("train", train, apart), ("validation", validation, [])):
        write(options.out / f"{name}.jsonl", ({"text": text} for text in texts))
        corrupted = [spans(text, rng) for text in texts[: plain if both else None] if text.count(" ") > 8]
        write(options.out / f"pairs-{name}.jsonl", [*corrupted, *both])
        later = [*pairs(LATER), *corrupted[::LATER_SPANS]] if both else pairs(LATER_CHECKED)
        write(options.out / f"later-{name}.jsonl", later)
    for name, texts in held_out(options.data).items():
        kept, size = [], 0
        for text in texts:
            if size < HELD_OUT_CHARACTERS:
                kept.append(text)
                size += len(text)
        write(options.out / "held-out" / f"{name}.jsonl", ({"text": text} for text in kept))
    for study in (Path(__file__).parent / "pretraining").glob("*.yaml"):
        shutil.copy(study, options.out)
    (options.out / "sources.json").write_text(json.dumps(counts, indent=2) + "\n")


if __name__ == "__main__":
    main()
