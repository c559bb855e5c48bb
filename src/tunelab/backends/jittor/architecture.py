"""Which models there are here, from a configuration alone: names and shapes of their weights, and what is trained.

GPT-2: learned positions, LayerNorm, GELU-new, one product for query, key and value, weights as (in, out). LLaMA,
Mistral and Qwen2: rotary positions, RMSNorm, SwiGLU, fewer heads for keys and values, weights as (out, in).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tunelab.config.schema import ModelSource
from tunelab.contracts import Method
from tunelab.errors import ConfigError, ModelError
from tunelab.records import LowRank, ParameterCount

LLAMA_LIKE = ("llama", "mistral", "qwen2")
KNOWN = ("gpt2", *LLAMA_LIKE)
GELU_NEW = ("gelu_new", "gelu_pytorch_tanh")

Shape = tuple[int, ...]


class Dropouts(NamedTuple):
    """The model's own shares, while it is trained."""

    embedding: float
    attention: float
    residual: float


class Architecture(NamedTuple):
    kind: str
    """As config.json has it."""
    vocabulary: int
    hidden: int
    inner: int
    num_layers: int
    heads: int
    kv_heads: int
    head_size: int
    eps: float
    tied: bool
    """Whether the output head is the embedding."""
    positions: int | None
    """Rows of GPT-2's table."""
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    windows: tuple[int | None, ...]
    """By layer: how many tokens back attention sees, itself included; None: all."""
    frequencies: tuple[float, ...]
    """Of rotary positions, head_size / 2 of them."""
    dropouts: Dropouts

    @property
    def transposed(self) -> bool:
        """Whether weights lie as (in, out)."""
        return self.kind == "gpt2"


def architecture(source: ModelSource, configuration: Mapping[str, Any]) -> Architecture:
    """
    Raises:
        ModelError: a model that is not here, or a variant of one.
    """
    from transformers import AutoConfig

    kind = str(configuration.get("model_type"))
    problems = [] if kind in KNOWN else [f"its model_type is {kind!r}"]
    if source.initialize == "random":
        problems.append("initialize: random draws its weights by torch")
    if source.tokens:
        problems.append("tokens: rows are added by torch")
    if not problems:
        options = {key: value for key, value in configuration.items() if key not in ("model_type", "architectures")}
        config = AutoConfig.for_model(kind, **options)
        problems += _gpt2_problems(config) if kind == "gpt2" else _llama_problems(config)
        if not problems:
            return _gpt2(config) if kind == "gpt2" else _llama(config, kind)
    rule = f"jittor computes pretrained {', '.join(KNOWN[:-1])} and {KNOWN[-1]} models of the usual kind"
    raise ModelError(f"model '{source.name}': {rule}; {', '.join(problems)}; take torch for it")


def _gpt2_problems(config: Any) -> Iterator[str]:
    if config.activation_function not in GELU_NEW:
        yield f"activation_function is {config.activation_function!r}"
    if config.add_cross_attention or config.scale_attn_by_inverse_layer_idx or not config.scale_attn_weights:
        yield "its attention is scaled otherwise, or looks at another model"


def _llama_problems(config: Any) -> Iterator[str]:
    if config.hidden_act != "silu":
        yield f"hidden_act is {config.hidden_act!r}"
    kind = _rope(config)["rope_type"]
    if kind not in ("default", "linear", "llama3"):
        yield f"rope_type is {kind!r}"


def _rope(config: Any) -> dict[str, Any]:
    found = getattr(config, "rope_parameters", None) or {}
    return {"rope_type": "default", "rope_theta": 10000.0, **found}


def _gpt2(config: Any) -> Architecture:
    return Architecture(
        kind="gpt2", vocabulary=config.vocab_size, hidden=config.n_embd, inner=config.n_inner or 4 * config.n_embd,
        num_layers=config.n_layer, heads=config.n_head, kv_heads=config.n_head,
        head_size=config.n_embd // config.n_head, eps=config.layer_norm_epsilon, tied=config.tie_word_embeddings,
        positions=config.n_positions, qkv_bias=True, output_bias=True, mlp_bias=True,
        windows=(None,) * config.n_layer, frequencies=(),
        dropouts=Dropouts(config.embd_pdrop, config.attn_pdrop, config.resid_pdrop),
    )  # fmt: skip


def _llama(config: Any, kind: str) -> Architecture:
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    bias = bool(getattr(config, "attention_bias", False))
    return Architecture(
        kind=kind, vocabulary=config.vocab_size, hidden=config.hidden_size, inner=config.intermediate_size,
        num_layers=config.num_hidden_layers, heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads or config.num_attention_heads, head_size=size, eps=config.rms_norm_eps,
        tied=config.tie_word_embeddings, positions=None, qkv_bias=bias or kind == "qwen2", output_bias=bias,
        mlp_bias=bool(getattr(config, "mlp_bias", False)), windows=_windows(config, kind),
        frequencies=tuple(_frequencies(_rope(config), size)), dropouts=Dropouts(0.0, config.attention_dropout, 0.0),
    )  # fmt: skip


def _windows(config: Any, kind: str) -> tuple[int | None, ...]:
    if kind == "mistral":
        return (config.sliding_window,) * config.num_hidden_layers
    slides = [each == "sliding_attention" for each in getattr(config, "layer_types", None) or ()]
    slides = slides or [False] * config.num_hidden_layers
    return tuple(config.sliding_window if each else None for each in slides)


