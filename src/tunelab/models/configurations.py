"""Configurations that ship with the package: of the embedded models, and the dimensions of well-known ones, so that
planning needs no network. known/OWNER--NAME.json is what AutoConfig takes; totals are checked in tests/models."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tunelab.data.kept import is_known, looked_up
from tunelab.near import near

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


OWNERLESS = re.compile(
    r"(albert|bert|camembert|ctrl|distilbert|distilgpt2|distilroberta|gpt2|openai-gpt|roberta|t5|transfo-xl|xlm|xlnet)"
    r"(-\w+)*"
)
"""Hub ids from before the hub had owners."""


def doubt(name: str) -> str:
    """Why `name`, which is no folder, is hardly a hub id; empty where it may be one."""
    if "/" in name or OWNERLESS.fullmatch(name):
        return ""
    whole = {known.partition("/")[2]: known for known in [*EMBEDDED, *known_names()]}
    whole |= {short: short for short in SHORT_NAMES}
    match = near(name, whole)
    meant = f" Did you mean '{whole.get(match, match)}'?" if match else ""
    return f"no folder here, and a hub id is owner/name.{meant}"


def known_names() -> list[str]:
    """Hub ids, sorted."""
    return sorted(path.stem.replace("--", "/") for path in KNOWN.glob("*.json"))


def read_known(name: str) -> dict[str, Any] | None:
    """The configuration of a well-known hub id; None for any other."""
    path = KNOWN / f"{SHORT_NAMES.get(name, name).replace('/', '--')}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def reads_sources(configuration: dict[str, Any]) -> bool:
    """Whether the model has an encoder, whose rows are a prompt and a target apart."""
    if "is_encoder_decoder" in configuration:
        return bool(configuration["is_encoder_decoder"])

    def asked() -> bool:
        from transformers import AutoConfig

        return bool(AutoConfig.for_model(configuration["model_type"]).is_encoder_decoder)

    return looked_up(_sources_key(configuration), asked)


def knows_sources(configuration: dict[str, Any]) -> bool:
    """Whether transformers need not be imported to answer that."""
    return "is_encoder_decoder" in configuration or is_known(_sources_key(configuration))


def _sources_key(configuration: dict[str, Any]) -> str:
    return f"reads sources: {configuration['model_type']}"
