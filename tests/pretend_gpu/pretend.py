"""A device that is not the CPU on a machine that has no other: `pretend:0`, PyTorch's PrivateUse1 written in Python.

A tensor there says that it is, its numbers lie in a CPU tensor inside, and an operation that mixes devices raises as
CUDA does. Importing this changes torch for the whole process, so it stands in processes of its own.

It finds what would fail on a GPU, or come to rest in the wrong memory: tensors made on the wrong device, copies to the
host within a step, dtypes that do not go together under autocast. It cannot find what only a GPU's own kernels do
(numerics, bitsandbytes' CUDA code), streams and asynchronous copies, calls of torch.cuda, memory that runs out.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.utils._device import _device_constructors
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "pretend"
HALF, SINGLE = "in the type of the products", "in fp32"
AUTOCAST = {
    HALF: "mm addmm bmm baddbmm addbmm linear matmul mv addmv scaled_dot_product_attention conv1d conv2d einsum",
    SINGLE: "log_softmax.int softmax.int nll_loss layer_norm cross_entropy_loss mse_loss sum sum.dim_IntList exp log "
    "pow.Tensor_Scalar rsqrt cumsum",
}
"""What CUDA's autocast does with which operation: the ones that language models use."""
WHOLE = {"aten::cat", "aten::stack", "aten::index_add", "aten::index_add_", "aten::scatter", "aten::scatter_"}
"""Operations that take no number of the CPU beside tensors of the device."""


class _Backend(_DummyBackendModule):
    """`torch.pretend`: what torch, transformers and PEFT ask of a back end."""

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def synchronize(self, device: Any = None) -> None: ...

    def empty_cache(self) -> None: ...

    def manual_seed(self, seed: int) -> None: ...

    def manual_seed_all(self, seed: int) -> None: ...

    def is_bf16_supported(self) -> bool:
        return True

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)


_setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
DEVICE = torch.device(NAME, 0)
to_host: Counter[str] = Counter()
"""Copies to the host so far: numbers that were asked for (`number`), and tensors (`tensor`)."""


