"""What goes to the device: from pinned memory and without waiting on a GPU, as it is elsewhere."""

import numpy as np
import torch

from tunelab.backends.torch.inputs import sent


def test_a_gpu_gets_its_batch_from_pinned_memory_without_a_wait(monkeypatch):
    told = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: told.append("pinned") or tensor)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, place, **how: told.append((place.type, how)) or tensor)
    sent(np.arange(3), torch.device("cuda", 0))
    assert told == ["pinned", ("cuda", {"non_blocking": True})]
    told.clear()
    sent(np.arange(3), torch.device("cpu"))
    assert told == [("cpu", {})]


def test_values_arrive():
    assert sent(np.arange(3), torch.device("cpu")).tolist() == [0, 1, 2]
