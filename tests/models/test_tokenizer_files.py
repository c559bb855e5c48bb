"""A tokenizer whose file needs a library that is not there is named with that library, while the study is planned."""

import importlib.util
import json

import pytest

import tiny
from tunelab.config.schema import ModelSource
from tunelab.errors import ModelError
from tunelab.models.load import load_text
from tunelab.models.tokenizer_files import write_pieces
from tunelab.records import Located


def without(monkeypatch, *hidden):
    find = importlib.util.find_spec

    def found(name, package=None):
        return None if name in hidden else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)


def folder_with(tmp_path, name: str, content: bytes, *, kind: str):
    folder = tiny.model_folder(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    (folder / name).write_bytes(content)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    return folder


def text_of(folder):
    return load_text(ModelSource(name=str(folder)), Located(folder, ""))


@pytest.fixture(scope="module")
def pieces(tmp_path_factory) -> bytes:
    """A SentencePiece model, as LLaMA 2 and Gemma have."""
    import io

    import sentencepiece

    lines = [f"the mill by the river has {number} wheels and {number * 7} sacks" for number in range(400)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=300, model_type="bpe", byte_fallback=True,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return model.getvalue()


def test_a_sentencepiece_file_alone_is_read(tmp_path, pieces):
    tokenizer = text_of(folder_with(tmp_path, "tokenizer.model", pieces, kind="LlamaTokenizer")).tokenizer
    ids = tokenizer("the mill", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == "the mill" and len(ids) < 8


@pytest.mark.parametrize(
    ("name", "content", "hidden", "said"),
    [
        ("spiece.model", b"\x0a\x0e\x0a\x05", ["sentencepiece"], r"a file of sentencepiece \(spiece.model\), and"),
        ("tokenizer.model", b"\x0a\x0e\x0a\x05", ["google.protobuf"], r"protobuf is not installed: pip install"),
        ("tokenizer.model", b"aGVsbG8= 0\nd29ybGQ= 1\n", ["tiktoken"], r"tiktoken is not installed: .*\[tiktoken\]"),
        ("qwen.tiktoken", b"aGVsbG8= 0\n", ["tiktoken"], r"a file of tiktoken \(qwen.tiktoken\)"),
    ],
)
def test_the_library_that_is_missing_is_named(tmp_path, monkeypatch, name, content, hidden, said):
    folder = folder_with(tmp_path, name, content, kind="LlamaTokenizer")
    without(monkeypatch, *hidden)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", failing)
    with pytest.raises(ModelError, match=said):
        text_of(folder)


def failing(*_, **__):
    raise ImportError("\nSomeTokenizer requires something")


def test_a_damaged_file_is_no_missing_library(tmp_path, monkeypatch):
    folder = folder_with(tmp_path, "tokenizer.model", b"\x0a\x0e\x0a\x05", kind="LlamaTokenizer")
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", failing)
    with pytest.raises(ModelError, match="its tokenizer cannot be loaded: SomeTokenizer requires something"):
        text_of(folder)


def test_a_folder_without_tokenizer_files_is_refused(tmp_path):
    folder = tiny.model_folder(tmp_path / "model", "gpt2")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match="its tokenizer"):
        text_of(folder)


def test_sentence_pieces_leave_with_the_tokens_that_were_added_to_them(tmp_path, pieces):
    """As transformers 4 wrote them, where llama.cpp's converter looks."""
    base, folder = folder_with(tmp_path, "tokenizer.model", pieces, kind="LlamaTokenizer"), tmp_path / "written"
    tokenizer = text_of(base).tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    tokenizer.save_pretrained(folder)
    write_pieces(base, tokenizer, folder)
    added = json.loads((folder / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    assert added[str(tokenizer.convert_tokens_to_ids("<|turn|>"))] == {
        "content": "<|turn|>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
        "special": True,
    }  # fmt: skip
    assert (folder / "tokenizer.model").read_bytes() == pieces
    from transformers import AutoTokenizer

    again = AutoTokenizer.from_pretrained(folder)
    assert again("the mill<|turn|>")["input_ids"] == tokenizer("the mill<|turn|>")["input_ids"]


def test_a_tiktoken_file_of_that_name_is_left(tmp_path):
    base, folder = tmp_path / "base", tmp_path / "written"
    base.mkdir()
    folder.mkdir()
    (base / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    write_pieces(base, None, folder)
    assert not list(folder.iterdir())
