"""Full fine-tuning of a part of the model: which weights move, what is refused, and what is written."""

import pytest
import torch

import tiny
from training_harness import run_training
from tunelab.errors import ConfigError
from tunelab.methods.full import Full


def moved(kind="llama", *, tied=True, **options):
    """Paths of the parameters that are other numbers after three steps."""
    extra = {} if kind == "gpt2" else {"tie_word_embeddings": tied}
    before = {name: each.detach().clone() for name, each in tiny.model(kind, **extra).named_parameters()}
    rows = tiny.rows(18, pairs=kind == "t5")
    after = run_training(
        Full(learning_rate=1e-2, **options), tiny.model(kind, **extra), rows, budget={"steps": 3}
    ).model
    return {name for name, each in after.named_parameters() if not each.equal(before[name])}


def all_of(kind="llama", **extra):
    return {name for name, _ in tiny.model(kind, **extra).named_parameters()}


def test_only_what_is_named_moves():
    assert moved(only=["embeddings"]) == {"model.embed_tokens.weight"}
    assert moved(only="embeddings", tied=False) == {"model.embed_tokens.weight"}
    assert moved(only=["embeddings", "head"], tied=False) == {"model.embed_tokens.weight", "lm_head.weight"}
    assert moved(only=["q_proj"]) == {f"model.layers.{number}.self_attn.q_proj.weight" for number in (0, 1)}


def test_bitfit_trains_every_bias():
    assert moved("gpt2", only=["biases"]) == {name for name in all_of("gpt2") if name.endswith(".bias")}


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_what_is_frozen_stays_and_all_else_moves(kind):
    embedding = {"llama": "model.embed_tokens.weight", "gpt2": "transformer.wte.weight"}[kind]
    assert moved(kind, freeze=["embeddings"]) == all_of(kind) - {embedding}


def test_of_what_only_names_freeze_takes_away():
    of_first = {name for name in all_of() if name.startswith("model.layers.0.")}
    assert moved(only=["layers.0"], freeze=["norms"]) == {name for name in of_first if "norm" not in name}


@pytest.mark.parametrize(
    "options, words",
    [
        ({"only": ["nothing"]}, "only: 'nothing' names no module with weights"),
        ({"freeze": ["biases"]}, "freeze: biases: this model has none"),
        ({"only": ["norms"], "freeze": ["norms"]}, "only, freeze: nothing is left to train"),
        ({"only": "("}, "only .none of embeddings, head, norms, biases.: '\\(' is not a regular expression"),
    ],
)
def test_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        Full(**options).attach(tiny.model("llama"), seed=0)


def test_saved_whole_and_read_again(tmp_path):
    options = {"only": ["embeddings", "norms"], "learning_rate": 1e-2}
    method = Full(**options)
    model = run_training(method, tiny.model("llama"), tiny.rows(18), budget={"steps": 3}).model
    method.save(model, tmp_path)
    again = Full(**options).attach(tiny.model("llama"), seed=0)
    method.load(again, tmp_path)
    ids = torch.arange(2, 14).reshape(2, 6)
    with torch.no_grad():
        assert again.eval()(input_ids=ids).logits.equal(model.eval()(input_ids=ids).logits)


def test_back_ends_without_torch_refuse_it():
    with pytest.raises(ConfigError, match="needs torch"):
        Full(only=["norms"]).low_rank({}, {})
    assert Full().low_rank({}, {}) is None


def test_runs_without_it_have_the_fields_they_had():
    assert "only" not in Full().model_dump() and "freeze" not in Full().model_dump()
    assert Full(only=["norms"]).model_dump()["only"] == ("norms",)
