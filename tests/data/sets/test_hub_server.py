"""Named data sets from the hub, against a server on loopback. The real clients are used, each in a fresh process."""

import io
import json
import random

import pyarrow
import pyarrow.parquet
import pytest

from hub_server import COMMIT, NOWHERE, Repositories, run_against, serving
from tunelab.data.sets.generated_rows import dataset_rows

pytestmark = pytest.mark.slow

READ = """
import json, sys
from tunelab.data.sets import named as sources
name, split, options, change = json.loads(sys.argv[1])
source = sources.SOURCES[name]
sources.SOURCES[name] = source._replace(**{"revision": None, **change})
try:
    rows = sources.source_rows(name, split, **options)
    print(json.dumps({"rows": list(rows), "fingerprint": sources.source_fingerprint(name, [split])}))
except Exception as error:
    print(json.dumps({"error": str(error), "kind": type(error).__name__}))
"""


def parquet(rows: list[dict], *, group: int = 1000) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink, row_group_size=group)
    return sink.getvalue()


GSM8K = dataset_rows("gsm8k", split="train", n=300, seed=0)
TEST = dataset_rows("gsm8k", split="test", n=20, seed=0)
RANDOM = random.Random(0)
STORIES = [{"text": f"Story {number}. {RANDOM.randbytes(60).hex()}"} for number in range(40_000)]
MESSAGES = [{"dataset": "made", "id": str(i), "messages": [{"role": "user", "content": str(i)}]} for i in range(40_000)]
CARD = """---
configs:
- config_name: main
  data_files:
  - {split: train, path: main/train-*}
  - {split: test, path: main/test-*}
---
"""


@pytest.fixture
def hub():
    served = Repositories()
    served.files["datasets/openai/gsm8k"] = {
        "README.md": CARD.encode(),
        "main/train-00000-of-00001.parquet": parquet(GSM8K),
        "main/test-00000-of-00001.parquet": parquet(TEST),
    }
    half = len(STORIES) // 2
    served.files["datasets/roneneldan/TinyStories"] = {
        "data/train-00000-of-00002.parquet": parquet(STORIES[:half]),
        "data/train-00001-of-00002.parquet": parquet(STORIES[half:]),
        "data/validation-00000-of-00001.parquet": parquet(STORIES[:50]),
    }
    served.files["datasets/allenai/tulu-v2-sft-mixture"] = {"data/train-00000-of-00001.parquet": parquet(MESSAGES)}
    with serving(served) as endpoint:
        served.endpoint = endpoint
        yield served


def read(endpoint, home, name, split="train", *, change=None, offline=False, **options):
    environment = {"HF_HUB_OFFLINE": "1"} if offline else {}
    return run_against(endpoint, home, READ, name, split, options, change or {}, **environment)


def test_a_split_is_read_with_the_hubs_columns(hub, tmp_path):
    answer = read(hub.endpoint, tmp_path, "gsm8k", "test")
    assert answer.get("rows") == TEST, answer


def test_the_hubs_own_parquet_copy_is_read_where_the_main_branch_needs_code(hub, tmp_path):
    rows = {split: dataset_rows("e2e_nlg", split=split, n=9, seed=0) for split in ("train", "test")}
    hub.files["datasets/tuetschek/e2e_nlg"] = {
        f"default/{split}/0000.parquet": parquet(made) for split, made in rows.items()
    }
    answer = read(hub.endpoint, tmp_path, "e2e_nlg", "test", change={"revision": "refs/convert/parquet"})
    assert answer.get("rows") == rows["test"], answer
    assert any(request.path.endswith("/revision/refs%2Fconvert%2Fparquet") for request in hub.requests)


def test_what_was_downloaded_is_read_again_without_the_hub(hub, tmp_path):
    first = read(hub.endpoint, tmp_path, "gsm8k", n=7)
    assert len(first["rows"]) == 7 and all(row in GSM8K for row in first["rows"])
    assert read(NOWHERE, tmp_path, "gsm8k", n=7, offline=True) == first
    assert read(NOWHERE, tmp_path, "gsm8k", n=7, offline=True, change={"revision": COMMIT})["rows"] == first["rows"]


def test_another_commit_than_the_downloaded_one_is_refused_offline(hub, tmp_path):
    read(hub.endpoint, tmp_path, "gsm8k")
    answer = read(NOWHERE, tmp_path, "gsm8k", offline=True, change={"revision": "f" * 40})
    assert "the copy on this machine is of commit 01234567, not ffffffff" in answer["error"]


def test_a_sample_of_a_big_set_fetches_a_part_of_it(hub, tmp_path):
    answer = read(hub.endpoint, tmp_path, "tinystories", n=500)
    assert len(answer["rows"]) == 500, answer
    asked = [request for request in hub.requests if request.method == "GET" and request.path.endswith(".parquet")]
    size = sum(map(len, hub.files["datasets/roneneldan/TinyStories"].values()))
    assert asked and all(request.range for request in asked)
    assert sum(request.sent for request in asked) < size / 4


