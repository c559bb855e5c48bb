"""What the evaluation phase holds while texts are generated: keys and values of all their tokens, a plain copy of the
weights, scores. A formula, since which texts go together is known only while they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunelab.config.run import RunConfig
from tunelab.contracts import Method
from tunelab.entries import HOLES, Forecast, Parts
from tunelab.models.limits import generation_tokens
from tunelab.models.load import read_configuration
from tunelab.records import RowSize
from tunelab.study.planning.plan import parts

KEYS_AND_VALUES, COPY, SCORES = "keys and values", "plain weights", "scores"
ROOM = 32
"""As models/growing_cache.py has it, which imports torch."""
SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}
NAMES = {
    "blocks": ("num_decoder_layers", "decoder_layers", "num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "decoder_attention_heads", "n_head", "num_heads"),
    "key heads": ("num_key_value_heads",),
    "head": ("head_dim", "d_kv"),
    "vocabulary": ("vocab_size",),
}
"""Fields of configurations."""


def generates(run: RunConfig) -> bool:
    """Whether a metric of its task reads texts."""
    return any(metric.reads == "text" for metric in parts(run).metrics.values())


def with_texts(
    told: Forecast, run: RunConfig, method: Method, rows: Sequence[RowSize], *, num_texts: int | None = None
) -> Forecast:
    """The forecast of a run that also generates. `num_texts`: of the test split; None: as many as go together.

    Prompts are as long as those of `rows`, whose tokens are learned behind them; where all are learned, no data was
    read, and prompts are as long as a row."""
    held = _held(told, run, method, rows, num_texts=num_texts)
    base = {name: size for name, size in told.evaluate.items() if name in told.save and name != HOLES}
    return told.model_copy(update={"texts": {**base, **held}}) if held else told


def _held(told: Forecast, run: RunConfig, method: Method, rows: Sequence[RowSize], *, num_texts: int | None) -> Parts:
    found = read_configuration(run.model) or {}
    shape = {name: _first(found, names) for name, names in NAMES.items()}
    if not all(shape[name] for name in ("blocks", "hidden", "heads", "vocabulary")):
        return {}
    width = (shape["key heads"] or shape["heads"]) * (shape["head"] or shape["hidden"] // shape["heads"])
    sources = max(row[2] for row in rows)
    prompt = sources or max(ids - learned or ids for ids, learned, _ in rows)
    new, beams = run.generation.max_new_tokens, run.generation.beams
    places = max(1, generation_tokens(run.batch.max_tokens, on_cpu=told.device == "cpu") // ((prompt + new) * beams))
    places = beams * min(places, num_texts or places)
    own = new if sources or beams > 1 else prompt + new  # beams of a prompt share its keys
    kept = places * (own + max(ROOM, own // 4))
    kept += (places // beams) * prompt if sources or beams > 1 else 0
    folded = method.base_storage == "float"
    size = 4 if folded or run.precision == "fp32" else 2
    copied = COPY if folded and not _is_plain(told) else ""
    return {
        KEYS_AND_VALUES: 2 * shape["blocks"] * width * kept * size,
        SCORES: 2 * 4 * places * shape["vocabulary"],
        **({COPY: 4 * _numbers(told)} if copied else {}),
    }


def _first(found: Mapping[str, Any], names: Sequence[str]) -> int:
    """0: it has none of them."""
    return next((int(found[name]) for name in names if found.get(name)), 0)


def _is_plain(told: Forecast) -> bool:
    """Whether all weights are trained ones in fp32: nothing is folded into them, and nothing widened."""
    kinds = [name for name, size in told.load.items() if name.startswith("weights") and size > 2**20]
    return all(name == "weights, trained, float32" for name in kinds)


def _numbers(told: Forecast) -> int:
    kinds = [(name.rpartition(" ")[2], size) for name, size in told.load.items() if name.startswith("weights")]
    return sum(size // SIZES[kind] for kind, size in kinds if kind in SIZES)
