"""A local model's revision: everything that loading reads is part of it, and nothing else is."""

import json
import os

import pytest

import tiny
from tunelab.config.schema import ModelSource
from tunelab.models.load import locate


def revision(folder) -> str:
    return locate(ModelSource(name=str(folder))).revision


@pytest.fixture
def folder(tmp_path):
    folder = tiny.model_folder(tmp_path / "model")
    for name in ("vocab.json", "special_tokens_map.json", "added_tokens.json"):
        (folder / name).write_text("{}")
    for name in ("merges.txt", "tokenizer.model", "chat_template.jinja", "cl100k.tiktoken", "modelling.py"):
        (folder / name).write_text("one")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tools.jinja").write_text("one")
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
        "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "cl100k.tiktoken",
        "modelling.py", "additional_chat_templates/tools.jinja", "model.safetensors",
    ],
)  # fmt: skip
def test_a_changed_file_is_another_model_in_this_process_too(folder, name):
    before, path = revision(folder), folder / name
    content = path.read_bytes()
    path.write_bytes(content + b" ")
    assert revision(folder) != before
    path.write_bytes(content)
    assert revision(folder) == before


def test_what_loading_does_not_read_changes_nothing(folder):
    before = revision(folder)
    (folder / "README.md").write_text("a card")
    (folder / "checkpoint-5").mkdir()
    (folder / "checkpoint-5" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    os.utime(folder / "config.json", ns=(1, 1))
    assert revision(folder) == before
