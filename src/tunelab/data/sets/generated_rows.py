"""Generated rows with the exact columns of each named data set: for rehearsals and tests, never for a result."""

import random
import re
from collections.abc import Callable
from hashlib import sha256

from tunelab.data.sets.original_files import alpaca_text
from tunelab.data.synthetic import arithmetic, chat, headlines, restaurants
from tunelab.data.synthetic.draw import generator, pick
from tunelab.data.synthetic.genres import dialogues, news, portraits, stories

Row = dict
Maker = Callable[[str, int, int], list[Row]]

_E2E_NAMES = {"kind": "eatType", "cuisine": "food", "rating": "customer rating"}
_STEP = re.compile(r"(\d+(?: [+*/-] \d+)+) = (\d+)")
_AUTHORS = ("Chloé Martin", "Jens Møller", "Ada Okafor", "Ravi Menon")


def dataset_rows(name: str, *, split: str, n: int, seed: int) -> list[Row]:
    """The first n rows of a split; a shorter request is a prefix of a longer one, `imdb` apart, which is sorted.

    Raises:
        KeyError: no data set of that name (see MAKERS).
    """
    return MAKERS[name](split, n, seed)


def _e2e_nlg(split: str, n: int, seed: int) -> list[Row]:
    rows = []
    for row in restaurants.rows(split=split, n=n, seed=seed):
        facts = restaurants.parse(row["meaning"])
        meaning = ", ".join(f"{_E2E_NAMES.get(key, key)}[{value}]" for key, value in facts.items())
        rows.append({"meaning_representation": meaning, "human_reference": row["text"]})
    return rows


def _gsm8k(split: str, n: int, seed: int) -> list[Row]:
    """With the calculator's annotations: 48 + 10 = <<48+10=58>>58."""

    def annotated(match: re.Match[str]) -> str:
        return f"{match[1]} = <<{match[1].replace(' ', '')}={match[2]}>>{match[2]}"

    made = arithmetic.rows(split=split, n=n, seed=seed)
    return [{"question": row["question"], "answer": _STEP.sub(annotated, row["answer"])} for row in made]


def _news_summary(split: str, n: int, seed: int) -> list[Row]:
    rows = []
    for number, row in enumerate(headlines.rows(split=split, n=n, seed=seed)):
        rng = generator("news_summary", seed, split, number)
        rows.append(
            {
                "author": pick(rng, _AUTHORS),
                "date": f"{1 + number % 28:02d} Aug 2017,Thursday",
                "headlines": row["headline"],
                "read_more": f"http://example.org/news/{split}-{number}?utm_source=inshorts ",
                "text": row["article"],
                "ctext": f"{row['article']} {_flat(news.document(rng))} “No comment,” said the mayor’s office.",
            }
        )
    return rows


def _alpaca(split: str, n: int, seed: int) -> list[Row]:
    """Sums without an input and headlines with one, by turns."""
    sums = arithmetic.rows(split=split, n=n, seed=seed)
    titles = headlines.rows(split=split, n=n, seed=seed)
    rows = []
    for number in range(n):
        if number % 2:
            asked, given, output = "Write a headline.", titles[number]["article"], titles[number]["headline"]
        else:
            asked, given, output = sums[number]["question"], "", sums[number]["answer"]
        row = {"instruction": asked, "input": given, "output": output}
        rows.append({**row, "text": alpaca_text(row)})
    return rows


def _tulu_v2(split: str, n: int, seed: int) -> list[Row]:
    made = chat.rows(split=split, n=n, seed=seed)
    return [{"dataset": "generated", "id": f"generated_{number}", **row} for number, row in enumerate(made)]


def _ultrachat_200k(split: str, n: int, seed: int) -> list[Row]:
    rows = []
    for row in chat.rows(split=split, n=n, seed=seed):
        prompt = next(turn["content"] for turn in row["messages"] if turn["role"] == "user")
        rows.append({"prompt": prompt, "prompt_id": sha256(prompt.encode()).hexdigest(), **row})
    return rows


def _wikitext(split: str, n: int, seed: int) -> list[Row]:
    """Lines: a heading between empty ones, then paragraphs, in wikitext's spacing."""
    lines: list[str] = []
    for number in range(n):
        rng = generator("wikitext", seed, split, number)
        text = _flat(portraits.document(rng)).replace(".", " .").replace(",", " ,").replace("-", " @-@ ")
        title = " ".join(text.split()[:2])
        lines += ["", f" = {title} = \n", "", f" {text} \n", " = = Life = = \n", f" {_flat(stories.document(rng))} \n"]
        if len(lines) >= n:
            break
    return [{"text": line} for line in lines[:n]]