def test_a_sample_is_the_same_each_time_and_part_of_a_larger_one(hub, tmp_path):
    first = read(hub.endpoint, tmp_path / "a", "tinystories", n=300)
    assert read(hub.endpoint, tmp_path / "b", "tinystories", n=300) == first
    larger = read(hub.endpoint, tmp_path / "a", "tinystories", n=2000)["rows"]
    position = {row["text"]: number for number, row in enumerate(larger)}
    places = [position[row["text"]] for row in first["rows"]]
    assert places == sorted(places)
    other = read(hub.endpoint, tmp_path / "a", "tinystories", n=300, seed=1)["rows"]
    assert other != first["rows"]


def test_a_sample_is_the_same_from_its_blocks_and_from_the_whole_set(hub, tmp_path):
    blocks = read(hub.endpoint, tmp_path / "a", "tulu_v2", "test", n=200)
    assert len(blocks["rows"]) == 200, blocks
    whole = read(hub.endpoint, tmp_path / "b", "tulu_v2", "test", n=3000)["rows"]
    assert len(whole) == 3000
    assert [row for row in whole if row in blocks["rows"]] == blocks["rows"]
    assert blocks["rows"][0] in MESSAGES


def test_a_sample_is_found_again_without_the_hub(hub, tmp_path):
    first = read(hub.endpoint, tmp_path, "tulu_v2", n=400)
    assert len(first["rows"]) == 400, first
    assert read(NOWHERE, tmp_path, "tulu_v2", n=400, offline=True) == first


def test_the_splits_of_a_set_without_splits_share_no_row(hub, tmp_path):
    found = {split: read(hub.endpoint, tmp_path, "tulu_v2", split, n=500)["rows"] for split in ("train", "test")}
    assert not {row["id"] for row in found["train"]} & {row["id"] for row in found["test"]}


def test_a_dropped_download_goes_on_where_it_stopped(hub, tmp_path):
    """huggingface_hub writes 10 MiB at a time, so what is lost is less than that."""
    rows = [{"question": RANDOM.randbytes(4000).hex(), "answer": str(number)} for number in range(2000)]
    name, content = "train-00000-of-00001.parquet", parquet(rows)
    hub.files["datasets/openai/gsm8k"][f"main/{name}"] = content
    hub.dropped[name] = 12 << 20
    assert len(content) > 14 << 20
    answer = read(hub.endpoint, tmp_path, "gsm8k", n=3)
    assert len(answer["rows"]) == 3 and all(row in rows for row in answer["rows"])
    cut, rest = hub.asked(name)
    assert (cut.range, cut.sent) == (None, 12 << 20)
    assert (rest.range, rest.sent) == (f"bytes={10 << 20}-", len(content) - (10 << 20))


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (
            (403, "GatedRepo"),
            "openai/gsm8k: is gated; accept its terms at https://huggingface.co/datasets/openai/gsm8k",
        ),
        (
            (401, "GatedRepo"),
            "openai/gsm8k: is gated; accept its terms at https://huggingface.co/datasets/openai/gsm8k",
        ),
        ((404, "RepoNotFound"), "openai/gsm8k: no such data set on the hub, or it is private"),
    ],
    ids=str,
)
def test_what_the_hub_refuses_is_one_line(hub, tmp_path, refused, message):
    hub.refused["datasets/openai/gsm8k"] = refused
    answer = read(hub.endpoint, tmp_path, "gsm8k")
    assert answer["kind"] == "DataError" and answer["error"].startswith(message)
    assert "\n" not in answer["error"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"revision": "v9"}, "openai/gsm8k: has no such revision; see https://huggingface.co/datasets/openai/gsm8k"),
        ({"config": "socratic"}, "openai/gsm8k: cannot be loaded from the hub: BuilderConfig 'socratic' not found"),
        ({"splits": {"train": "dev"}}, 'openai/gsm8k: cannot be loaded from the hub: Unknown split "dev"'),
        ({"hub": "not an id"}, "not an id: is not a hub id; it must be 'owner/name'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_name_is_one_line(hub, tmp_path, change, message):
    answer = read(hub.endpoint, tmp_path, "gsm8k", change=change)
    assert answer["kind"] == "DataError" and answer["error"].startswith(message)
    assert "\n" not in answer["error"]


def test_a_wrong_split_of_a_sample_is_one_line(hub, tmp_path):
    answer = read(hub.endpoint, tmp_path, "tulu_v2", n=10, change={"splits": {"train": "dev"}})
    assert answer["error"].startswith("allenai/tulu-v2-sft-mixture: cannot be loaded from the hub: Unknown split 'dev'")


@pytest.mark.parametrize("offline", [False, True])
def test_without_a_network_the_message_names_the_original_files(tmp_path, offline):
    answer = read(NOWHERE, tmp_path, "gsm8k", offline=offline)
    assert answer["kind"] == "DataError"
    way_out = "get train.jsonl from github.com/openai/grade-school-math and set 'path' to its folder"
    assert way_out in answer["error"] and "\n" not in answer["error"]


def test_a_set_that_needs_remote_code_is_refused(hub, tmp_path):
    hub.files["datasets/openai/gsm8k"] = {"gsm8k.py": b"raise SystemExit('executed')", "README.md": b"---\n---\n"}
    answer = read(hub.endpoint, tmp_path, "gsm8k")
    assert answer["error"].startswith("openai/gsm8k: can only be loaded by remote code"), json.dumps(answer)
