"""Properties of texts on their way in: what a file holds is what is read, asked, learned, and read back from tokens."""

import csv
import io
import itertools
import json
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parity.zoo.families import CAUSAL, PAIRS, unmarked
from tunelab.data.reading.rows import read_rows
from tunelab.data.tokens.tokenise import Tokeniser, tokenise
from tunelab.records import Example
from tunelab.tasks.files import Files

ODD = [" ", "\n", "\r\n", "\r", "\t", "\ufeff", "\u2028", "\x85", "\x1c", '"', '""', "'", "\\", "\\n", ",", "{", "}}"]
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
    st.lists(st.one_of(st.sampled_from(ODD), st.sampled_from("abé日🙂")), max_size=6).map("".join),
)
"""Any text that a file can hold: half characters and NUL are refused with their line."""
SAID = TEXT.filter(lambda text: text.strip())
ROWS = st.lists(st.fixed_dictionaries({"question": TEXT, "answer": TEXT}), min_size=1, max_size=5)
CHEAP = settings(
    derandomize=True, deadline=20_000, max_examples=25, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)  # fmt: skip
NUMBERS = itertools.count()


def new_path(folder, suffix):
    """A file is checked once as long as its time and size stay, so no two examples share one."""
    return folder / f"{next(NUMBERS)}.{suffix}"


def write_csv(path, rows, *, delimiter=",", line_end="\r\n", encoding="utf-8", quoting=csv.QUOTE_MINIMAL):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))


def write_parquet(path, rows):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def write_lines(path, rows, *, ascii_only=True, encoding="utf-8", line_end="\n"):
    lines = [json.dumps(row, ensure_ascii=ascii_only) + line_end for row in rows]
    path.write_bytes("".join(lines).encode(encoding))


WRITERS = {
    "jsonl": ("jsonl", write_lines),
    "jsonl as it is": ("jsonl", lambda path, rows: write_lines(path, rows, ascii_only=False)),
    "jsonl with a mark": ("jsonl", lambda path, rows: write_lines(path, rows, ascii_only=False, encoding="utf-8-sig")),
    "jsonl of Windows": ("jsonl", lambda path, rows: write_lines(path, rows, line_end="\r\n")),
    "json": ("json", lambda path, rows: path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), "utf-8")),
    "csv": ("csv", write_csv),
    "csv with a mark": ("csv", lambda path, rows: write_csv(path, rows, encoding="utf-8-sig")),
    "csv all quoted": ("csv", lambda path, rows: write_csv(path, rows, line_end="\n", quoting=csv.QUOTE_ALL)),
    "tsv": ("tsv", lambda path, rows: write_csv(path, rows, delimiter="\t")),
    "parquet": ("parquet", write_parquet),
}


@pytest.mark.parametrize("kind", WRITERS)
@CHEAP
@given(rows=ROWS)
def test_rows_are_read_as_they_were_written(tmp_path, kind, rows):
    suffix, write = WRITERS[kind]
    path = new_path(tmp_path, suffix)
    write(path, rows)
    assert list(read_rows(path)) == rows


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), TEXT
)


@CHEAP
@given(rows=st.lists(st.dictionaries(SAID, VALUES, min_size=1, max_size=4), min_size=1, max_size=4))
def test_json_values_keep_their_types(tmp_path, rows):
    lines, whole = new_path(tmp_path, "jsonl"), new_path(tmp_path, "json")
    write_lines(lines, rows)
    whole.write_text(json.dumps(rows))
    for read in (list(read_rows(lines)), list(read_rows(whole))):
        assert read == rows
        assert [[type(value) for value in row.values()] for row in read] == [
            [type(value) for value in row.values()] for row in rows
        ]


@CHEAP
@given(rows=st.lists(st.fixed_dictionaries({"question": TEXT, "answer": SAID}), min_size=1, max_size=5), before=TEXT)
def test_templates_put_texts_in_as_they_are(tmp_path, rows, before):
    path = new_path(tmp_path, "jsonl")
    write_lines(path, rows)
    doubled = before.replace("{", "{{").replace("}", "}}")
    task = Files(name="rows", train=path, test=path, prompt=doubled + "{question}\n", target="{answer}")
    examples = task.examples("train")
    assert [one.prompt for one in examples] == [f"{before}{row['question']}\n" for row in rows]
    assert [one.target for one in examples] == [row["answer"] for row in rows]
    asked = {f"{before}{row['question']}\n": [] for row in rows}
    for row in rows:
        asked[f"{before}{row['question']}\n"].append(row["answer"])
    assert {one.prompt: list(one.references) for one in task.examples("test")} == asked