def _tinystories(split: str, n: int, seed: int) -> list[Row]:
    return [{"text": stories.document(_rng("tinystories", split, seed, number)).strip()} for number in range(n)]


def _ag_news(split: str, n: int, seed: int) -> list[Row]:
    rows = headlines.rows(split=split, n=n, seed=seed)
    texts = [row["headline"] + " " + row["article"].replace(". ", ".\\", 1) for row in rows]
    return [{"text": text, "label": number % 4} for number, text in enumerate(texts)]


def _yelp_review_full(split: str, n: int, seed: int) -> list[Row]:
    made = restaurants.rows(split=split, n=n, seed=seed)
    return [{"label": number % 5, "text": f'"Nice" they said.\\n{row["text"]}'} for number, row in enumerate(made)]


def _amazon_polarity(split: str, n: int, seed: int) -> list[Row]:
    titles = ("Not for me", 'Great, and "cheap"')
    made = enumerate(portraits.document(_rng("amazon", split, seed, number)) for number in range(n))
    return [{"label": number % 2, "title": titles[number % 2], "content": _flat(text)} for number, text in made]


def _cnn_dailymail(split: str, n: int, seed: int) -> list[Row]:
    rows = []
    for number, row in enumerate(headlines.rows(split=split, n=n, seed=seed)):
        article = f"(CNN) -- {row['article']} {_flat(news.document(_rng('cnn', split, seed, number)))}"
        first = row["article"].split(". ")[0].rstrip(".")
        highlights = f"{row['headline']} .\n{first} ."
        rows.append({"article": article, "highlights": highlights, "id": sha256(article.encode()).hexdigest()[:40]})
    return rows


def _xsum(split: str, n: int, seed: int) -> list[Row]:
    rows = headlines.rows(split=split, n=n, seed=seed)
    numbers = range(30_000_000, 30_000_000 + n)
    return [
        {"document": row["article"].replace(". ", ".\n"), "summary": f"{row['headline']}.", "id": str(number)}
        for number, row in zip(numbers, rows, strict=True)
    ]


def _squad(split: str, n: int, seed: int) -> list[Row]:
    """The answer is the context's first sentence; each context has two questions."""
    rows = []
    for number in range(n):
        context = _flat(portraits.document(_rng("squad", split, seed, number // 2)))
        answer = context.split(". ")[number % 2 - 1].rstrip(".") if number % 2 else context.split(". ")[0].rstrip(".")
        rows.append(
            {
                "id": sha256(f"{split}{number}".encode()).hexdigest()[:24],
                "title": f"Article_{number // 4}",
                "context": context,
                "question": ("What is said first?", "What else is said?")[number % 2],
                "answers": {"text": [answer], "answer_start": [context.index(answer)]},
            }
        )
    return rows


def _imdb(split: str, n: int, seed: int) -> list[Row]:
    """The bad ones before the good ones, as on the hub."""
    texts = [_flat(stories.document(_rng("imdb", split, seed, number))) for number in range(n)]
    return [
        {"text": f"{('A dull', 'A fine')[label]} film.<br /><br />{text}", "label": label}
        for label in (0, 1)
        for text in texts[label::2]
    ]


def _samsum(split: str, n: int, seed: int) -> list[Row]:
    rows = []
    for number in range(n):
        lines = dialogues.document(_rng("samsum", split, seed, number)).strip().splitlines()
        summary = f"{lines[0].split(':')[0]} begins: {lines[0].split(':', 1)[-1].strip()}"
        rows.append({"id": str(13_800_000 + number), "dialogue": "\r\n".join(lines), "summary": summary})
    return rows


def _rng(kind: str, split: str, seed: int, number: int) -> random.Random:
    return generator(kind, seed, split, number)


def _flat(text: str) -> str:
    return " ".join(text.split())


MAKERS: dict[str, Maker] = {
    "e2e_nlg": _e2e_nlg,
    "gsm8k": _gsm8k,
    "news_summary": _news_summary,
    "alpaca": _alpaca,
    "tulu_v2": _tulu_v2,
    "ultrachat_200k": _ultrachat_200k,
    "wikitext_103": _wikitext,
    "wikitext_2": _wikitext,
    "tinystories": _tinystories,
    "ag_news": _ag_news,
    "yelp_review_full": _yelp_review_full,
    "amazon_polarity": _amazon_polarity,
    "cnn_dailymail": _cnn_dailymail,
    "xsum": _xsum,
    "squad": _squad,
    "imdb": _imdb,
    "samsum": _samsum,
}
"""One a named data set."""
