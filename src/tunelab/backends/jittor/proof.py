"""`python -m tunelab.backends.jittor.proof [kernels]`: that Jittor computes, by a value that only it can print.

With `kernels` a small model of either kind is trained and asked for texts, so that what it needs is compiled.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np

GPT2 = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 128}
DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")


def main() -> None:
    from tunelab.backends.jittor.framework import jt, num_kernels

    importlib.import_module("tunelab.launch.worker")  # with all that a run imports: packages that do not fit end here
    product = jt.matmul(jt.array(np.full((2, 3), 2.0, np.float32)), jt.ones((3, 2)))
    said = f"TUNELAB_JITTOR {product.numpy()[1, 1]:.1f}, Jittor {jt.__version__}, numpy {np.__version__}"
    if sys.argv[1:] == ["kernels"]:
        _compile()
        said += f", {num_kernels()} kernels"
    print(said, flush=True)


def _compile() -> None:
    from tunelab.backends.jittor.architecture import architecture, shapes
    from tunelab.backends.jittor.network import Network
    from tunelab.backends.jittor.weights import read_model
    from tunelab.catalogue import load
    from tunelab.config.schema import ModelSource
    from tunelab.models.load import load_text, locate, read_configuration

    full, lora = load("methods", "full"), load("methods", "lora")
    source = ModelSource(name="tunelab/tiny")
    located = locate(source)
    tokenizer = load_text(source, located).tokenizer
    configuration: Any = read_configuration(source)
    llama = architecture(source, configuration)
    facts = {**GPT2, "vocab_size": llama.vocabulary}
    still, dropping = (architecture(source, {**facts, **dict.fromkeys(DROPOUTS, share)}) for share in (0.0, 0.1))
    draw = np.random.default_rng(0)
    weights = {name: draw.normal(0, 0.02, shape).astype(np.float32) for name, shape in shapes(still).items()}
    parts = lora(rank=2, dropout=0.1, targets=("c_attn.q", "c_attn.v"))
    for each, values, methods in (
        (llama, read_model(located.folder, llama), (full(), lora(rank=2), lora(rank=2, dropout=0.1))),
        (still, weights, (full(), lora(rank=2))),
        (dropping, weights, (parts,)),
    ):
        for method in methods:
            _exercise(Network(each, values), method, source=source, located=located, tokenizer=tokenizer)


def _exercise(network: Any, method: Any, *, source: Any, located: Any, tokenizer: Any) -> None:
    from tunelab.backends.jittor.session import JittorSession
    from tunelab.config.run import RunBatch, RunConfig
    from tunelab.config.schema import (
        Budget,
        Checkpoint,
        DataSettings,
        Generation,
        Loss,
        Optimizer,
        Schedule,
        Validation,
    )
    from tunelab.records import Batch, TokenRow

    run = RunConfig(
        id="", backend="jittor", task="", task_options={}, seed=0, method={}, model=source, model_revision="",
        data_revision="", precision="fp32", threads=1, activation_checkpointing=False, budget=Budget(steps=1),
        batch=RunBatch(), data=DataSettings(), optimizer=Optimizer(weight_decay=0.1), schedule=Schedule(),
        loss=Loss(label_smoothing=0.1), validation=Validation(), generation=Generation(), checkpoint=Checkpoint(),
    )  # fmt: skip
    trained = JittorSession(network, method, run, located=located, tokenizer=tokenizer, notes=[])
    rows = [TokenRow(n, np.arange(2, 14 + n, dtype=np.int32), np.arange(12 + n) > 5) for n in range(3)]
    for batch in (Batch(tuple(rows)), Batch(tuple(rows[:1]))):
        trained.evaluate([batch])
        trained.accumulate(batch, denominator=10, last=True)
        trained.accumulate(batch, denominator=10, last=True)
        trained.update(learning_rate=1e-4, max_norm=1.0)
    for beams in (1, 2):
        settings = Generation(beams=beams, max_new_tokens=4)
        trained.generate([row.ids for row in rows], settings, progress=lambda decoded: None)
        trained.generate([rows[0].ids], settings, progress=lambda decoded: None)


if __name__ == "__main__":
    main()
