"""nf4: what bitsandbytes computes, bit for bit; float weights are gone; what is left survives moves and copies."""

import copy
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

import tiny
from tunelab.config.schema import ModelSource
from tunelab.errors import ConfigError
from tunelab.models import quantise
from tunelab.models.load import load_model, locate
from tunelab.models.quantise import Nf4Linear, float_remarks, quantise_model, require_nf4
from tunelab.models.targets import linear_layers

SHAPES = [(64, 128), (48, 100), (32, 32), (300, 640), (7, 66)]
PUBLISHED_CODES = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip
"""Dettmers et al. 2023, appendix E."""


def linear(shape: tuple[int, int], dtype: torch.dtype = torch.float32) -> nn.Linear:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(shape[1], shape[0], dtype=dtype)
    layer.weight.data = torch.randn(shape, generator=generator).to(dtype)
    return layer


def theirs(layer: nn.Linear):
    """bitsandbytes' own layer with the same weight."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    made = Linear4bit(layer.in_features, layer.out_features, quant_type="nf4")
    made.support_avx512bf16_for_cpu = False  # otherwise it repacks the codes on some CPUs
    made.weight = Params4bit(layer.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4")
    return made.to("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_codes_scales_and_weights_are_bitsandbytes_own(shape, dtype):
    from bitsandbytes import functional

    layer = linear(shape, dtype)
    ours, reference = Nf4Linear(layer, transposed=False), theirs(layer).weight
    assert ours.codes.equal(reference.data)
    assert ours.scales.equal(reference.quant_state.absmax)
    assert ours.scales_of_scales.equal(reference.quant_state.state2.absmax)
    assert ours.offset.equal(reference.quant_state.offset)
    state = reference.quant_state
    state.shape = torch.Size((1, state.shape.numel()))  # else its AVX-512 code errs where a row ends within a block
    assert ours.dense(dtype).equal(functional.dequantize_4bit(reference.data, state).view(shape))


@pytest.mark.parametrize("shape", [*SHAPES, (33, 35), (5, 7), (96, 32), (32, 96)])
def test_weights_are_what_the_paper_says_the_codes_mean(shape):
    from bitsandbytes.functional import create_dynamic_map

    layer = Nf4Linear(linear(shape), transposed=False)
    packed = layer.codes.numpy().reshape(-1)
    codes = np.stack([packed >> 4, packed & 15], axis=1).reshape(-1)[: shape[0] * shape[1]]
    dynamic = create_dynamic_map().numpy()[layer.scales.numpy()]
    scales = dynamic * np.repeat(layer.scales_of_scales.numpy(), 256)[: len(dynamic)] + layer.offset.numpy()
    expected = np.array(PUBLISHED_CODES, dtype=np.float32)[codes] * np.repeat(scales, 64)[: len(codes)]
    np.testing.assert_allclose(layer.dense(torch.float32).numpy(), expected.reshape(shape), rtol=1e-6)


def test_conv1d_is_quantised_along_the_rows_of_its_transpose():
    layer = linear((96, 32))
    conv = Conv1D(96, 32)
    conv.weight.data, conv.bias = layer.weight.data.t().contiguous(), layer.bias
    ours, plain = Nf4Linear(conv, transposed=True), Nf4Linear(layer, transposed=False)
    assert ours.shape == (96, 32) and ours.codes.equal(plain.codes)
    back = ours.plain(ours.dense(torch.float32))
    assert isinstance(back, Conv1D) and back.weight.shape == (32, 96) and back.bias is conv.bias
    x = torch.randn(4, 32)
    assert torch.allclose(ours(x), back(x), atol=1e-6)


def test_output_and_input_gradient_are_those_of_the_dense_weight():
    layer = Nf4Linear(linear((48, 100)), transposed=False)
    x = torch.randn(2, 5, 100, requires_grad=True)
    y = layer(x)
    y.square().sum().backward()
    again = x.detach().clone().requires_grad_()
    reference = nn.functional.linear(again, layer.dense(torch.float32), layer.bias)
    reference.square().sum().backward()
    assert y.equal(reference) and torch.allclose(x.grad, again.grad, rtol=1e-6)


def test_all_linear_layers_but_the_head_and_what_is_kept():
    model = tiny.model("llama", tie_word_embeddings=False)
    before = linear_layers(model)
    kept = "model.layers.1.mlp.down_proj"
    quantise_model(model, keep=(kept,))
    held = {name for name, layer in model.named_modules() if isinstance(layer, Nf4Linear)}
    assert held == set(before) - {kept} and len(held) == 13
    assert isinstance(model.get_output_embeddings(), nn.Linear)
    assert quantise_model(model) is model and isinstance(model.get_submodule(kept), Nf4Linear)


def test_each_float_weight_is_freed_before_the_next_is_read(monkeypatch):
    model = tiny.model("llama")
    weights = [weakref.ref(layer.weight) for layer in linear_layers(model).values()]
    real, alive = quantise.quantise, []

    def counting(weight_OI):
        alive.append(sum(weight() is not None for weight in weights))
        return real(weight_OI)

    monkeypatch.setattr(quantise, "quantise", counting)
    quantise_model(model)
    assert alive == list(range(len(weights), 0, -1))
    assert not any(weight() is not None for weight in weights)


def test_a_copy_is_the_same_and_apart():
    layer = Nf4Linear(linear((32, 64)), transposed=False)
    copied = copy.deepcopy(layer)
    assert copied.dense(torch.float32).equal(layer.dense(torch.float32))
    copied.codes.zero_()
    assert not copied.dense(torch.float32).equal(layer.dense(torch.float32))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_cast_model_keeps_its_quantised_weights(dtype):
    layer = Nf4Linear(linear((32, 64)), transposed=False)
    before = layer.dense(torch.float32)
    layer.to(dtype)
    assert layer.bias.dtype == dtype
    assert layer.dense(torch.float32).equal(before)


@pytest.mark.parametrize("shape", [*SHAPES, (5, 7)])
def test_the_meta_device_has_the_same_buffers(shape):
    with torch.device("meta"):
        shapes = Nf4Linear(nn.Linear(shape[1], shape[0]), transposed=False)
    real = Nf4Linear(linear(shape), transposed=False)
    described = {name: (value.shape, value.dtype) for name, value in shapes.named_buffers()}
    assert described == {name: (value.shape, value.dtype) for name, value in real.named_buffers()}
    moved = {name: (value.shape, value.dtype) for name, value in real.to("meta").named_buffers()}
    assert moved == described


def test_without_bitsandbytes_there_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    quantise._require_nf4.cache_clear()
    with pytest.raises(ConfigError, match=r"4 bit \(nf4\) on cpu: .*bitsandbytes") as caught:
        require_nf4("meta")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ConfigError, match="use lora"):
        quantise_model(tiny.model("llama"))


def test_a_device_that_gives_other_weights_back_is_refused(monkeypatch):
    real = quantise.dequantise
    monkeypatch.setattr(quantise, "dequantise", lambda *args, **options: real(*args, **options).flip(0))
    quantise._require_nf4.cache_clear()
    with pytest.raises(ConfigError, match="gives other weights back"):
        require_nf4("cpu")
    monkeypatch.undo()
    require_nf4("cpu")


def test_a_dense_weight_that_is_kept_is_not_written_over():
    first, second = (Nf4Linear(linear(shape), transposed=False) for shape in [(32, 64), (32, 48)])
    kept = first.dense(torch.float32)
    value, address = kept.clone(), kept.data_ptr()
    other = second.dense(torch.float32)
    assert other.data_ptr() != address and kept.equal(value)
    view = kept[3:4].t()  # shares the memory
    del kept
    assert second.dense(torch.float32).data_ptr() != address and view.flatten().equal(value[3])
    del view
    assert second.dense(torch.bfloat16).data_ptr() == address, "not used again"


def test_without_its_own_code_bitsandbytes_public_function_gives_the_same(monkeypatch):
    layer = Nf4Linear(linear((48, 100)), transposed=False)
    expected = {dtype: layer.dense(dtype).clone() for dtype in (torch.float32, torch.bfloat16)}
    monkeypatch.setattr(quantise, "_cpu_kernel", lambda dtype: None)
    assert all(layer.dense(dtype).equal(value) for dtype, value in expected.items())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_quantised_model_lets_go_of_its_file(tmp_path):
    tiny.model("llama").to(torch.bfloat16).save_pretrained(tmp_path)
    source = ModelSource(name=str(tmp_path))
    model = load_model(source, locate(source), seed=0)
    embedding = model.get_input_embeddings().weight.clone()
    quantise_model(model)
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    assert model.get_input_embeddings().weight.equal(embedding)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_what_transformers_leaves_in_float_stays_so():
    """An adapter trained here meets the same base under transformers' 4-bit loading, which keeps T5's `wo`."""
    model = quantise_model(tiny.model("t5"))
    kinds = {name.rpartition(".")[2]: type(layer).__name__ for name, layer in linear_layers(model).items()}
    assert kinds["wo"] == "Linear" and kinds["q"] == kinds["wi_0"] == "Nf4Linear"
    (remark,) = float_remarks(tiny.model("t5"))
    assert remark.startswith("8,192 weights of wo stay in full precision")
