"""Every file in methods/ that trains nothing keeps its part of the contract: it is made of what others have saved."""

import pytest
import torch
from pydantic import ValidationError

import tiny
from training_harness import run_training
from tunelab import catalogue
from tunelab.backends.torch.session import TorchSession
from tunelab.backends.torch.storage import set_storage
from tunelab.study.planning.plan import build_method

MADE = [name for name in catalogue.names("methods") if not catalogue.load("methods", name).trains]
KINDS = ["llama", "gpt2", "t5"]


def trained_parents(kind: str, folder, rates=(1e-2, 1e-2)):
    """(methods, folders) of full and lora, trained for a few steps and saved."""
    methods = [build_method(name, {"learning_rate": rate}) for name, rate in zip(("full", "lora"), rates, strict=True)]
    folders = []
    for number, method in enumerate(methods):
        model = run_training(method, tiny.model(kind), tiny.rows(pairs=kind == "t5"), budget={"steps": 4}).model
        folders.append(folder / f"parent-{number}")
        method.save(model, folders[-1])
    return methods, folders


def combined(method, kind: str, folders, *, validation_loss=None, seed: int = 0, precision: str = "fp32"):
    """A session with the method's model, made of the folders."""
    model = method.attach(tiny.model(kind), seed=seed)
    set_storage(model, precision=precision)
    run = tiny.run_config(precision=precision)
    session = TorchSession(model, method, run, tiny.Tokenizer(), [])
    session.combine(folders, validation_loss=validation_loss or (lambda: 0.0))
    return session


def logits(model, kind: str) -> torch.Tensor:
    ids = torch.arange(2, 14).reshape(2, 6)
    extra = {"decoder_input_ids": ids} if kind == "t5" else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **extra).logits


def made(name: str, members):
    return build_method(name, {"of": ["full", "lora"]}).with_members(members)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MADE)
def test_saved_and_loaded_gives_the_same_logits_and_no_pickle(name, kind, tmp_path):
    members, folders = trained_parents(kind, tmp_path)
    method = made(name, members)
    session = combined(method, kind, folders)
    method.save(session.model, tmp_path / "saved")
    files = [file for file in (tmp_path / "saved").rglob("*") if file.is_file()]
    assert files and {file.suffix for file in files} <= {".safetensors", ".json"}
    loaded = method.attach(tiny.model(kind), seed=5)
    before = logits(loaded, kind)
    method.load(loaded, tmp_path / "saved")
    assert logits(loaded, kind).equal(logits(session.model, kind))
    assert not before.equal(logits(session.model, kind)), "it is the base model"


@pytest.mark.parametrize("name", MADE)
def test_merged_computes_the_same_and_changes_nothing(name, tmp_path):
    members, folders = trained_parents("llama", tmp_path)
    method = made(name, members)
    model = combined(method, "llama", folders).model
    before = logits(model, "llama")
    assert (logits(method.merged(model), "llama") - before).abs().max() < 1e-5
    assert logits(model, "llama").equal(before)


@pytest.mark.parametrize("name", MADE)
def test_parents_files_are_only_read(name, tmp_path):
    members, folders = trained_parents("llama", tmp_path)
    files = {file: file.read_bytes() for folder in folders for file in folder.rglob("*") if file.is_file()}
    assert len({file.parent for file in files}) >= len(folders) > 1
    combined(made(name, members), "llama", folders)
    assert {file: file.read_bytes() for file in files} == files


@pytest.mark.parametrize("name", MADE)
def test_it_trains_nothing_and_says_so(name, tmp_path):
    members, folders = trained_parents("llama", tmp_path)
    session = combined(made(name, members), "llama", folders)
    assert session.parameters().trainable == 0
    assert session.optimizer() == []
    assert made(name, members).learning_rate is None
    with pytest.raises(ValidationError, match="not_an_option"):
        build_method(name, {"of": ["full", "lora"], "not_an_option": 1})
