"""A GGUF file computes and ends as the study did: converted by llama.cpp's converter, asked by llama.cpp itself."""

import io
import json
import os
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import pytest

import tunelab
from tunelab.errors import ConfigError, RunError
from tunelab.export import gguf, llama_texts
from tunelab.export.export import as_json, export, export_text

needs_llama_cpp = pytest.mark.skipif(
    not (os.environ.get("TUNELAB_REQUIRE_ALL") or (find_spec(gguf.CONVERTER) and llama_texts.package())),
    reason="needs the extra gguf",
)

STUDY = """
name: small
model: llama
tasks:
  - {{name: replies, train: train.jsonl, test: train.jsonl, {read}, metrics: [perplexity]}}
methods:
  - full: {{learning_rate: 1e-2}}
seeds: [0]
budget: {{steps: 40}}
batch: {{examples: 4}}
data: {{overlap: ignore}}
precision: fp32
threads: 1
"""
CHAT = (
    "{{{{ bos_token }}}}{{% for message in messages %}}"
    "{{{{ '<|turn|>' + message['role'] + '\n' + message['content'] + '{end}\n' }}}}"
    "{{% endfor %}}{{% if add_generation_prompt %}}{{{{ '<|turn|>assistant\n' }}}}{{% endif %}}"
)
ROWS = [{"question": f"Where is cat {n}?", "answer": f"It is in box {n * 7}."} for n in range(12)]