def _frequencies(rope: Mapping[str, Any], size: int) -> list[float]:
    """Rotary frequencies (Su et al. 2021, arXiv:2104.09864), slowed down for longer texts: linear by one factor;
    llama3 those of long waves by the factor, with a ramp between (Grattafiori et al. 2024, arXiv:2407.21783)."""
    found = 1.0 / float(rope["rope_theta"]) ** (np.arange(0, size, 2, dtype=np.float32) / size)
    if rope["rope_type"] == "linear":
        found = found / rope["factor"]
    if rope["rope_type"] == "llama3":
        whole, low, high = rope["original_max_position_embeddings"], rope["low_freq_factor"], rope["high_freq_factor"]
        waves = 2 * math.pi / found
        ramp = np.clip((whole / waves - low) / (high - low), 0.0, 1.0)
        found = (1 - ramp) * found / rope["factor"] + ramp * found
    return found.astype(np.float64).tolist()


# ------------------------------------------------------------------ weights by name


def layer_path(each: Architecture, number: int) -> str:
    return f"transformer.h.{number}" if each.kind == "gpt2" else f"model.layers.{number}"


def linear_layers(each: Architecture) -> dict[str, tuple[int, int]]:
    """Module path -> (out, in), the output head left out; in the order in which transformers has them."""
    query, pair = each.heads * each.head_size, each.kv_heads * each.head_size
    if each.kind == "gpt2":
        inside = {
            "attn.c_attn": (3 * each.hidden, each.hidden), "attn.c_proj": (each.hidden, each.hidden),
            "mlp.c_fc": (each.inner, each.hidden), "mlp.c_proj": (each.hidden, each.inner),
        }  # fmt: skip
    else:
        inside = {
            "self_attn.q_proj": (query, each.hidden), "self_attn.k_proj": (pair, each.hidden),
            "self_attn.v_proj": (pair, each.hidden), "self_attn.o_proj": (each.hidden, query),
            "mlp.gate_proj": (each.inner, each.hidden), "mlp.up_proj": (each.inner, each.hidden),
            "mlp.down_proj": (each.hidden, each.inner),
        }  # fmt: skip
    return {
        f"{layer_path(each, number)}.{name}": shape
        for number in range(each.num_layers)
        for name, shape in inside.items()
    }


def embedding(each: Architecture) -> str:
    return "transformer.wte.weight" if each.kind == "gpt2" else "model.embed_tokens.weight"


def shapes(each: Architecture) -> dict[str, Shape]:
    """Every weight, tied ones once, by the name that transformers gives it."""
    found: dict[str, Shape] = {embedding(each): (each.vocabulary, each.hidden)}
    if each.positions is not None:
        found["transformer.wpe.weight"] = (each.positions, each.hidden)
    for path, (outputs, inputs) in linear_layers(each).items():
        found[f"{path}.weight"] = (inputs, outputs) if each.transposed else (outputs, inputs)
        if _has_bias(each, path):
            found[f"{path}.bias"] = (outputs,)
    for number in range(each.num_layers):
        for norm in norms(each):
            found |= _norm(each, f"{layer_path(each, number)}.{norm}")
    found |= _norm(each, "transformer.ln_f" if each.kind == "gpt2" else "model.norm")
    if not each.tied:
        found["lm_head.weight"] = (each.vocabulary, each.hidden)
    return found


def norms(each: Architecture) -> tuple[str, str]:
    """Before attention, before the feed-forward part."""
    return ("ln_1", "ln_2") if each.kind == "gpt2" else ("input_layernorm", "post_attention_layernorm")


def _norm(each: Architecture, path: str) -> dict[str, Shape]:
    kinds = ("weight", "bias") if each.kind == "gpt2" else ("weight",)
    return {f"{path}.{kind}": (each.hidden,) for kind in kinds}


def _has_bias(each: Architecture, path: str) -> bool:
    last = path.rpartition(".")[2]
    if last in ("q_proj", "k_proj", "v_proj", "c_attn"):
        return each.qkv_bias
    return each.output_bias if last in ("o_proj",) else each.mlp_bias if ".mlp." in path else each.output_bias


# ------------------------------------------------------------------ what a method trains


def factors_of(each: Architecture, method: Method) -> dict[str, tuple[LowRank, ...]] | None:
    """By module path; None: the model's own weights are trained.

    Raises:
        ConfigError: options that do not fit the model, or that this back end has not.
    """
    if method.optimizer_kind != "adamw":
        raise ConfigError(f"optimizer: {method.optimizer_kind} needs torch; jittor has adamw")
    return method.low_rank(linear_layers(each), {"model_type": each.kind})


def count_changes(each: Architecture, method: Method | None) -> ParameterCount:
    """As Backend.count."""
    base = sum(math.prod(shape) for shape in shapes(each).values())
    if method is None:
        return ParameterCount(0, base, reached=0)
    factors = factors_of(each, method)
    if factors is None:
        return ParameterCount(base, base, reached=base)
    sizes = [(one.rank, one.rows.stop - one.rows.start, one.inputs) for of in factors.values() for one in of]
    added = sum(rank * (outputs + inputs) for rank, outputs, inputs in sizes)
    return ParameterCount(added, base + added, reached=sum(outputs * inputs for _, outputs, inputs in sizes))
