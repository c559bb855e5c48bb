"""The floor of a step: the floating-point operations that must be done, over the rate of products at their shapes.

Counted: forward products of all linear layers for every real token, gradients of their inputs where something is
trained before them, gradients of trained matrices, adapters, attention over what a causal row sees, and the output head
at supervised positions only. Not counted: softmax, norms, activations, optimizer, GaLore's projections.
"""
# M rows of a product, I in features, O out features, R rank, S supervised positions

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from side_by_side.prepare import read_steps
from side_by_side.workloads import Workload

FIRST_INPUTS = re.compile(r"(^|\.)(q|k|v|q_proj|k_proj|v_proj|c_attn)$")
"""Layers that read a block's input; in the first block nothing trained lies below them."""
FIRST_BLOCK = re.compile(r"(layers|h|block)\.0\.(self_attn|attn|layer\.0\.SelfAttention)\.")


class Product(NamedTuple):
    """A matrix product of M x I by I x O."""

    rows: int
    inputs: int
    outputs: int

    @property
    def operations(self) -> int:
        return 2 * self.rows * self.inputs * self.outputs


def floor_of(
    model: Path, workload: Workload, method: dict[str, Any], place: Path, *, warm_up: int, precision: str
) -> dict[str, Any]:
    """Of the steady steps together: operations, the seconds that they would take here, and the rates (GFLOP/s) of the
    mean step's products, each measured whole."""
    steps = read_steps(place)[warm_up:]
    layers = _layers(model)
    products = _products(layers, workload, method, _mean_step(steps))
    rates = {product: _rate(product, precision) for product in products}
    operations = sum(count * product.operations for product, count in products.items()) * len(steps)
    seconds = sum(count * product.operations / rates[product] for product, count in products.items()) * len(steps)
    attention = sum(_attention(layers, row) for step in steps for row in step)
    seconds += attention / (operations / seconds)  # at the mean rate of the other products
    return {
        "operations": operations + attention,
        "seconds": seconds,
        "gflops": {" x ".join(map(str, product)): round(rate / 1e9, 1) for product, rate in rates.items()},
    }


class Tokens(NamedTuple):
    """Of the mean step."""

    sources: int
    """What a decoder reads, or an encoder."""
    written: int
    """What a decoder reads."""
    supervised: int


def _mean_step(steps: list[list[dict[str, Any]]]) -> Tokens:
    rows = [row for step in steps for row in step]
    sums = (
        sum(len(row["input_ids"]) for row in rows),
        sum(len(row["labels"]) for row in rows),
        sum(label != -100 for row in rows for label in row["labels"]),
    )
    return Tokens(*(round(number / len(steps)) for number in sums))


class Layers(NamedTuple):
    linear: dict[str, tuple[int, int]]
    """In and out features by name, the head not among them."""
    head: tuple[int, int]
    attention_width: int
    num_attentions: int
    """Of a decoder; an encoder's come beside it."""
    encoder_decoder: bool


def _layers(model: Path) -> Layers:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM
    from transformers.pytorch_utils import Conv1D

    configuration = AutoConfig.from_pretrained(model)
    automatic = AutoModelForSeq2SeqLM if configuration.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        network = automatic.from_config(configuration)
    head = network.get_output_embeddings()
    linear = {}
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            linear[name] = (module.in_features, module.out_features)
        elif isinstance(module, Conv1D):
            linear[name] = (module.nx, module.nf)
    heads = configuration.num_attention_heads
    size = getattr(configuration, "head_dim", None) or getattr(configuration, "d_kv", None)
    width = heads * (size or configuration.hidden_size // heads)
    return Layers(
        linear, (head.in_features, head.out_features), width, configuration.num_hidden_layers,
        bool(configuration.is_encoder_decoder),
    )  # fmt: skip


def _products(layers: Layers, workload: Workload, method: dict[str, Any], step: Tokens) -> Counter[Product]:
    """Of one step."""
    (name,) = method
    whole, rank = name in ("full", "galore"), method[name].get("rank", 8)
    targets = method[name].get("targets", "all-linear")
    found: Counter[Product] = Counter()
    for layer, (inputs, outputs) in layers.linear.items():
        rows = step.sources if layer.startswith("encoder.") else step.written
        if re.search(r"EncDecAttention\.(k|v)$", layer):
            rows = step.sources
        lowest = bool(FIRST_INPUTS.search(layer) and FIRST_BLOCK.search(layer)) and not whole
        plain = Product(rows, inputs, outputs)
        found[plain] += 1
        found[Product(rows, outputs, inputs)] += not lowest
        found[Product(inputs, rows, outputs)] += whole
        if not whole and (targets == "all-linear" or layer.rsplit(".", 1)[-1] in targets):
            found[Product(rows, inputs, rank)] += 2  # forward, and A's gradient
            found[Product(rows, rank, outputs)] += 3  # forward, B's gradient, the gradient of what B reads
            found[Product(rows, rank, inputs)] += not lowest
    width, vocabulary = layers.head
    found[Product(step.supervised, width, vocabulary)] += 1
    found[Product(step.supervised, vocabulary, width)] += 1
    found[Product(width, step.supervised, vocabulary)] += whole
    return +found


def _attention(layers: Layers, row: dict[str, Any]) -> int:
    """Scores and sums of one row, forward and twice that backward; causal, and a packed text sees itself alone."""
    length, sources = len(row["labels"]), len(row["input_ids"])
    edges = [*(row.get("starts") or [0]), length]
    pairs = sum((stop - start) * (stop - start + 1) // 2 for start, stop in itertools.pairwise(edges))
    if layers.encoder_decoder:
        pairs += sources * sources + length * sources
    return 3 * 2 * 2 * layers.attention_width * pairs * layers.num_attentions


def _rate(product: Product, precision: str) -> float:
    """Operations a processor second of the best of a few products, as torch computes them with the setting in force."""
    import torch
    from torch.nn import functional as F

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    rows, inputs, outputs = product
    left, right = torch.randn(rows, inputs, dtype=dtype), torch.randn(outputs, inputs, dtype=dtype)
    best, spent = float("inf"), 0.0
    with torch.no_grad():
        F.linear(left, right)
        while spent < 0.15:
            began = time.process_time()
            F.linear(left, right)
            taken = time.process_time() - began
            best, spent = min(best, taken), spent + max(taken, 1e-4)
    return product.operations / max(best, 1e-7)
