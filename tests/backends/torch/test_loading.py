"""A session's model: read in 4 bits where its method holds all of it so, and the same as attached to a whole one."""

from pathlib import Path

import pytest

import tiny
from tunelab.backends.torch import loading
from tunelab.backends.torch.loading import open_session
from tunelab.config.schema import ModelSource
from tunelab.models.load import load_text, locate
from tunelab.models.quantise import Nf4Linear
from tunelab.study.planning.plan import build_method

QLORA = {"qlora": {"rank": 4}}
PARTS = {"parts": [{"full": {}}, QLORA], "learning_rate": 1e-3}
QUANTISED = [
    ("qlora", {"rank": 4}),
    ("rosa", {"base": "nf4"}),
    ("layerwise", {**PARTS, "first": "attention"}),
    ("q_galore", {"rank": 4}),
]


def opened(folder, method, **changes):
    source, notes = ModelSource(name=str(folder)), []
    located = locate(source)
    run = tiny.run_config(model=source, **changes)
    return open_session(run, method, located=located, text=load_text(source, located), notes=notes), notes


@pytest.mark.parametrize("kind", ["llama", "t5"])
@pytest.mark.parametrize(("name", "options"), QUANTISED)
def test_a_model_read_quantised_is_attached_to_as_a_whole_one(name, options, kind, tmp_path, monkeypatch):
    method = build_method(name, options)
    folder = tiny.model_folder(tmp_path, kind)
    session, notes = opened(folder, method)
    monkeypatch.setattr(loading, "load_quantised", lambda *given, **options: None)
    whole, others = opened(folder, method)
    assert notes == others
    for one, other in ((session.model.named_parameters(), whole.model.named_parameters()),
                       (session.model.named_buffers(), whole.model.named_buffers())):  # fmt: skip
        one, other = dict(one), dict(other)
        assert one.keys() == other.keys()
        assert all(value.equal(other[key]) and value.dtype == other[key].dtype for key, value in one.items())
    assert session.parameters() == whole.parameters()


def test_the_float_weights_are_never_read_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "load_model", lambda *given, **options: pytest.fail("the whole model was read"))
    session, notes = opened(tiny.model_folder(tmp_path), build_method("qlora", {"rank": 4}))
    assert notes == [] and any(isinstance(module, Nf4Linear) for module in session.model.modules())


@pytest.mark.parametrize(("name", "options"), [("lora", {}), ("sequential", PARTS)])
def test_other_methods_are_given_float_weights(name, options, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "load_quantised", lambda *given, **options: pytest.fail("read in 4 bits"))
    opened(tiny.model_folder(tmp_path), build_method(name, options))


def test_what_cannot_be_read_so_is_read_as_a_whole_and_said(tmp_path):
    session, notes = opened(
        tiny.model_folder(tmp_path, "moe"), build_method("qlora", {"rank": 4, "targets": "attention"})
    )
    assert any(isinstance(module, Nf4Linear) for module in session.model.modules())
    assert [note for note in notes if note.startswith("the model was read as a whole before it was quantised:")]


@pytest.mark.parametrize(("name", "changes"), [("lora", {"precision": "bf16"}), ("qlora", {})])
def test_nothing_of_the_models_file_stays_in_memory_beside_what_it_has_become(name, changes, tmp_path, monkeypatch):
    """A single vector that lies in the mapped file would keep it whole."""
    monkeypatch.setattr(loading, "load_quantised", lambda *given, **options: None)  # as where it is read as a whole
    session, _ = opened(tiny.model_folder(tmp_path), build_method(name, {"rank": 4}), **changes)
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]
    assert session.model is not None and not mapped
