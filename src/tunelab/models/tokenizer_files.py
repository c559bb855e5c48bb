"""What reading a folder's tokenizer needs beside transformers: transformers names whatever it tried last."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tunelab.errors import ModelError
from tunelab.files import write_atomically

SENTENCEPIECE = ("*.model", "*.spm")
LIBRARIES = {"sentencepiece": ("sentencepiece", "google.protobuf"), "tiktoken": ("tiktoken",)}
"""Extra of this package -> what it brings."""
_RANK = re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n")
"""A line of tiktoken's files; LLaMA 3's own `tokenizer.model` is one."""


def check_libraries(folder: Path, *, model: str) -> None:
    """Where transformers could not read a tokenizer.

    Raises:
        ModelError: its file is of a kind whose library is not installed, is damaged, or is not there.
    """
    for path in (folder / "tokenizer.json", folder / "tokenizer_config.json"):
        if path.exists() and not _is_mapping(path):
            raise ModelError(f"model '{model}': {path.name} is damaged; save or get the tokenizer again")
    if (folder / "tokenizer.json").exists():
        return
    if not any(path for pattern in (*SENTENCEPIECE, "*.tiktoken", "vocab.*") for path in folder.glob(pattern)):
        rule = "tokenizer.json, vocab.json and merges.txt, vocab.txt, or tokenizer.model"
        raise ModelError(f"model '{model}': no tokenizer in {folder} ({rule}); save the tokenizer there too")
    for path in sorted(path for pattern in (*SENTENCEPIECE, "*.tiktoken") for path in folder.glob(pattern)):
        with path.open("rb") as file:
            extra = "tiktoken" if _RANK.match(file.read(4096)) else "sentencepiece"
        missing = [_package(name) for name in LIBRARIES[extra] if not _is_there(name)]
        if missing:
            raise ModelError(
                f"model '{model}': its tokenizer is a file of {extra} ({path.name}), and {' and '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} not installed: pip install 'tunelab[{extra}]'"
            )


def write_pieces(base: Path, tokenizer: Any, folder: Path) -> None:
    """A base's sentence pieces beside weights that leave, for readers that want their scores: llama.cpp's converter.
    It reads the tokens that were added to them where transformers 4 wrote them, and transformers 5 writes them there no
    more. transformers itself reads tokenizer.json and none of this."""
    paths = sorted(path for pattern in SENTENCEPIECE for path in base.glob(pattern) if path.is_file())
    pieces = [path for path in paths if not _RANK.match(path.read_bytes()[:4096])]
    for path in pieces:
        shutil.copy(path, folder)
    config = folder / "tokenizer_config.json"
    if not pieces or not config.is_file():
        return
    facts = json.loads(config.read_text(encoding="utf-8"))
    flags = ("lstrip", "normalized", "rstrip", "single_word", "special")
    facts["added_tokens_decoder"] = {
        str(number): {"content": token.content, **{flag: getattr(token, flag) for flag in flags}}
        for number, token in sorted(tokenizer.added_tokens_decoder.items())
    }
    write_atomically(config, json.dumps(facts, indent=2, ensure_ascii=False, sort_keys=True) + "\n")


def _is_mapping(file: Path) -> bool:
    try:
        return isinstance(json.loads(file.read_bytes()), dict)
    except (OSError, ValueError, RecursionError):
        return False


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def _package(module: str) -> str:
    return {"google.protobuf": "protobuf"}.get(module, module)


def name_tokens(tokenizer: Any, tokens: Iterable[str], *, model: str) -> None:
    """Add a study's own: each is one token wherever it stands, and is read and written as any other.

    Raises:
        ModelError: the tokenizer has one of them already.
    """
    from tokenizers import AddedToken

    known = tokenizer.get_vocab()
    if there := [token for token in tokens if token in known]:
        raise ModelError(f"model.tokens: '{there[0]}' is a token of '{model}' already; leave it out")
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in tokens])
