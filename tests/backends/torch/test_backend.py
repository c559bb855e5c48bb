"""What the backend asks of transformers, whose names change within the supported range."""

import os
import warnings

import torch

import tiny
from training_harness import make_session
from tunelab import device
from tunelab.backends.torch.backend import TorchHf
from tunelab.backends.torch.loading import checkpoint_activations
from tunelab.methods.full import Full
from tunelab.records import Batch


def test_activation_checkpointing_changes_no_gradient_and_warns_of_nothing():
    session, batch = make_session(Full(), tiny.model("llama")), Batch(tuple(tiny.rows(4)))
    session.accumulate(batch, denominator=5, last=True)
    other = make_session(Full(), tiny.model("llama"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoint_activations(other.model)
    assert any(getattr(module, "gradient_checkpointing", False) for module in other.model.modules())
    other.accumulate(batch, denominator=5, last=True)
    for (name, one), (_, two) in zip(session.model.named_parameters(), other.model.named_parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad, atol=1e-7), name


def test_activation_checkpointing_is_found_under_its_older_name():
    asked = {}

    class Older:
        def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs):
            asked.update(gradient_checkpointing_kwargs)

    checkpoint_activations(Older())
    assert asked == {"use_reentrant": False}


def test_threads_are_all_cores_where_the_system_tells_of_no_others(monkeypatch):
    backend = TorchHf()
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    assert backend.resolve(precision="fp32", threads=None) == ("fp32", 3)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert backend.resolve(precision="fp32", threads=None) == ("fp32", 6)
    assert backend.resolve(precision="fp32", threads=2) == ("fp32", 2)


def test_a_micro_batch_is_what_the_cache_of_a_cpu_holds(monkeypatch):
    backend = TorchHf()
    for held, tokens in ((32 * 2**20, 1024), (None, 1024), (2**20, 256), (2**30, 4096)):
        monkeypatch.setattr(device, "cache_bytes", lambda held=held: held)
        assert backend.max_tokens() == tokens
    monkeypatch.setattr(device, "on_gpu", lambda: True)
    assert backend.max_tokens() == 4096


def test_the_largest_cache_is_read_from_the_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "CACHES", tmp_path)
    assert device.cache_bytes() is None
    for number, size in enumerate(("48K", "1024K", "16M")):
        (tmp_path / f"index{number}").mkdir()
        (tmp_path / f"index{number}" / "size").write_text(size + "\n")
    assert device.cache_bytes() == 16 * 2**20
