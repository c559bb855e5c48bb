"""Named data sets from files: the original formats give the hub's columns, and every mistake has its line."""

import csv
import json
from pathlib import Path

import pytest

from tunelab.data.examples.splits import draw
from tunelab.data.reading.rows import read_rows
from tunelab.data.sets import local as source_local
from tunelab.data.sets.generated_files import write_table
from tunelab.data.sets.generated_rows import MAKERS, dataset_rows
from tunelab.data.sets.local import EXTENSIONS
from tunelab.data.sets.named import SOURCES, source_fingerprint, source_rows, write_generated
from tunelab.errors import DataError

KINDS = {"text": str, "number": int, "list": list, "object": dict}
SPLITS = ("train", "validation", "test")


def problem(*arguments, **options) -> str:
    with pytest.raises(DataError) as error:
        list(source_rows(*arguments, **options))
    assert "\n" not in str(error.value)
    return str(error.value)


def sorted_rows(rows):
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


# ------------------------------------------------------------------ every source


@pytest.mark.parametrize("name", SOURCES)
def test_generated_rows_in_the_original_format_come_back_with_the_hubs_columns(name, tmp_path):
    source = SOURCES[name]
    write_generated(name, tmp_path, rows=60)
    splits = {split: list(source_rows(name, split, path=tmp_path)) for split in SPLITS}
    for split, rows in splits.items():
        assert bool(rows) == (split in source.splits), split
        for row in rows:
            assert list(row) == list(source.columns)
            assert all(type(row[column]) is KINDS[kind] for column, kind in source.columns.items()), row
    if source.drawn:
        written = dataset_rows(name, split="train", n=60, seed=0)
        assert sorted_rows(row for rows in splits.values() for row in rows) == sorted_rows(written)
    else:
        for split in source.splits:
            assert splits[split] == dataset_rows(name, split=split, n=60 if split == "train" else 15, seed=0)


@pytest.mark.parametrize("name", SOURCES)
def test_generated_rows_depend_on_their_seed_alone(name):
    first = dataset_rows(name, split="train", n=8, seed=0)
    assert dataset_rows(name, split="train", n=8, seed=0) == first
    assert dataset_rows(name, split="train", n=8, seed=1) != first
    assert len(first) == 8


def test_every_source_has_generated_rows_and_a_place_on_the_hub_or_says_so():
    assert list(MAKERS) == list(SOURCES)
    for name, source in SOURCES.items():
        assert source.name == name
        assert set(source.splits) == set(source.files) and "train" in source.splits
        assert source.revision is None or source.revision == "refs/convert/parquet" or len(source.revision) == 40
        assert not source.drawn or set(source.splits) == set(SPLITS)
    assert [name for name, source in SOURCES.items() if source.hub is None] == ["news_summary"]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_files_in_the_hubs_columns_are_read_in_every_format(tmp_path, extension):
    rows = dataset_rows("cnn_dailymail", split="test", n=5, seed=0)
    file = tmp_path / f"test.{extension}"
    if extension == "parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    elif extension == "tsv":
        with file.open("w", newline="") as opened:
            csv.writer(opened, delimiter="\t").writerows([list(rows[0]), *(list(row.values()) for row in rows)])
    else:
        write_table(file, rows)
    assert source_rows("cnn_dailymail", "test", path=tmp_path) == rows
    assert source_rows("cnn_dailymail", "test", path=file) == rows


def test_numbers_in_a_csv_are_numbers_and_other_columns_are_left_out(tmp_path):
    (tmp_path / "test.csv").write_text("id,label,text\n7,1,good\n8,0,bad\n")
    assert source_rows("imdb", "test", path=tmp_path) == [{"text": "good", "label": 1}, {"text": "bad", "label": 0}]


