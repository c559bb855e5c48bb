"""What is compared: models, rows, methods, what the peer is, and the bars that are set."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Mode = Literal["fp32", "bf16", "shipped"]
"""fp32, bf16: both sides compute in that type with the same matmul setting. shipped: tunelab with `precision: auto`,
the peer as it comes: fp32 products of the setting 'highest', and whatever its documentation's recipe switches on."""
MODES: tuple[Mode, ...] = ("fp32", "bf16", "shipped")


class Shape(NamedTuple):
    """A model of random weights, by the fields of transformers' configuration of its type."""

    type: str
    tokenizer: Literal["gpt2", "llama2"]
    sizes: dict[str, Any]


class Rows(NamedTuple):
    """Examples of a step, and where they are from."""

    source: Literal["e2e", "gsm8k", "alpaca", "news", "stories", "restaurants"]
    examples: int = 16
    """A step."""
    max_length: int = 512

    def count(self, steps: int) -> int:
        """Rows that so many steps take; of texts that are packed, about 200 tokens each, more than enough."""
        if self.source == "stories":
            return steps * self.examples * (self.max_length // 100 + 1)
        return steps * self.examples


class Bars(NamedTuple):
    """What is aimed at: speed against the peer by mode, and memory against it. None: nothing was set."""

    fp32: float | None = None
    bf16: float | None = None
    shipped: float | None = None
    memory: float | None = None

    def of(self, mode: Mode) -> float | None:
        return {"fp32": self.fp32, "bf16": self.bf16, "shipped": self.shipped}[mode]


class Workload(NamedTuple):
    """One comparison: a line of the table for every mode."""

    name: str
    about: str
    shape: Shape
    rows: Rows
    ours: dict[str, Any]
    """A method as a study has it."""
    peer: str
    """What the other side is: a recipe of peer_sides.py, or 'ours' where two methods of tunelab are compared."""
    bars: Bars
    other: dict[str, Any] = {}
    """The method of the other side, where that is tunelab too."""
    optimizer: dict[str, Any] = {}
    """Of our study, where its defaults cannot be the peer's."""
    modes: tuple[Mode, ...] = MODES
    learning_rate: float = 2e-4
    equal_losses: bool = True
    """Whether both sides must have the same losses."""
    grouped: bool = False
    """Whether the rows of a step are of like lengths, as Trainer's `group_by_length` chooses them: for both sides."""

    @property
    def method(self) -> str:
        (name,) = self.ours
        return name


GPT2 = Shape(
    "gpt2", "gpt2",
    {"n_layer": 6, "n_embd": 384, "n_head": 6, "n_positions": 1024, "vocab_size": 50257, "resid_pdrop": 0.0,
     "embd_pdrop": 0.0, "attn_pdrop": 0.0},
)  # fmt: skip
LLAMA = Shape(
    "llama", "llama2",
    {"num_hidden_layers": 8, "hidden_size": 512, "intermediate_size": 1408, "num_attention_heads": 8,
     "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 2048, "tie_word_embeddings": False},
)  # fmt: skip
GEMMA = Shape(
    "gemma3_text", "gpt2",
    {"num_hidden_layers": 2, "hidden_size": 1152, "intermediate_size": 6912, "num_attention_heads": 4,
     "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 262144, "tie_word_embeddings": True},
)  # fmt: skip
FLAN_T5 = Shape(
    "t5", "llama2",
    {"num_layers": 8, "num_decoder_layers": 8, "d_model": 512, "d_ff": 1024, "d_kv": 64, "num_heads": 6,
     "vocab_size": 32128, "feed_forward_proj": "gated-gelu", "initializer_factor": 0.05,
     "tie_word_embeddings": False, "dropout_rate": 0.0},
)  # fmt: skip

EMBEDDED = Shape("embedded", "gpt2", {})
"""tunelab/tiny, which is trained: see generation.py."""

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LORA_8 = {"lora": {"rank": 8, "alpha": 32, "targets": ["c_attn"]}}
LORA_16 = {"lora": {"rank": 16, "alpha": 32, "targets": "all-linear"}}
FULL = {"full": {}}
GALORE: dict[str, Any] = {"galore": {"rank": 128, "update_gap": 200, "scale": 0.25, "projector": "svd"}}
GALORE_EPS = 1e-6
QLORA_16 = {"qlora": {"rank": 16, "alpha": 32, "targets": "all-linear"}}
ROSA = {"rosa": {"rank": 12, "density": 0.006, "warmup_steps": 2, "mask_examples": 8}}
GSM8K = Rows("gsm8k")

WORKLOADS: tuple[Workload, ...] = (
    Workload(
        "W1", "LoRA r8 on c_attn, GPT-2-shaped 6 x 384, vocabulary 50,257", GPT2, Rows("e2e"),
        LORA_8, "lora", Bars(2.3, 3.2, 5, 0.22),
    ),
    Workload(
        "W2", "LoRA r16 on all linear layers, LLaMA-shaped 8 x 512, vocabulary 32,000", LLAMA, GSM8K,
        LORA_16, "lora", Bars(2.8, 3.6, 6, 0.13),
    ),
    Workload(
        "W3", "LoRA r16 on all linear layers, Gemma-shaped 2 x 1152/6912, vocabulary 262,144", GEMMA,
        Rows("alpaca", examples=8, max_length=256), LORA_16, "lora", Bars(6, 8, 10, 0.05),
    ),
    Workload(
        "W1-grouped", "W1 with steps of like lengths, as Trainer's group_by_length makes them", GPT2, Rows("e2e"),
        LORA_8, "lora", Bars(), modes=("fp32",), grouped=True,
    ),
    Workload(
        "W2-grouped", "W2 with steps of like lengths, as Trainer's group_by_length makes them", LLAMA, GSM8K,
        LORA_16, "lora", Bars(), modes=("fp32",), grouped=True,
    ),
    Workload(
        "W4-full", "full fine-tuning with AdamW, LLaMA-shaped 8 x 512", LLAMA, GSM8K,
        FULL, "full", Bars(fp32=2), learning_rate=2e-5,
    ),
    Workload(
        "W4-galore", "GaLore (rank 128, gap 200) against galore-torch, LLaMA-shaped 8 x 512", LLAMA, GSM8K,
        GALORE, "galore", Bars(fp32=2), learning_rate=1e-4,
        optimizer={"eps": GALORE_EPS, "clip": None},
    ),
    Workload(
        "W4-galore-full", "GaLore (rank 128, gap 200) against full fine-tuning, both tunelab's, LLaMA-shaped 8 x 512",
        LLAMA, GSM8K, GALORE, "ours", Bars(fp32=0.87, memory=0.75), other=FULL, learning_rate=2e-5, modes=("fp32",),
        equal_losses=False,
    ),
    Workload(
        "W5-qlora", "QLoRA r16 on all linear layers against PEFT and bitsandbytes, LLaMA-shaped 8 x 512", LLAMA, GSM8K,
        QLORA_16, "qlora", Bars(fp32=2.5, shipped=4, memory=0.2),
    ),
    Workload(
        "W5-rosa", "RoSA (rank 12, density 0.006) against LoRA r16, both tunelab's, LLaMA-shaped 8 x 512", LLAMA, GSM8K,
        ROSA, "ours", Bars(fp32=0.85), other=LORA_16, modes=("fp32",), equal_losses=False,
    ),
    Workload(
        "W6", "LoRA r16 on q and v, encoder-decoder shaped as flan-t5-small", FLAN_T5, Rows("news", examples=8),
        {"lora": {"rank": 16, "alpha": 32, "targets": ["q", "v"]}}, "seq2seq", Bars(fp32=2.5, shipped=4, memory=0.3),
    ),
    Workload(
        "W7-greedy", "500 prompts answered greedily by tunelab/tiny, against generate in batches of 16", EMBEDDED,
        Rows("restaurants", examples=500), {"beams": 1}, "generate", Bars(fp32=3), modes=("fp32", "shipped"),
        equal_losses=False,
    ),
    Workload(
        "W7-beam", "500 prompts answered by beams of 10, against generate in batches of 16", EMBEDDED,
        Rows("restaurants", examples=500), {"beams": 10}, "generate", Bars(fp32=2), modes=("fp32", "shipped"),
        equal_losses=False,
    ),
    Workload(
        "W8", "packed text, LoRA r16 on all linear layers, LLaMA-shaped 8 x 512, against TRL's packing", LLAMA,
        Rows("stories", examples=8), LORA_16, "packed", Bars(fp32=1.8, shipped=3, memory=0.4), equal_losses=False,
    ),
)  # fmt: skip


def named(names: list[str]) -> list[Workload]:
    """Those of the names, where W4 stands for all that begin so; all where none is named."""
    if not names:
        return list(WORKLOADS)
    exact = {one.name for one in WORKLOADS}
    found = [
        one
        for one in WORKLOADS
        if any(one.name == name or (name not in exact and one.name.startswith(f"{name}-")) for name in names)
    ]
    unknown = [name for name in names if not any(f"{one.name}-".startswith(f"{name}-") for one in WORKLOADS)]
    if unknown:
        known = ", ".join(one.name for one in WORKLOADS)
        raise SystemExit(f"no workload is called {unknown[0]!r}; there are {known}")
    return found


SMALL = {
    "gpt2": {"n_layer": 2, "n_embd": 64, "n_head": 2, "vocab_size": 500},
    "llama": {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2,
              "num_key_value_heads": 2, "vocab_size": 500},
    "gemma3_text": {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2,
                    "head_dim": 32, "vocab_size": 500},
    "t5": {"num_layers": 2, "num_decoder_layers": 2, "d_model": 64, "d_ff": 128, "d_kv": 32, "num_heads": 2,
           "vocab_size": 500},
}  # fmt: skip


def tiny(workload: Workload) -> Workload:
    """The same with a model that a test trains in a second, on generated rows; of generation few prompts."""
    if workload.shape.type == "embedded":
        return workload._replace(rows=workload.rows._replace(examples=24))
    shape = workload.shape._replace(sizes={**workload.shape.sizes, **SMALL[workload.shape.type]})
    small = {"galore": {"rank": 8}}
    methods = [
        {name: {**options, **small.get(name, {})} for name, options in method.items()}
        for method in (workload.ours, workload.other)
    ]
    return workload._replace(shape=shape, ours=methods[0], other=methods[1], rows=workload.rows._replace(examples=4))
