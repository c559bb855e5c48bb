"""The named data sets: where each is on the hub, its columns, the files it was first published as, and its rows.

`source_rows` gives the same columns wherever the rows come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tunelab.data.examples.fingerprint import fingerprint
from tunelab.data.examples.splits import draw
from tunelab.data.reading.rows import Row
from tunelab.data.sets import original_files as files
from tunelab.data.sets.generated_files import WRITERS, write_table
from tunelab.data.sets.generated_rows import dataset_rows
from tunelab.data.sets.hub import hub_commit, hub_split
from tunelab.data.sets.hub_sample import hub_sample
from tunelab.data.sets.local import find_files, read_files
from tunelab.data.sets.source import SPLITS, Source, split_of
from tunelab.errors import DataError
from tunelab.near import did_you_mean


def source_rows(
    name: str, split: str, *, path: Path | None = None, n: int | None = None, seed: int = 0
) -> Sequence[Row]:
    """Rows of a data set with the hub's columns, in the set's order.

    Args:
        split: train, validation or test; a split that the set does not have is empty.
        path: a folder with the original files, or with <split>.jsonl, .json, .csv, .tsv or .parquet in the hub's
            columns (a clone of the hub's repository, too), or one such file; None: the hub.
        n: so many rows, drawn by `seed`: the same n always gives the same rows, and they are among those of a larger
            n. From files and small sets every row is equally likely by itself; from a `big` set of the hub rows come in
            groups of up to 125 neighbours (see `hub_sample`).

    Raises:
        DataError: unknown name, missing file, wrong columns, or what the hub refuses.
    """
    source = _source(name)
    if split not in SPLITS:
        raise DataError(f"{name}: has no split {split!r}; use {', '.join(SPLITS)}")
    if split not in source.splits:
        return ()
    keep = (lambda row: split_of(row) == split) if source.drawn else None
    if path is not None:
        return draw(read_files(source, Path(path), split, keep=keep), n=n, seed=seed)
    if n is not None and source.big:
        return hub_sample(source.hub_set(split), n=n, seed=seed, keep=keep, kept=split if keep else "")
    return draw(hub_split(source.hub_set(split), keep=keep), n=n, seed=seed)


def source_fingerprint(name: str, splits: Sequence[str] = SPLITS, *, path: Path | None = None) -> str:
    """Changes whenever the rows of these splits can: over the contents of local files, or the hub's commit."""
    source = _source(name)
    there = [split for split in splits if split in source.splits]
    if path is not None:
        found = {
            f"{split}/{file.relative_to(path) if Path(path).is_dir() else file.name}": file
            for split in there
            for file in find_files(source, Path(path), split)
        }
        return fingerprint(options={"source": name, "splits": there}, files=found)
    commits = {split: hub_commit(source.hub_set(split)) for split in there}
    return fingerprint(options={"source": name, "config": source.config, "hub": source.hub, "commits": commits})


def write_generated(name: str, folder: Path, *, rows: int, seed: int = 0) -> None:
    """Generated rows as the data set's original files, so that `path=folder` reads them: `rows` to train on, a quarter
    as many in each other split; in a set without splits `rows` in all."""
    source = _source(name)
    for split in ("train",) if source.drawn else source.splits:
        made = dataset_rows(name, split=split, n=rows if split == "train" else max(2, rows // 4), seed=seed)
        WRITERS.get(name, write_table)(Path(folder) / source.files[split][0], made)


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise DataError(f"no data set is called {name!r}.{did_you_mean(name, SOURCES)} There are: {', '.join(SOURCES)}")
    return SOURCES[name]


_TRAIN_TEST = {"train": "train", "test": "test"}
_ALL = {"train": "train", "validation": "validation", "test": "test"}
_DRAWN = {"train": "train", "validation": "train", "test": "train"}


def _same(*names: str) -> dict[str, tuple[str, ...]]:
    """All splits are in one file."""
    return {split: names for split in SPLITS}


_WIKITEXT = {
    split: (f"wiki.{short}.raw", f"{short}.txt")
    for split, short in {"train": "train", "validation": "valid", "test": "test"}.items()
}
_CLASSES = {"train": ("train.csv",), "test": ("test.csv",)}

_TABLE = (
    Source(
        "e2e_nlg",
        about="restaurant meaning representations and texts (Novikova et al. 2017); CC BY-SA 4.0",
        page="github.com/tuetschek/e2e-dataset",
        columns={"meaning_representation": "text", "human_reference": "text"},
        splits=_ALL,
        files={"train": ("trainset.csv",), "validation": ("devset.csv",), "test": ("testset_w_refs.csv",)},
        read=files.e2e_nlg,
        hub="tuetschek/e2e_nlg",
        revision="refs/convert/parquet",
    ),
    Source(
        "gsm8k",
        about="grade-school word problems with worked answers (Cobbe et al. 2021); MIT",
        page="github.com/openai/grade-school-math",
        columns={"question": "text", "answer": "text"},
        splits=_TRAIN_TEST,
        files={"train": ("train.jsonl",), "test": ("test.jsonl",)},
        hub="openai/gsm8k",
        revision="e53f048856ff4f594e959d75785d2c2d37b678ee",
        config="main",
    ),
    Source(
        "news_summary",
        about="Indian news with summaries of about 60 words and headlines (Inshorts); GPL 2 as its page says",
        page="kaggle.com/datasets/sunnysai12345/news-summary",
        columns=dict.fromkeys(("author", "date", "headlines", "read_more", "text", "ctext"), "text"),
        splits=_DRAWN,
        files=_same("news_summary.csv", "news_summary_more.csv"),
        read=files.news_summary,
        drawn=True,
    ),
    Source(
        "alpaca",
        about="52,002 instructions answered by text-davinci-003 (Taori et al. 2023); CC BY-NC 4.0",
        page="github.com/tatsu-lab/stanford_alpaca",
        columns={"instruction": "text", "input": "text", "output": "text", "text": "text"},
        splits=_DRAWN,
        files=_same("alpaca_data.json"),
        read=files.alpaca,
        hub="tatsu-lab/alpaca",
        revision="dce01c9b08f87459cf36a430d809084718273017",
        drawn=True,
    ),
    Source(
        "tulu_v2",
        about="326,154 conversations of eleven instruction sets (Ivison et al. 2023); ODC-BY, parts CC BY-NC",
        page="huggingface.co/datasets/allenai/tulu-v2-sft-mixture",
        columns={"dataset": "text", "id": "text", "messages": "list"},
        splits=_DRAWN,
        files=_same("train.jsonl"),
        hub="allenai/tulu-v2-sft-mixture",
        revision="6248b175d2ccb5ec7c4aeb22e6d8ee3b21b2c752",
        big=True,
        drawn=True,
    ),
    Source(
        "ultrachat_200k",
        about="515,311 filtered conversations with gpt-3.5-turbo, 207,865 to train on (Tunstall et al. 2023); MIT",
        page="huggingface.co/datasets/HuggingFaceH4/ultrachat_200k",
        columns={"prompt": "text", "prompt_id": "text", "messages": "list"},
        splits={"train": "train_sft", "test": "test_sft"},
        files={"train": ("train_sft.jsonl",), "test": ("test_sft.jsonl",)},
        hub="HuggingFaceH4/ultrachat_200k",
        revision="8049631c405ae6576f93f445c6b8166f76f5505a",
        big=True,
    ),
    Source(
        "wikitext_103",
        about="28,475 good Wikipedia articles, a row a line (Merity et al. 2017); CC BY-SA 3.0",
        page="huggingface.co/datasets/Salesforce/wikitext",
        columns={"text": "text"},
        splits=_ALL,
        files=_WIKITEXT,
        read=files.wikitext,
        hub="Salesforce/wikitext",
        revision="b08601e04326c79dfdd32d625aee71d232d685c3",
        config="wikitext-103-raw-v1",
        big=True,
    ),
    Source(
        "wikitext_2",
        about="720 of these articles (Merity et al. 2017); CC BY-SA 3.0",
        page="huggingface.co/datasets/Salesforce/wikitext",
        columns={"text": "text"},
        splits=_ALL,
        files=_WIKITEXT,
        read=files.wikitext,
        hub="Salesforce/wikitext",
        revision="b08601e04326c79dfdd32d625aee71d232d685c3",
        config="wikitext-2-raw-v1",
    ),
    Source(
        "tinystories",
        about="2.1 million short stories in the words of a small child (Eldan and Li 2023); CDLA-Sharing 1.0",
        page="huggingface.co/datasets/roneneldan/TinyStories",
        columns={"text": "text"},
        splits={"train": "train", "validation": "validation"},
        files={"train": ("TinyStories-train.txt", "train.txt"), "validation": ("TinyStories-valid.txt", "valid.txt")},
        read=files.tinystories,
        hub="roneneldan/TinyStories",
        revision="f54c09fd23315a6f9c86f9dc80f725de7d8f9c64",
        big=True,
    ),
    Source(
        "ag_news",
        about="127,600 news teasers of four classes (Zhang et al. 2015); non-commercial use",
        page="github.com/mhjabreel/CharCnn_Keras",
        columns={"text": "text", "label": "number"},
        splits=_TRAIN_TEST,
        files=_CLASSES,
        read=files.ag_news,
        hub="fancyzhx/ag_news",
        revision="eb185aade064a813bc0b7f42de02595523103ca4",
    ),
    Source(
        "yelp_review_full",
        about="700,000 reviews of one to five stars (Zhang et al. 2015); Yelp's data set licence",
        page="huggingface.co/datasets/Yelp/yelp_review_full",
        columns={"label": "number", "text": "text"},
        splits=_TRAIN_TEST,
        files=_CLASSES,
        read=files.yelp_review_full,
        hub="Yelp/yelp_review_full",
        revision="c1f9ee939b7d05667af864ee1cb066393154bf85",
        config="yelp_review_full",
        big=True,
    ),
    Source(
        "amazon_polarity",
        about="4 million product reviews, good or bad (Zhang et al. 2015); Apache 2.0 as its page says",
        page="huggingface.co/datasets/fancyzhx/amazon_polarity",
        columns={"label": "number", "title": "text", "content": "text"},
        splits=_TRAIN_TEST,
        files=_CLASSES,
        read=files.amazon_polarity,
        hub="fancyzhx/amazon_polarity",
        config="amazon_polarity",
        big=True,
    ),
    Source(
        "cnn_dailymail",
        about="312,000 news articles with highlights, version 3.0.0 (See et al. 2017); Apache 2.0 as its page says",
        page="huggingface.co/datasets/abisee/cnn_dailymail",
        columns={"article": "text", "highlights": "text", "id": "text"},
        splits=_ALL,
        files={split: (f"{split}.csv",) for split in SPLITS},
        hub="abisee/cnn_dailymail",
        revision="96df5e686bee6baa90b8bee7c28b81fa3fa6223d",
        config="3.0.0",
        big=True,
    ),
    Source(
        "xsum",
        about="226,711 BBC articles with a summary of one sentence (Narayan et al. 2018); text of third parties",
        page="huggingface.co/datasets/EdinburghNLP/xsum",
        columns={"document": "text", "summary": "text", "id": "text"},
        splits=_ALL,
        files={split: (f"{split}.jsonl",) for split in SPLITS},
        hub="EdinburghNLP/xsum",
        revision="7d4d486c2f8ef850b1a11aead99b894ff3dd7da9",
        big=True,
    ),
    Source(
        "squad",
        about="98,169 questions on Wikipedia paragraphs, version 1.1 (Rajpurkar et al. 2016); CC BY-SA 4.0",
        page="rajpurkar.github.io/SQuAD-explorer",
        columns={"id": "text", "title": "text", "context": "text", "question": "text", "answers": "object"},
        splits={"train": "train", "validation": "validation"},
        files={"train": ("train-v1.1.json",), "validation": ("dev-v1.1.json",)},
        read=files.squad,
        hub="rajpurkar/squad",
        revision="7b6d24c440a36b6815f21b70d25016731768db1f",
    ),
    Source(
        "imdb",
        about="50,000 film reviews, good or bad (Maas et al. 2011); research use",
        page="ai.stanford.edu/~amaas/data/sentiment",
        columns={"text": "text", "label": "number"},
        splits=_TRAIN_TEST,
        files={split: (f"aclImdb/{split}", split, "aclImdb*.tar.gz") for split in ("train", "test")},
        read=files.imdb,
        hub="stanfordnlp/imdb",
        revision="e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
        config="plain_text",
    ),
    Source(
        "samsum",
        about="16,368 messenger dialogues with summaries (Gliwa et al. 2019); CC BY-NC-ND 4.0",
        page="huggingface.co/datasets/knkarthick/samsum",
        columns={"id": "text", "dialogue": "text", "summary": "text"},
        splits=_ALL,
        files={
            "train": ("train.csv", "train.json"),
            "validation": ("validation.csv", "val.json"),
            "test": ("test.csv", "test.json"),
        },
        hub="knkarthick/samsum",
        revision="2a6b79b3e3c939aebb149d9109d7cdb78a9c2d3b",
    ),
)

SOURCES: dict[str, Source] = {source.name: source for source in _TABLE}
"""One entry a data set."""
