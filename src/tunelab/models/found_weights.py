"""Whether a model's files hold its weights: which files an index names, and what transformers says of the tensors that
it did not find, or did not use.

transformers draws missing weights at random and says so in a log. A base of which a layer is random is another model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelab.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

INDEX = "model.safetensors.index.json"
BUFFERS = re.compile(
    r"(^|\.)(rotary_emb\.inv_freq|inv_freq|attn\.bias|attn\.masked_bias|attention\.bias|position_ids)$"
)
"""Of older files: what a model computes by itself."""
NUM_NAMED = 3


def check_index(folder: Path, *, name: str) -> None:
    """transformers opens whatever file an index names, pickles too.

    Raises:
        ModelError: it names something else than a safetensors file that lies beside it, or cannot be read.
    """
    file = folder / INDEX
    if not file.exists():
        return
    try:
        named = set(json.loads(file.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelError(f"model '{name}': {INDEX} is no index of weights; it is damaged") from None
    for shard in sorted(map(str, named)):
        if not shard.endswith(".safetensors") or Path(shard).name != shard or "\\" in shard:
            rule = "only safetensors files in the same folder are read, and pickled weights never"
            raise ModelError(f"model '{name}': {INDEX} names {shard!r}; {rule}")
        if not (folder / shard).is_file():
            raise ModelError(f"model '{name}': {INDEX} names {shard}, which is not there; download the model again")


def check_found(model: nn.Module, said: Mapping[str, Iterable[Any]], *, name: str, note: Callable[[str], None]) -> None:
    """`said`: transformers' loading info. Tensors of modules that this model does not have (a vision tower, another
    task's head) are a note; one more value of a module that it has, or one more layer, is another model.

    Raises:
        ModelError: weights that no file holds, that have another shape, or that would be left out.
    """
    missing = sorted(said["missing_keys"])
    mismatched = sorted(each[0] if isinstance(each, tuple) else str(each) for each in said["mismatched_keys"])
    unused = sorted(key for key in said["unexpected_keys"] if not BUFFERS.search(key))
    left_out = [key for key in unused if _belongs(model, key)]
    rule = "its config.json and its weights are not of one model, or a file is damaged"
    for keys, what in (
        (missing, "are in none of its files"),
        (mismatched, "have another shape in its files"),
        (left_out, "are in its files and have no place in the model of its config.json"),
    ):
        if keys:
            raise ModelError(f"model '{name}': {len(keys)} of its weights {what} ({_named(keys)}); {rule}")
    if unused:
        rule = "tensors of its files are of modules that this model does not have"
        note(f"{len(unused)} {rule} ({_named(unused)}): unused")


def _belongs(model: nn.Module, key: str) -> bool:
    """Whether a tensor without a place is of a module that the model has, or of one more in a list of its modules."""
    modules = dict(model.named_modules())
    prefix = getattr(model, "base_model_prefix", "")
    for path in (key, f"{prefix}.{key}"):  # files of the bare model leave its own name out
        steps = path.split(".")
        depth = next(end for end in range(len(steps) - 1, -1, -1) if ".".join(steps[:end]) in modules)
        if depth and (depth == len(steps) - 1 or steps[depth].isdecimal()):
            return True
    return False


def _named(keys: list[str]) -> str:
    more = f" and {len(keys) - NUM_NAMED} more" if len(keys) > NUM_NAMED else ""
    return ", ".join(keys[:NUM_NAMED]) + more