# ------------------------------------------------------------------ tokens


class Words(NamedTuple):
    tokenizer: object
    end: str
    trims: bool
    """The template takes blanks around a text away."""
    exact: bool
    """Text comes back from tokens as it was; LLaMA's gives every piece between special tokens a blank of its own."""


SPELLED = ("gpt2", "opt", "bloom", "llama3", "qwen2", "phi3", "llama2", "gemma", "bart")
"""Families whose tokenizer knows every character, as bytes."""
CHATS = ("llama2", "llama3", "qwen2", "qwen3", "gemma", "phi3", "granite")
ENDS = {"llama3": "<|eot_id|>", "gemma": "<end_of_turn>", "phi3": "<|end|>"}
"""Where a turn does not end with the text's end token."""


@pytest.fixture(scope="module", params=SPELLED)
def spelled(request):
    return {**CAUSAL, **PAIRS}[request.param], {**CAUSAL, **PAIRS}[request.param].words()


@pytest.fixture(scope="module", params=CHATS)
def chatting(request):
    animal = CAUSAL[request.param]
    tokenizer = animal.words()
    tokenizer.chat_template = unmarked(animal.template)
    trims = "| trim" in animal.template or ".strip()" in animal.template
    end = ENDS.get(request.param, tokenizer.eos_token)
    return Words(tokenizer, end, trims, exact=request.param not in ("llama2", "gemma"))


def read_back(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=False)


def typed(text):
    """What LLaMA's mark of a blank stands for is no letter of its own there."""
    return text.replace("▁", " ")


@CHEAP
@given(question=TEXT.map(lambda text: f"{text}\n"), answer=SAID)
def test_what_is_learned_is_the_target_and_what_is_asked_the_prompt(spelled, question, answer):
    animal, tokenizer = spelled
    example = Example("one", question, answer, (answer,))
    options = {"max_length": 500, "encoder_decoder": animal.pairs, "split": "test"}
    (row,) = tokenise([example], tokenizer, **options).rows
    (asked,) = Tokeniser(tokenizer, **options).prompts([example])
    learned = row.ids[row.supervised]
    assert learned[-1] == tokenizer.eos_token_id
    plain = tokenizer(text_target=[answer])["input_ids"][0] if animal.pairs else [*learned]
    assert learned.tolist() == plain
    assert tokenizer.decode(learned, skip_special_tokens=True) == typed(answer)
    assert tokenizer.decode(asked, skip_special_tokens=True) == typed(question)
    if not animal.pairs:
        assert row.ids[: len(asked)].tolist() == asked.tolist() and not row.supervised[: len(asked)].any()


@CHEAP
@given(texts=st.lists(SAID, min_size=2, max_size=4).filter(lambda texts: len(texts) % 2 == 0))
def test_conversations_are_the_templates_text_and_the_answers_with_their_ends_are_learned(chatting, tmp_path, texts):
    tokenizer, end, trims, exact = chatting
    messages = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]
    path = new_path(tmp_path, "jsonl")
    write_lines(path, [{"messages": messages}])
    examples = Files(name="rows", train=path, test=path, messages="messages").examples("train")
    (row,) = tokenise(examples, tokenizer, max_length=2000, encoder_decoder=False).rows
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    whole = whole[: whole.rindex(end) + len(end)]
    known = whole if exact else read_back(tokenizer, tokenizer(whole, add_special_tokens=False)["input_ids"])
    assert read_back(tokenizer, row.ids) == known
    borders = np.flatnonzero(np.diff(row.supervised.astype(int), prepend=0, append=0)).reshape(-1, 2)
    answers = []
    for start, stop in borders:
        before, after = (read_back(tokenizer, row.ids[:place]) for place in (start, stop))
        assert after.startswith(before) and after.endswith(end)
        answers.append(after[len(before) :].removesuffix(end))
    said = [text.strip() if trims else text for text in texts[1::2]]
    if exact:
        assert answers == said
    else:
        assert [one.strip() for one in answers] == [typed(one).strip() for one in said]