def model_folder(folder: Path, *, end: str) -> Path:
    """A random LLaMA with a vocabulary of sentence pieces, as llama.cpp reads it, and a chat template."""
    import sentencepiece
    from transformers import AddedToken, LlamaTokenizer

    import tiny

    folder.mkdir()
    pieces = io.BytesIO()
    lines = [f"{row['question']} {row['answer']} user assistant" for row in ROWS]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=pieces, vocab_size=400, model_type="bpe", byte_fallback=True,
        hard_vocab_limit=False, minloglevel=2, normalization_rule_name="identity", remove_extra_whitespaces=False,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(pieces.getvalue())
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken("<|turn|>", special=True), AddedToken(end, special=True)], special_tokens=True)
    tokenizer.chat_template = CHAT.format(end=end)
    ends = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=None)
    tiny.model("llama", vocab_size=len(tokenizer), **ends).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def trained(folder: Path, *, chat: bool, end: str = "<|im_end|>") -> Path:
    """The folder of a finished run."""
    model_folder(folder / "llama", end=end)
    rows = [
        {"messages": [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]}
        if chat
        else row
        for row in ROWS
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = "messages: messages" if chat else 'prompt: "{question}\\n", target: "{answer}"'
    (folder / "small.yaml").write_text(STUDY.format(read=read))
    assert tunelab.run(folder / "small.yaml", out=folder / "out", cluster="in-process").num_failed == 0
    return next((folder / "out" / "runs").glob("full--*"))


@pytest.mark.slow
@needs_llama_cpp
@pytest.mark.parametrize("end", ["<|im_end|>", "<|fin|>"], ids=["an end that llama.cpp knows", "an end of its own"])
def test_llama_cpp_writes_the_study_s_texts_and_ends_them(tmp_path, end):
    """By the tokens of five prompts, and by their messages: its tokenizer, the template and the end of a turn."""
    exported = export(trained(tmp_path, chat=True, end=end), tmp_path / "mine", gguf=True)
    converted = exported.gguf
    assert converted is not None and converted.name == "mine-F32.gguf"
    assert (converted.by_tokens, converted.by_text) == (gguf.Same(5, 5, 5, None), gguf.Same(5, 5, 5, None))
    assert (tmp_path / "mine" / converted.name).read_bytes()[:4] == b"GGUF"
    assert "5 of 5 by the prompt's tokens, 5 of 5 by the prompt's text equal the study's" in export_text(exported)
    assert converted.name in (tmp_path / "mine" / "README.md").read_text()
    assert as_json(exported)["gguf"]["by_text"]["equal"] == 5
    texts = llama_texts.llama_texts(
        tmp_path / "mine" / converted.name,
        [{"messages": [{"role": "user", "content": ROWS[0]["question"]}]}], max_tokens=64, context=256,
    )  # fmt: skip
    assert texts and len(texts[0]) < 40, "the turn has an end"


@pytest.mark.slow
@needs_llama_cpp
def test_prompts_of_a_template_are_asked_as_text(tmp_path):
    exported = export(trained(tmp_path, chat=False), tmp_path / "mine", gguf=True)
    assert exported.gguf.by_tokens.equal == exported.gguf.by_text.equal == 5
    assert not [note for note in exported.written.notes if "llama.cpp" in note]


@pytest.mark.slow
@needs_llama_cpp
def test_a_model_that_the_converter_does_not_know_is_refused_before_anything_is_merged(finished, tmp_path):
    with pytest.raises(ConfigError, match="--gguf: llama.cpp's converter refuses this model .*pre-tokenizer"):
        export(finished.run("full"), tmp_path / "mine", gguf=True)
    assert not (tmp_path / "mine").exists()


@pytest.mark.slow
@needs_llama_cpp
def test_what_llama_cpp_cannot_read_is_one_line(tmp_path):
    (tmp_path / "no.gguf").write_bytes(b"GGUF and no more")
    with pytest.raises(RunError, match="llama.cpp cannot read the GGUF file"):
        llama_texts.llama_texts(tmp_path / "no.gguf", [{"prompt": [1]}], max_tokens=1, context=64)


def test_without_the_converter_the_way_out_is_told(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf, "CONVERTER", "no_such_converter")
    with pytest.raises(ConfigError, match=r"not installed; pip install 'tunelab\[gguf\]', or .*docs/export.md"):
        export(finished.run("full"), tmp_path / "mine", gguf=True)


def test_while_it_is_converted_the_folder_says_whether_texts_begin_with_a_token(tmp_path):
    from transformers import AutoTokenizer

    import tiny

    folder = tiny.model_folder(tmp_path / "model")
    config = folder / "tokenizer_config.json"
    before = config.read_text()
    with gguf._start_said(folder, AutoTokenizer.from_pretrained(folder)):
        assert json.loads(config.read_text()) == json.loads(before) | {"add_bos_token": False}
    assert config.read_text() == before


class Opened:
    """Of the model, what a conversion asks for."""

    class text:
        encoder_decoder = False
        tokenizer = None


def written(tmp_path, monkeypatch, by_tokens: gguf.Same, by_text: gguf.Same) -> gguf.Converted:
    monkeypatch.setattr(gguf, "_convert", lambda folder, file, *options: file.write_bytes(b"GGUF"))
    monkeypatch.setattr(gguf, "_name_ends", lambda folder, file: ())
    monkeypatch.setattr(gguf, "_start_said", lambda folder, tokenizer: nullcontext())
    monkeypatch.setattr(gguf, "package", lambda: "llama_cpp")
    monkeypatch.setattr(gguf, "_asked", lambda *arguments: (by_tokens, by_text))
    return gguf.write_gguf(Opened(), None, tmp_path, name="mine", dtype="bf16", rows=None)


def test_texts_that_begin_otherwise_are_an_error_and_later_ones_a_note(tmp_path, monkeypatch):
    same = gguf.Same(5, 5, 5, None)
    with pytest.raises(
        RunError, match=r"mine-BF16\.gguf: llama.cpp begins 4 of 5 texts otherwise, 'b' in place of 'a'"
    ):
        written(tmp_path, monkeypatch, gguf.Same(5, 1, 1, ("a", "b")), same)
    later = written(tmp_path, monkeypatch, gguf.Same(5, 3, 5, ("a", "b")), same)
    assert later.notes == (
        "llama.cpp, which rounds otherwise, goes on differently in 2 of 5 texts: 'b' in place of 'a'",
    )
    (note,) = written(tmp_path, monkeypatch, same, gguf.Same(5, 0, 2, ("a", "b"))).notes
    assert note.startswith("WARNING: given prompts as text, llama.cpp writes 5 of 5 texts otherwise")


def test_without_llama_cpp_a_file_is_written_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(gguf, "package", lambda: None)
    monkeypatch.setattr(gguf, "_convert", lambda folder, file, *options: file.write_bytes(b"GGUF"))
    monkeypatch.setattr(gguf, "_name_ends", lambda folder, file: ())
    monkeypatch.setattr(gguf, "_start_said", lambda folder, tokenizer: nullcontext())
    made = gguf.write_gguf(Opened(), None, tmp_path, name="mine", dtype="fp16", rows=None)
    assert (made.name, made.by_tokens) == ("mine-F16.gguf", None)
    assert made.notes == ("mine-F16.gguf: not asked anything, llama.cpp is not installed: pip install 'tunelab[gguf]'",)
    assert gguf.texts_text(made) == "llama.cpp was not asked for texts"
