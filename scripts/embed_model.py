"""Puts a finished pretraining run into the package: `python scripts/embed_model.py RESULTS FOLDER NAME`.

    tunelab run OUT/causal.yaml --out RESULTS
    python scripts/embed_model.py RESULTS OUT/causal causal

FOLDER has the configuration and the tokenizer that build_tokenizers.py wrote; the weights are written in bf16.
"""

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

TINY = Path(__file__).resolve().parents[1] / "src" / "tunelab" / "models" / "tiny"
MIB = 1024**2


def main() -> None:
    results, folder, target = Path(sys.argv[1]), Path(sys.argv[2]), TINY / sys.argv[3]
    finished = [path.parent for path in results.glob("runs/full--*/result.json")]
    if len(finished) != 1:
        sys.exit(f"{results}: {len(finished)} finished runs of full; exactly one is wanted")
    weights = load_file(finished[0] / "model" / "model.safetensors")
    narrow = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in weights.items()}
    for path in folder.glob("*.json"):
        shutil.copy(path, target)
    save_file(narrow, target / "model.safetensors", metadata={"format": "pt"})
    count = sum(tensor.numel() for tensor in narrow.values())
    size = (target / "model.safetensors").stat().st_size / MIB
    print(f"{target / 'model.safetensors'}: {count:,} weights, {size:.1f} MiB")


if __name__ == "__main__":
    main()
