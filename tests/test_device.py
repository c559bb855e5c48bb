"""The device is chosen in one place, and what follows from it follows a replaced choice."""

import torch

from tunelab import device
from tunelab.backends.torch.backend import TorchHf
from tunelab.backends.torch.memory import CudaMemory
from tunelab.training.telemetry import ResidentMemory


def test_the_gpu_is_chosen_where_torch_sees_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.chosen() == torch.device("cpu") and device.name(device.chosen()) == "cpu"
    assert device.all_names() == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.chosen() == torch.device("cuda") and device.on_gpu()


def test_memory_precision_and_names_follow_the_choice(monkeypatch):
    backend, capability = TorchHf(), (7, 5)
    monkeypatch.setattr(device, "chosen", lambda: torch.device("cpu"))
    assert isinstance(backend.memory(), ResidentMemory) and backend.device() == "cpu"
    monkeypatch.setattr(device, "chosen", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda place: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: "a GPU")
    assert isinstance(backend.memory(), CudaMemory) and backend.device() == "a GPU"
    assert backend.resolve(precision="auto", threads=2) == ("fp16", 2), "a T4 only emulates bf16"
    capability = (8, 0)
    assert backend.resolve(precision="auto", threads=2) == ("bf16", 2)


def test_memory_is_given_back_to_the_device_that_has_it(monkeypatch):
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append("cuda"))
    device.release(torch.device("cpu"))
    assert emptied == []
    device.release(torch.device("cuda", 0))
    assert emptied == ["cuda"]