def test_a_clone_of_the_hubs_repository_is_read(tmp_path):
    import pyarrow.parquet

    rows = dataset_rows("ultrachat_200k", split="train", n=6, seed=0)
    (tmp_path / "data").mkdir()
    for number, part in enumerate((rows[:4], rows[4:])):
        file = tmp_path / "data" / f"train_sft-0000{number}-of-00002-abc.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(part), file)
    assert list(source_rows("ultrachat_200k", "train", path=tmp_path)) == rows


# ------------------------------------------------------------------ which rows


def test_a_draw_is_repeated_and_part_of_a_larger_one(tmp_path):
    write_generated("gsm8k", tmp_path, rows=80)
    first, larger = (list(source_rows("gsm8k", "train", path=tmp_path, n=n)) for n in (10, 40))
    assert list(source_rows("gsm8k", "train", path=tmp_path, n=10)) == first
    assert [row for row in larger if row in first] == first
    assert list(source_rows("gsm8k", "train", path=tmp_path, n=10, seed=1)) != first
    assert len(source_rows("gsm8k", "train", path=tmp_path, n=10**6)) == 80


def test_a_set_without_splits_is_divided_by_its_rows_alone(tmp_path):
    rows = dataset_rows("alpaca", split="train", n=400, seed=0)
    write_table(tmp_path / "a" / "alpaca_data.json", rows)
    write_table(tmp_path / "b" / "train.jsonl", rows[::-1])
    found = [{split: list(source_rows("alpaca", split, path=tmp_path / at)) for split in SPLITS} for at in "ab"]
    assert {split: rows[::-1] for split, rows in found[1].items()} == found[0]
    shares = [len(found[0][split]) / 400 for split in SPLITS]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.04)


def test_the_fingerprint_follows_the_contents_and_not_the_place(tmp_path):
    for folder in ("a", "b"):
        write_generated("imdb", tmp_path / folder, rows=8)
    prints = {source_fingerprint("imdb", path=tmp_path / folder) for folder in ("a", "b")}
    assert len(prints) == 1
    next((tmp_path / "a" / "aclImdb" / "train" / "pos").iterdir()).write_text("changed")
    assert source_fingerprint("imdb", path=tmp_path / "a") not in prints
    assert source_fingerprint("imdb", ["test"], path=tmp_path / "a") == source_fingerprint(
        "imdb", ["test"], path=tmp_path / "b"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["amazon_polarity", "tulu_v2", "squad"])
