"""A worker's heap: glibc without the caches that keep a tensor's hole from the next one; a user's own settings win."""

from __future__ import annotations

from types import SimpleNamespace

from tunelab.launch.executor import HEAP, worker_environment


def test_workers_have_a_heap_without_caches(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert worker_environment(SimpleNamespace(threads=1))["GLIBC_TUNABLES"] == HEAP["GLIBC_TUNABLES"]  # pyright: ignore


def test_what_a_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
    found = worker_environment(SimpleNamespace(threads=1))  # pyright: ignore
    assert found["GLIBC_TUNABLES"] == "glibc.malloc.arena_max=1"
