"""bitsandbytes as it computes on CPUs without AVX-512: with that, 0.50.2 repacks 4-bit weights after a pass without
gradients, and gives rows that end within a block of 64 the scale of another block. On other CPUs nothing changes."""

import copy

import pytest
import torch


def mend(monkeypatch: pytest.MonkeyPatch) -> None:
    import bitsandbytes
    from bitsandbytes import functional
    from bitsandbytes.nn import modules

    theirs = functional.dequantize_4bit

    def dequantize_4bit(codes: torch.Tensor, state, *others, **more):
        if others or more or codes.device.type != "cpu" or state.shape[-1] % state.blocksize == 0:
            return theirs(codes, state, *others, **more)
        one_row = copy.copy(state)
        one_row.shape = torch.Size([1, 2 * codes.numel()])
        weight = theirs(codes.reshape(-1, 1), one_row).reshape(-1)[: state.shape.numel()].view(state.shape)
        return weight.t() if codes.shape[0] == 1 else weight  # as theirs: codes that lie transposed

    def matmul_4bit(x: torch.Tensor, codes: torch.Tensor, quant_state, bias: torch.Tensor | None = None):
        weight = dequantize_4bit(codes.data.view(-1, 1), quant_state).to(x.dtype)
        return torch.nn.functional.linear(x, weight, bias)

    monkeypatch.setattr(bitsandbytes, "matmul_4bit", matmul_4bit)
    monkeypatch.setattr(modules, "has_avx512bf16", lambda: False)
    monkeypatch.setattr(functional, "dequantize_4bit", dequantize_4bit)
