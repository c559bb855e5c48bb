"""Puts a finished pretraining run's weights into the package as bf16 safetensors.

    tunelab run pretrain-tiny
    python scripts/embed_model.py results/pretrain-tiny src/tunelab/models/tiny/causal

Configuration and tokenizer are in that folder already (scripts/build_tokenizers.py); only the weights are written.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

MIB = 1024**2


def main() -> None:
    results, target = Path(sys.argv[1]), Path(sys.argv[2])
    finished = [path.parent for path in results.glob("runs/full--*/result.json")]
    if len(finished) != 1:
        sys.exit(f"{results}: {len(finished)} finished runs of full; exactly one is wanted")
    weights = load_file(finished[0] / "model" / "model.safetensors")
    narrow = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in weights.items()}
    save_file(narrow, target / "model.safetensors", metadata={"format": "pt"})
    count = sum(tensor.numel() for tensor in narrow.values())
    size = (target / "model.safetensors").stat().st_size / MIB
    print(f"{target / 'model.safetensors'}: {count:,} weights, {size:.1f} MiB")


if __name__ == "__main__":
    main()
