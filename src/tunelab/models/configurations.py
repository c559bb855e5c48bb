"""Configurations that ship with the package: of the embedded models, and the dimensions of well-known ones, so that
planning needs no network. known/OWNER--NAME.json is what AutoConfig takes; totals are checked in tests/models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EMBEDDED = {"tunelab/tiny": HERE / "tiny" / "causal", "tunelab/tiny-seq2seq": HERE / "tiny" / "seq2seq"}
KNOWN = HERE / "known"

SHORT_NAMES = {
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "t5-small": "google-t5/t5-small",
}
"""Names from before the hub had owners; it still forwards them."""


def known_names() -> list[str]:
    """Hub ids, sorted."""
    return sorted(path.stem.replace("--", "/") for path in KNOWN.glob("*.json"))


def read_known(name: str) -> dict[str, Any] | None:
    """The configuration of a well-known hub id; None for any other."""
    path = KNOWN / f"{SHORT_NAMES.get(name, name).replace('/', '--')}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
