"""Sparse values of a frozen matrix against dense tensors: the sum, the gradient, the choice of positions, the file."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.pytorch_utils import Conv1D

from tunelab.errors import ConfigError
from tunelab.kernels import adapted_linear, sparse
from tunelab.kernels.adapted_linear import AdaptedLinear, Dropout, Frozen, _AdaptedProduct, adapt

O, I, N = 5, 7, 6  # noqa: E741
POSITIONS = [0, 6, 8, 20, 21, 34]
"""The second row has one, the fourth two, the last entry of all is there; row 2 has the last of its columns."""


def positions() -> torch.Tensor:
    return torch.tensor(POSITIONS, dtype=torch.int32)


def dense(values: torch.Tensor) -> torch.Tensor:
    """The matrix, one entry after the other."""
    matrix = torch.zeros(O, I, dtype=values.dtype)
    for position, value in zip(POSITIONS, values, strict=True):
        matrix[position // I, position % I] = value
    return matrix


def layer(*, rank: int = 3, transposed: bool = False, dropout: float = 0.0) -> AdaptedLinear:
    torch.manual_seed(0)
    base = (Conv1D(O, I) if transposed else nn.Linear(I, O)).requires_grad_(False)
    halves = {"lora_A": torch.randn(rank, I), "lora_B": torch.randn(O, rank)} if rank else {}
    adapted = AdaptedLinear(
        base,
        **{"lora_A": None, "lora_B": None, **halves},
        scale=0.5,
        dropout=dropout,
        transposed=transposed,
        sparse_index=positions(),
    )
    with torch.no_grad():
        adapted.sparse_values.normal_()
    return adapted


@pytest.mark.parametrize("transposed", [False, True])
def test_values_are_added_at_their_positions_however_the_matrix_lies(transposed):
    values = torch.randn(len(POSITIONS))
    start = torch.randn(I, O).t() if transposed else torch.randn(O, I)
    expected = start + dense(values)
    assert start.is_contiguous() != transposed
    changed = sparse.add_at_(start, positions(), values)
    assert changed is start
    assert changed.equal(expected)


@pytest.mark.parametrize("block", [1, 14, 2**23])
@pytest.mark.parametrize("path", [sparse._sampled, sparse._gathered])
def test_gradient_at_positions_is_the_dense_one(path, block, monkeypatch):
    monkeypatch.setattr(sparse, "BLOCK", block)
    grad, x = torch.randn(N, O), torch.randn(N, I)
    expected = (grad.t() @ x).flatten()[POSITIONS]
    assert torch.allclose(path(grad, x, positions()), expected, atol=1e-6)


def test_gradient_of_narrow_products_is_summed_in_fp32():
    grad, x = torch.randn(500, O).bfloat16(), torch.randn(500, I).bfloat16()
    exact = (grad.double().t() @ x.double()).flatten()[POSITIONS]
    ours = sparse.gradient_at(grad, x, positions())
    assert ours.dtype == torch.float32
    assert torch.allclose(ours.double(), exact, atol=1e-3)


class Largest(TorchDispatchMode):
    """Entries of the largest tensor that any operation gives."""

    entries = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided:
                self.entries = max(self.entries, tensor.numel())
        return result


@pytest.mark.parametrize("path", [sparse._sampled, sparse._gathered])
def test_gradient_never_holds_more_than_a_block_of_a_dense_one(path, monkeypatch):
    monkeypatch.setattr(sparse, "BLOCK", 8 * 64)
    grad, x = torch.randn(4, 64), torch.randn(4, 64)
    index = torch.arange(0, 64 * 64, 97, dtype=torch.int32)
    with Largest() as seen:
        path(grad, x, index)
    assert 0 < seen.entries <= 8 * 64
    with Largest() as whole:
        grad.t() @ x
    assert whole.entries == 64 * 64, "the measure sees nothing"


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("rank", [0, 3])
def test_layer_equals_the_summed_weight(rank, transposed):
    adapted, x = layer(rank=rank, transposed=transposed), torch.randn(2, 4, I, requires_grad=True)
    before, upstream = adapted.base.weight.clone(), torch.randn(2, 4, O)
    parameters = [x, *(p for p in adapted.parameters() if p.requires_grad)]
    assert len(parameters) == (4 if rank else 2)

    def reference() -> torch.Tensor:
        weight = (adapted.base.weight.t() if transposed else adapted.base.weight) + 0
        if rank:
            weight = weight + 0.5 * adapted.lora_B @ adapted.lora_A
        flat = weight.reshape(-1).index_put((positions().long(),), adapted.sparse_values, accumulate=True)
        return x @ flat.view(O, I).t() + adapted.base.bias

    assert torch.allclose(adapted(x), reference(), atol=1e-6)
    ours = torch.autograd.grad((adapted(x) * upstream).sum(), parameters)
    theirs = torch.autograd.grad((reference() * upstream).sum(), parameters)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert adapted.base.weight.equal(before), "the frozen weight was written to"
    delta = adapted.delta().t() if transposed else adapted.delta()
    whole = dense(adapted.sparse_values.detach()) + (0.5 * adapted.lora_B @ adapted.lora_A if rank else 0)
    assert torch.allclose(delta, whole, atol=1e-6)


@pytest.mark.parametrize("dropout", [None, Dropout(0.4, key=3)])
@pytest.mark.parametrize("rank", [0, 3])
def test_gradients_agree_with_finite_differences(rank, dropout):
    torch.manual_seed(0)
    shapes = [(N, I), (O, I), (O,), (3, I), (O, 3), (len(POSITIONS),)]
    x, weight, bias, first, second, values = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    trained = (x, values, first, second) if rank else (x, values)
    for tensor in trained:
        tensor.requires_grad_(True)

    def product(x, values, first=None, second=None):
        frozen = Frozen(lambda: weight, index_K=positions())
        return _AdaptedProduct.apply(x, frozen, bias, first, second, 0.5, dropout, values)

    assert torch.autograd.gradcheck(product, trained)


class Matrices(TorchDispatchMode):
    """Different storages of 64 x 64 entries that operations give."""

    def __init__(self):
        super().__init__()
        self.storages = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.layout == torch.strided and result.numel() == 64 * 64:
            self.storages.add(result.untyped_storage().data_ptr())
        return result


class Quantised(nn.Module):
    weight, bias, shape = None, None, (64, 64)

    def dense(self, dtype):
        return torch.full((64, 64), 0.5, dtype=dtype)


def test_a_quantised_weight_takes_the_values_without_a_copy():
    """Its dequantised copy is the only matrix made; a float weight is copied beside itself."""
    index, x = torch.arange(0, 64 * 64, 97, dtype=torch.int32), torch.randn(2, 64)
    made = []
    for base in (Quantised(), nn.Linear(64, 64)):
        options = dict(lora_A=None, lora_B=None, scale=0.0, dropout=0.0, transposed=False, sparse_index=index)
        adapted = AdaptedLinear(base.requires_grad_(False), **options)
        with Matrices() as seen:
            adapted(x)
        weight = set() if base.weight is None else {base.weight.untyped_storage().data_ptr()}
        made.append((len(seen.storages - weight), len(seen.storages)))
    quantised, plain = made
    assert quantised == (1, 1)
    assert plain[0] == 1


def test_collected_blocks_make_up_the_gradient_of_the_weight(monkeypatch):
    monkeypatch.setattr(sparse, "BLOCK", 2 * I)
    adapted, x, upstream = layer(), torch.randn(N, I), torch.randn(N, O)
    whole, sizes = torch.zeros(O, I), []

    def collect(first: int, block: torch.Tensor) -> None:
        sizes.append(len(block))
        whole[first : first + len(block)] += block

    adapted.collect = collect
    (adapted(x) * upstream).sum().backward()
    assert torch.allclose(whole, upstream.t() @ x, atol=1e-5)
    assert sizes == [2, 2, 1]


def test_dropout_leaves_the_sparse_part_whole():
    adapted, x = layer(dropout=0.5), torch.randn(4, I)
    with torch.no_grad():
        adapted.lora_B.zero_()
    assert adapted.train()(x).equal(adapted.eval()(x))


def test_bf16_products_follow_autocast():
    adapted, x = layer(), torch.randn(4, I)
    with torch.autocast("cpu", torch.bfloat16):
        y = adapted(x)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float(), adapted(x), atol=0.1)
    y.float().sum().backward()
    assert adapted.sparse_values.grad.dtype == torch.float32


# ------------------------------------------------------------------ choosing positions


@pytest.mark.parametrize("score", ["mean_squared", "mean"])
def test_scores_choose_the_largest(score):
    generator = np.random.default_rng(0)
    gradients = generator.normal(size=(4, O, I))
    scores = sparse.Scores((O, I), score)
    for gradient in torch.tensor(gradients, dtype=torch.float32):
        scores.add(0, gradient[:2])
        scores.add(2, gradient[2:])
    expected = (gradients**2).mean(0) if score == "mean_squared" else np.abs(gradients.mean(0))
    chosen = scores.top(9)
    assert chosen.tolist() == sorted(np.argsort(-expected.flatten())[:9].tolist())
    assert chosen.dtype == torch.int32


@pytest.mark.parametrize("inputs", [7, 2**16, 2**16 + 1])
def test_positions_survive_the_file(inputs):
    index = torch.tensor([1, 5, inputs + 6, 4 * inputs, 5 * inputs - 1], dtype=torch.int32)
    parts = sparse.compressed(index, shape=(5, inputs))
    assert parts["columns"].tolist() == [1, 5, 6, 0, inputs - 1]
    assert parts["rows"].tolist() == [0, 2, 3, 3, 3, 5]
    assert parts["columns"].dtype == (torch.uint16 if inputs <= 2**16 else torch.int32)
    assert sparse.expanded(parts["columns"], parts["rows"], shape=(5, inputs)).equal(index)


@pytest.mark.parametrize(
    ("columns", "rows", "reason"),
    [
        ([1, 2], [0, 1, 2, 2], "row pointers"),
        ([1, 2], [0, 1, 1], "row pointers"),
        ([1, 2], [0, 3, 2], "row pointers"),
        ([1, 7], [0, 1, 2], "columns"),
        ([2, 1], [0, 2, 2], "columns"),
    ],
)
def test_damaged_positions_are_refused(columns, rows, reason):
    with pytest.raises(ValueError, match=reason):
        sparse.expanded(torch.tensor(columns), torch.tensor(rows), shape=(2, 7))


def test_a_matrix_too_large_for_int32_is_refused(monkeypatch):
    monkeypatch.setattr(adapted_linear, "MOST_ENTRIES", O * I)
    options = dict(name="big", seed=0, rank=0, scale=1.0, dropout=0.0, transposed=False)
    with pytest.raises(ConfigError, match="density: big .*2\\^31"):
        adapt(nn.Linear(I, O), density=0.5, **options)
    assert adapt(nn.Linear(I - 1, O), density=0.5, **options).sparse_values.numel() == 15
