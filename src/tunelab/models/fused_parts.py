"""Parts of a fused projection: which rows of its weight are query, key, value, gate or up. No framework is imported.

A part is named after its layer: `c_attn.q`. Rows are those of the weight as (O, I), which are the layer's outputs.
Checked against the models' own forward passes, row by row, in tests/models/test_fused_parts.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any

from tunelab.errors import ConfigError

THIRDS = {("gpt2", "c_attn"), ("openai-gpt", "c_attn"), ("mpt", "Wqkv")}
"""Model type and leaf of layers of three equal parts: query, key, value."""
GROUPED = {("phi3", "qkv_proj")}
"""Query heads, then as many key heads as value heads."""
HALVES = {("phi3", "gate_up_proj"), ("glm", "gate_up_proj"), ("glm4", "gate_up_proj")}
SEVERAL_LAYOUTS = {("falcon", "query_key_value"), ("gpt_bigcode", "c_attn")}
"""With `multi_query` query heads, then one key head and one value head; else they take turns."""
INTERLEAVED = {("gpt_neox", "query_key_value"), ("bloom", "query_key_value"), ("persimmon", "query_key_value"),
               ("codegen", "qkv_proj"), *SEVERAL_LAYOUTS}  # fmt: skip
"""Query, key and value take turns, head by head or in other blocks: no part is one run of rows."""


def parts(config: Mapping[str, Any], leaf: str, outputs: int) -> dict[str, slice] | None:
    """Part -> its rows, in their order. None: no parts of such a layer are known.

    Args:
        config: the model's configuration, as config.json has it.
        leaf: the end of the layer's module path.
        outputs: O, how many rows its weight has.
    """
    kind = (config.get("model_type"), leaf)
    if kind in THIRDS and outputs == 3 * (_width(config) or outputs / 3):
        return _in_order({"q": outputs // 3, "k": outputs // 3, "v": outputs // 3})
    if kind in GROUPED:
        queries = config["num_attention_heads"]
        return _of_heads(queries, config.get("num_key_value_heads") or queries, outputs)
    if kind in SEVERAL_LAYOUTS and config.get("multi_query", True) and not config.get("new_decoder_architecture"):
        return _of_heads(config.get("n_head") or config["num_attention_heads"], 1, outputs)
    if kind in HALVES:
        return _in_order({"gate": outputs // 2, "up": outputs // 2})
    return None


def choose(
    config: Mapping[str, Any], outputs: Mapping[str, int], names: tuple[str, ...]
) -> dict[str, dict[str, slice]]:
    """Module path -> the parts of that layer that are named, in the order of its rows; no part: the whole layer.

    Args:
        outputs: module path -> O, of every linear layer.
        names: each the end of a module path at a dot, or such an end with a part behind it.

    Raises:
        ConfigError: nothing is named so; a layer is named whole, and one of its parts too.
    """
    whole: set[str] = set()
    found: dict[str, set[str]] = {}
    for name in names:
        layers = [path for path in outputs if ends_with(path, name)]
        whole.update(layers)
        if not layers:
            part = name.rpartition(".")[2]
            for path in _layers_with_part(config, outputs, name):
                found.setdefault(path, set()).add(part)
    if both := [path for path in found if path in whole]:
        leaf = _leaf(both[0])
        listed = ", ".join(f"{leaf}.{part}" for part in sorted(found[both[0]]))
        raise ConfigError(f"targets: {leaf} is named whole, and so is a part of it ({listed}); name one or the other")
    return {
        path: {
            part: rows
            for part, rows in (parts(config, _leaf(path), outputs[path]) or {}).items()
            if part in found.get(path, ())
        }
        for path in outputs
        if path in whole or path in found
    }


def ends_with(path: str, name: str) -> bool:
    """Whether a module path ends so, at a dot."""
    return path == name or path.endswith(f".{name}")


def _layers_with_part(config: Mapping[str, Any], outputs: Mapping[str, int], name: str) -> list[str]:
    layer, _, part = name.rpartition(".")
    paths = [path for path in outputs if layer and ends_with(path, layer)]
    if not paths:
        there = ", ".join(dict.fromkeys(map(_leaf, outputs)))
        raise ConfigError(f"targets: no linear layer is named '{name}'; there are {there}")
    for path in paths:
        leaf = _leaf(path)
        known = parts(config, leaf, outputs[path])
        if known is None:
            raise ConfigError(f"targets: '{name}': {_why_none(config, path, outputs)}; name {leaf} as a whole")
        if part not in known:
            there = ", ".join(f"{leaf}.{each}" for each in known)
            raise ConfigError(f"targets: {leaf} has no part '{part}'; its parts are {there}")
    return paths


def _why_none(config: Mapping[str, Any], path: str, outputs: Mapping[str, int]) -> str:
    family, leaf = config.get("model_type"), _leaf(path)
    if (family, leaf) in INTERLEAVED:
        return f"in {leaf} of this {family} query, key and value take turns, so that none is one run of rows"
    fused = {_leaf(each): parts(config, _leaf(each), number) for each, number in outputs.items()}
    there = [f"{each}.{part}" for each, known in fused.items() for part in known or ()]
    return f"no parts of {path} of {family} are known" + (f", but {', '.join(there)}" if there else "")


def _of_heads(queries: int, keys: int, outputs: int) -> dict[str, slice]:
    head = outputs // (queries + 2 * keys)
    return _in_order({"q": queries * head, "k": keys * head, "v": keys * head})


def _in_order(sizes: dict[str, int]) -> dict[str, slice]:
    edges = pairwise(accumulate(sizes.values(), initial=0))
    return {part: slice(first, last) for part, (first, last) in zip(sizes, edges, strict=True)}


def _width(config: Mapping[str, Any]) -> int | None:
    """None: left to the family's default."""
    return config.get("n_embd") or config.get("hidden_size") or config.get("d_model")


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]
