"""What reading a folder's tokenizer needs beside transformers: transformers names whatever it tried last."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from tunelab.errors import ModelError

SENTENCEPIECE = ("*.model", "*.spm")
LIBRARIES = {"sentencepiece": ("sentencepiece", "google.protobuf"), "tiktoken": ("tiktoken",)}
"""Extra of this package -> what it brings."""
_RANK = re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n")
"""A line of tiktoken's files; LLaMA 3's own `tokenizer.model` is one."""


def check_libraries(folder: Path, *, model: str) -> None:
    """Where transformers could not read a tokenizer.

    Raises:
        ModelError: its file is of a kind whose library is not installed.
    """
    if (folder / "tokenizer.json").exists():
        return
    for path in sorted(path for pattern in (*SENTENCEPIECE, "*.tiktoken") for path in folder.glob(pattern)):
        with path.open("rb") as file:
            extra = "tiktoken" if _RANK.match(file.read(4096)) else "sentencepiece"
        missing = [_package(name) for name in LIBRARIES[extra] if not _is_there(name)]
        if missing:
            raise ModelError(
                f"model '{model}': its tokenizer is a file of {extra} ({path.name}), and {' and '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} not installed: pip install 'tunelab[{extra}]'"
            )


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def _package(module: str) -> str:
    return {"google.protobuf": "protobuf"}.get(module, module)