def test_rows_of_large_files_are_kept_on_the_disk_until_the_file_changes(tmp_path, monkeypatch, name):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_generated(name, tmp_path, rows=1200)
    small = source_rows(name, "train", path=tmp_path)
    monkeypatch.setattr(source_local, "IN_MEMORY_BYTES", 0)
    large = source_rows(name, "train", path=tmp_path)
    assert type(large).__name__ == "ArrowRows" and type(small) is list
    assert list(large) == small and large[-1] == small[-1]
    monkeypatch.setattr(source_local, "_rows", lambda *arguments: iter(()))
    assert source_rows(name, "train", path=tmp_path) == small
    assert list(source_rows(name, "train", path=tmp_path, n=5)) == [
        row for row in small if row in draw(small, n=5, seed=0)
    ]
    monkeypatch.undo()
    monkeypatch.setattr(source_local, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_generated(name, tmp_path, rows=1100, seed=1)
    assert list(source_rows(name, "train", path=tmp_path)) != small


# ------------------------------------------------------------------ what is wrong


def test_an_unknown_name_has_the_nearest_one():
    assert problem("gms8k", "train").startswith(
        "no data set is called 'gms8k'. Did you mean 'gsm8k'? There are: e2e_nlg"
    )
    assert problem("gsm8k", "dev") == "gsm8k: has no split 'dev'; use train, validation, test"


def test_a_set_that_the_hub_has_not_names_its_page():
    assert problem("news_summary", "train") == (
        "news_summary: has no complete copy on the hub; get news_summary.csv from "
        "kaggle.com/datasets/sunnysai12345/news-summary and set 'path' to its folder"
    )


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("gsm8k", "other.txt", "x", "has no train split of gsm8k; it must be train.jsonl, or train.jsonl, .json"),
        (
            "gsm8k",
            "train.jsonl",
            '{"question": "1+1?"}',
            "train.jsonl: row 1 has no column 'answer'; gsm8k has question,",
        ),
        ("gsm8k", "train.jsonl", "{}\n{", "train.jsonl:2: not valid JSON"),
        (
            "ag_news",
            "train.csv",
            "label,text\n1,a\n",
            "train.csv:1: must be 3 values that begin with a class, without a",
        ),
        ("ag_news", "train.csv", '"1","a","b', "train.csv:1: not valid CSV"),
        ("squad", "train-v1.1.json", "[]", "train-v1.1.json: is not SQuAD's JSON with 'data' at its top"),
        ("imdb", "aclImdb_v1.tar.gz", "x", "aclImdb_v1.tar.gz: not a readable tar file"),
        ("tinystories", "train.txt", " \n", "has no rows of tinystories's train split"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, name, file, content, message):
    (tmp_path / file).write_text(content)
    assert message in problem(name, "train", path=tmp_path)


def test_a_missing_folder_and_a_file_of_another_split_are_told(tmp_path):
    assert "no such folder; get train.jsonl from github.com/" in problem("gsm8k", "train", path=tmp_path / "no")
    write_generated("gsm8k", tmp_path, rows=4)
    assert "is not the test split of gsm8k" in problem("gsm8k", "test", path=tmp_path / "train.jsonl")


# ------------------------------------------------------------------ real files


@pytest.mark.parametrize(
    ("name", "folder", "counts"),
    [
        ("e2e_nlg", "e2e_nlg", {"train": 42_061, "validation": 4_672, "test": 4_693}),
        ("gsm8k", "gsm8k", {"train": 7_473, "test": 1_319}),
        ("ag_news", "ag_news", {"test": 7_600}),
        ("wikitext_2", "wikitext", {"validation": 3_760, "test": 4_358}),
        ("imdb", "imdb", {"test": 5_000}),
    ],
)
def test_real_files_have_their_published_number_of_rows(shared, name, folder, counts):
    for split, count in counts.items():
        rows = source_rows(name, split, path=shared / "data" / folder)
        assert len(rows) == count
        assert list(rows[0]) == list(SOURCES[name].columns)


def test_real_instructions_get_the_hubs_text_column(shared):
    path = shared / "data" / "alpaca" / "alpaca_5000.json"
    rows = [row for split in SPLITS for row in source_rows("alpaca", split, path=path)]
    assert len(rows) == 5_000
    assert sum("### Input:\n" in row["text"] for row in rows) >= 1_943
    assert all(row["text"].endswith(f"### Response:\n{row['output']}") for row in rows)


def test_the_real_news_file_is_cp1252_and_every_row_is_in_one_split(shared):
    rows = [
        row for split in SPLITS for row in source_rows("news_summary", split, path=shared / "data" / "news_summary")
    ]
    assert len(rows) == 4_514
    assert sum(not row["ctext"] for row in rows) == 118
    assert any("’" in row["ctext"] or "–" in row["text"] or "é" in row["text"] for row in rows)


@pytest.mark.slow
def test_the_second_news_file_has_two_columns_and_no_blank_rows(shared, tmp_path):
    """The copy at hand has an empty third column, which the published file has not."""
    copy = (shared / "data" / "news_summary" / "news_summary_more_part.csv").open(encoding="utf-8", newline="")
    rows = [row[:2] for row in csv.reader(copy)] + [["", ""]] * 3
    with (tmp_path / "news_summary_more.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    found = [row for split in SPLITS for row in source_rows("news_summary", split, path=tmp_path)]
    assert len(found) == 499
    assert {row["author"] for row in found} == {""} and all(row["text"] for row in found)


def test_real_news_teasers_keep_their_backslashes_as_on_the_hub(shared):
    rows = source_rows("ag_news", "test", path=shared / "data" / "ag_news")
    assert {row["label"] for row in rows} == {0, 1, 2, 3}
    assert rows[0]["text"].startswith("Fears for T N pension after talks Unions representing workers")
    assert any("\\" in row["text"] for row in rows)


@pytest.mark.slow
def test_real_reviews_are_read_from_the_tar_file_and_from_its_folder(shared, tmp_path):
    import tarfile

    archive = shared / "data" / "imdb" / "aclImdb_slice.tar.gz"
    packed = source_rows("imdb", "test", path=archive)
    assert [row["label"] for row in packed] == [0] * 2_500 + [1] * 2_500
    with tarfile.open(archive) as opened:
        few = [member for member in opened if member.name.startswith("aclImdb/test/pos/10")]
        opened.extractall(tmp_path, members=few, filter="data")
    assert all(row in packed for row in source_rows("imdb", "test", path=tmp_path))
    assert len(source_rows("imdb", "test", path=tmp_path / "aclImdb")) == len(few)


def test_real_questions_have_their_answers_where_they_say(shared, tmp_path):
    (tmp_path / "dev-v1.1.json").symlink_to(shared / "data" / "squad" / "dev-v1.1_rebuilt_from_explorer.json")
    rows = source_rows("squad", "validation", path=tmp_path)
    assert len(rows) == 10_570
    for row in rows[:500]:
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True):
            assert row["context"][start : start + len(text)] == text


def test_real_encyclopedia_lines_are_as_on_the_hub(shared):
    rows = source_rows("wikitext_2", "test", path=shared / "data" / "wikitext")
    assert [row["text"] for row in rows[:3]] == ["", " = Robert <unk> = \n", ""]


def test_real_stories_are_cut_at_their_marks(shared, tmp_path):
    """The copy at hand divides stories by one line break, paragraphs by two."""
    text = (shared / "data" / "tinystories" / "tinystories.txt").read_text(encoding="utf-8")[:200_000]
    stories = [story.replace("\n\n", "\0") for story in text.replace("\n\n", "\0").split("\n")]
    stories = [story.replace("\0", "\n\n").strip() for story in stories if story.strip("\0 ")]
    (tmp_path / "TinyStories-train.txt").write_text("\n<|endoftext|>\n".join(stories), encoding="utf-8")
    assert [row["text"] for row in source_rows("tinystories", "train", path=tmp_path)] == stories


def test_real_conversations_and_summaries_in_the_hubs_columns_are_read(shared, tmp_path):
    chats = read_rows(shared / "data" / "chat_multiturn_substitute" / "kto_en_demo.json")
    chats = [{"prompt": chat["messages"][0]["content"], "prompt_id": str(i), **chat} for i, chat in enumerate(chats)]
    write_table(tmp_path / "train_sft.jsonl", chats)
    assert [row["messages"] for row in source_rows("ultrachat_200k", "train", path=tmp_path)] == [
        chat["messages"] for chat in chats
    ]
    news = shared / "data" / "cnn_dailymail" / "cnn_dailymail_test.csv"
    (tmp_path / "test.csv").symlink_to(news)
    assert source_rows("cnn_dailymail", "test", path=tmp_path)[499] == read_rows(news)[499]
    bbc = read_rows(shared / "data" / "xsum" / "xsum_test_500.csv")
    bbc = [{"document": row["article"], "summary": row["highlights"], "id": row["id"]} for row in bbc]
    write_table(tmp_path / "xsum" / "test.jsonl", bbc)
    assert source_rows("xsum", "test", path=tmp_path / "xsum") == bbc


def test_the_documents_table_is_the_real_one():
    page = (Path(__file__).parents[3] / "docs" / "data-sets.md").read_text()
    for name, source in SOURCES.items():
        line = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert (source.hub or "none") in line and ", ".join(source.columns) in line
        assert all(names[0] in line for names in source.files.values())