class PretendTensor(torch.Tensor):
    inside: torch.Tensor
    """The numbers, on the CPU."""

    @staticmethod
    def __new__(cls, inside: torch.Tensor) -> PretendTensor:
        made = torch.Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls, inside.size(), strides=inside.stride(), storage_offset=inside.storage_offset(),
            dtype=inside.dtype, layout=inside.layout, device=DEVICE,
        )  # fmt: skip
        made.inside = inside
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return computed(operation, *args, **(kwargs or {}))

    @property
    def data(self):
        return self.detach()

    @data.setter
    def data(self, value):
        torch.Tensor.data.__set__(self, value)  # pyright: ignore[reportAttributeAccessIssue]
        self.inside = value.inside

    def __getitem__(self, index):
        return torch.Tensor.__getitem__(self, _indices(index))

    def __setitem__(self, index, value):
        torch.Tensor.__setitem__(self, _indices(index), value)

    def tolist(self):
        to_host["number" if self.numel() == 1 else "tensor"] += 1
        return self.inside.tolist()

    def numpy(self, **options):
        raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __array__(self, *given):
        return self.numpy()

    def new_tensor(self, data, **options):
        return torch.tensor(data, **{"device": self.device, "dtype": self.dtype, **options})

    def untyped_storage(self):
        return self.inside.untyped_storage()

    def data_ptr(self):
        return self.inside.data_ptr()

    def __deepcopy__(self, memo: dict[int, Any]) -> PretendTensor:
        if id(self) not in memo:
            memo[id(self)] = made = PretendTensor(self.inside.clone()).requires_grad_(self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                made._is_param = True
        return memo[id(self)]

    def __repr__(self) -> str:
        return f"{NAME}({self.inside!r})"


def _indices(index: Any) -> Any:
    """A list of places as the tensor that PyTorch makes of it, by a way that no back end in Python can take."""
    if isinstance(index, list):
        return torch.tensor(index, device="cpu")
    return tuple(_indices(each) for each in index) if type(index) is tuple else index


def on_device(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == NAME


def computed(operation, *args, **kwargs):
    """Every operation with a tensor of the device, or whose result is to lie there."""
    name = operation._schema.name
    if name == "aten::_to_copy" and (place := kwargs.get("device")) is not None and place.type == "cpu":
        to_host["tensor"] += 1
        return operation(args[0].inside, **kwargs)
    if name in ("aten::copy_", "aten::_copy_from"):
        return _copy(*args) if name == "aten::copy_" else _copy(args[1], args[0])
    if name == "aten::_local_scalar_dense":
        to_host["number"] += 1
        return operation(args[0].inside)
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    _check_places(name, args, tensors)
    if operation._schema.is_mutable and args and isinstance(args[0], torch.Tensor) and not on_device(args[0]):
        raise RuntimeError(f"Expected all tensors to be on the same device: {name} writes from {NAME}:0 into cpu")
    out = operation(*tree_map(_inside, args), **tree_map(_inside, kwargs))
    if not operation._schema.is_mutable:
        return tree_map(_outside, out)
    known = {id(tensor.inside): tensor for tensor in tensors if isinstance(tensor, PretendTensor)}
    for tensor in known.values():
        if tensor.shape != tensor.inside.shape:  # torch.arange fills an empty tensor that it was given
            tensor.data = PretendTensor(tensor.inside)
    return tree_map(lambda value: known.get(id(value), _outside(value)), out)


def _copy(into: torch.Tensor, source: torch.Tensor, *_: Any) -> torch.Tensor:
    if on_device(source) and not on_device(into):
        to_host["tensor"] += 1
    _inside(into).copy_(_inside(source))
    return into


def _check_places(name: str, args: tuple, tensors: list[torch.Tensor]) -> None:
    """As CUDA: all on one device, but for single numbers, and for an index, which may come from the CPU."""
    indexes = name.startswith(("aten::index.", "aten::index_put", "aten::_index_put")) or name == "aten::index"
    if indexes and on_device(args[0]):
        tensors = [args[0], *(one for one in args[2:] if isinstance(one, torch.Tensor))]
    for tensor in tensors:
        if not on_device(tensor) and (tensor.dim() > 0 or name in WHOLE):
            found = f"found at least two devices, {NAME}:0 and cpu! ({name})"
            raise RuntimeError(f"Expected all tensors to be on the same device, but {found}")


def _inside(value: Any) -> Any:
    if isinstance(value, PretendTensor):
        return value.inside
    if isinstance(value, torch.device) and value.type == NAME:
        return torch.device("cpu")
    return value


def _outside(value: Any) -> Any:
    return PretendTensor(value) if isinstance(value, torch.Tensor) and not isinstance(value, PretendTensor) else value


_everything = torch.library.Library("_", "IMPL")
_everything.fallback(computed, dispatch_key="PrivateUse1")
_everything.fallback(torch.library.fallthrough_kernel, dispatch_key="AutocastPrivateUse1")
_aten = torch.library.Library("aten", "IMPL")


def _autocast(name: str, kind: str) -> None:
    packet, _, overload = name.partition(".")
    operation = getattr(getattr(torch.ops.aten, packet), overload or "default")
    without = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def run(*args, **kwargs):
        wanted = torch.float32 if kind == SINGLE else torch.get_autocast_dtype(NAME)

        def cast(value: Any) -> Any:
            narrow = on_device(value) and value.is_floating_point() and value.dtype != torch.float64
            return value.to(wanted) if narrow else value

        with torch._C._ExcludeDispatchKeyGuard(without):
            return operation(*tree_map(cast, args), **tree_map(cast, kwargs))

    _aten.impl(name, run, "AutocastPrivateUse1")


for _kind, _names in AUTOCAST.items():
    for _name in _names.split():
        _autocast(_name, _kind)

_tensor, _Generator = torch.tensor, torch.Generator


def _made(data: Any, *, device: Any = None, requires_grad: bool = False, **options: Any) -> torch.Tensor:
    """torch.tensor: PyTorch makes it by a way that no back end in Python can take."""
    place = torch.empty(0).device if device is None else torch.device(device)  # that of `with torch.device(...)`
    made = _tensor(data, device="cpu" if place.type == NAME else place, **options)
    return (PretendTensor(made) if place.type == NAME else made).requires_grad_(requires_grad)


class _OfCpu:
    """torch.Generator: the draws are the CPU's."""

    def __new__(cls, device: Any = "cpu") -> torch.Generator:
        return _Generator("cpu" if torch.device(device).type == NAME else device)


_apply = torch.nn.Module._apply


def _applied(module: torch.nn.Module, fn: Any, recurse: bool = True) -> torch.nn.Module:
    """Module.to: parameters keep their identity, and tied ones stay tied, as between the CPU and CUDA."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        return _apply(module, fn, recurse)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


_device_constructors()  # `with torch.device(...)` remembers the functions that it is about, as they are here
torch.tensor = _made
torch.Generator = _OfCpu  # pyright: ignore[reportAttributeAccessIssue]
torch.nn.Module._apply = _applied
