"""Tokens that a study adds: their rows, who trains them, and that they leave training with everything else."""

import warnings

import peft
import pytest
import torch
from torch import nn

import tiny
from training_harness import make_session, run_training
from tunelab import catalogue
from tunelab.config.schema import ModelSource
from tunelab.errors import ConfigError
from tunelab.methods.dora import Dora
from tunelab.methods.full import Full
from tunelab.methods.lora import Lora
from tunelab.methods.qlora import Qlora
from tunelab.methods.rosa import Rosa
from tunelab.models.added_tokens import TokenRows, add_rows, check_trained, token_rows
from tunelab.models.reach import base_of, num_reached, reached
from tunelab.study.planning.plan import build_method

SOURCE = ModelSource(name="none", tokens={"<|call|>": "ring up", "<|end of call|>": ""})
NEW = (tiny.VOCABULARY, tiny.VOCABULARY + 1)
METHODS = {
    "lora": Lora(rank=4, learning_rate=1e-2),
    "qlora": Qlora(rank=4, learning_rate=1e-2),
    "rosa": Rosa(rank=4, density=0.02, learning_rate=1e-2),
    "dora": Dora(rank=4, learning_rate=1e-2),
}
KINDS = {
    "tied": lambda: tiny.model("llama"),
    "apart": lambda: tiny.model("llama", tie_word_embeddings=False),
    "gpt2": lambda: tiny.model("gpt2"),
    "t5": lambda: tiny.model("t5"),
}


class Tokenizer:
    def convert_tokens_to_ids(self, tokens):
        return list(NEW)

    def __call__(self, text, *, add_special_tokens):
        return {"input_ids": [7, 9]}


def extended(kind):
    model = KINDS[kind]()
    add_rows(model, Tokenizer(), SOURCE)
    return model


def rows(kind):
    """With the new tokens in prompts and answers; none stands last, where it would be read by nobody."""
    made = tiny.rows(12, pairs=kind == "t5")
    for row in made:
        row.ids[0], row.ids[-2] = NEW
    return made


def logits(model, kind):
    ids = torch.tensor([[2, NEW[0], 5, NEW[1]], [NEW[1], 3, 4, 9]])
    extra = {"decoder_input_ids": ids} if kind == "t5" else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **extra).logits


@pytest.mark.parametrize("kind", KINDS)
def test_new_rows_are_a_mean(kind):
    before, model = KINDS[kind](), extended(kind)
    for get in ("get_input_embeddings", "get_output_embeddings"):
        old, new = getattr(before, get)().weight, getattr(model, get)().weight
        assert new[: len(old)].equal(old) and len(new) == len(old) + 2
        assert torch.allclose(new[NEW[0]], old[[7, 9]].mean(0)) and torch.allclose(new[NEW[1]], old.mean(0), atol=1e-6)
    assert model.config.vocab_size == tiny.VOCABULARY + 2
    tied = [each.get_input_embeddings().weight is each.get_output_embeddings().weight for each in (before, model)]
    assert tied[0] == tied[1]


def test_rows_that_a_padded_vocabulary_has_are_used():
    model = tiny.model("llama", vocab_size=tiny.VOCABULARY + 8)
    add_rows(model, Tokenizer(), SOURCE)
    weight = model.get_input_embeddings().weight
    assert len(weight) == tiny.VOCABULARY + 8 and torch.allclose(weight[NEW[1]], weight[: NEW[0]].mean(0), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", METHODS)
def test_their_rows_are_trained_and_no_others_saved_loaded_and_merged(name, kind, tmp_path):
    method = METHODS[name]
    model = run_training(method, extended(kind), rows(kind), budget={"steps": 4}).model
    start = extended(kind)
    for get in ("get_input_embeddings", "get_output_embeddings"):
        module = getattr(model, get)()
        assert isinstance(module, TokenRows) and module.base.weight.equal(getattr(start, get)().weight)
        moved = (module.weight != getattr(start, get)().weight).any(1).nonzero().flatten().tolist()
        assert moved == list(NEW)
    ties = model.get_input_embeddings().rows is model.get_output_embeddings().rows
    assert ties == (start.get_input_embeddings().weight is start.get_output_embeddings().weight)
    method.save(model, tmp_path)
    loaded = method.attach(extended(kind), seed=5)
    method.load(loaded, tmp_path)
    found = logits(model, kind)
    assert found.equal(logits(loaded, kind))
    merged = method.merged(model)
    assert (logits(merged, kind) - found).abs().max() < 1e-5
    assert not any(isinstance(module, TokenRows) for module in merged.modules())
    embedding, head = merged.get_input_embeddings(), merged.get_output_embeddings()
    assert type(head) is nn.Linear and (head.weight is embedding.weight) == ties


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["lora", "dora"])
def test_peft_reads_them_on_a_base_with_such_rows(name, kind, tmp_path):
    method = METHODS[name]
    model = run_training(method, extended(kind), rows(kind), budget={"steps": 4}).model
    method.save(model, tmp_path)
    base = KINDS[kind]()
    base.resize_token_embeddings(tiny.VOCABULARY + 2, mean_resizing=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = peft.PeftModel.from_pretrained(base, tmp_path)
    assert torch.allclose(logits(model, kind), logits(loaded, kind), atol=1e-6)


def test_gemmas_scale_is_applied_to_them_too():
    class Scaled(nn.Embedding):
        def forward(self, ids):
            return super().forward(ids) * 5.0

    base = Scaled(6, 4, padding_idx=0)
    layer = TokenRows(base.requires_grad_(False), (4, 2), nn.Parameter(base.weight.detach()[[4, 2]] + 1.0))
    found = layer(torch.arange(6)[None])
    assert torch.allclose(found, layer.weight[None] * 5.0)
    found.sum().backward()
    assert layer.rows.grad.eq(5.0).all()


def test_the_fast_path_is_taken():
    session = make_session(METHODS["lora"], extended("tied"))
    from tunelab.study.executing.verified import verified_rows

    session.verify(verified_rows(rows("tied")))
    assert session.plain_head and session.notes == []


def test_full_trains_them_as_all_rows():
    model = run_training(Full(learning_rate=1e-2), extended("tied"), rows("tied"), budget={"steps": 2}).model
    check_trained(model, Full())
    assert not token_rows(model) and not model.get_input_embeddings().weight.equal(
        extended("tied").get_input_embeddings().weight
    )


def test_embeddings_that_are_trained_have_no_rows_of_their_own():
    model = Lora(rank=4, also=("embeddings",)).attach(extended("apart"), seed=0)
    assert type(model.get_input_embeddings()) is nn.Embedding and isinstance(model.get_output_embeddings(), TokenRows)


def test_they_count_as_reached():
    model = extended("apart")
    base = base_of(model)
    attached = Lora(rank=4, targets=("q_proj",)).attach(model, seed=0)
    queries = sum(layer.self_attn.q_proj.base.weight.numel() for layer in attached.model.layers)
    assert num_reached(base, reached(base, attached)) == queries + 2 * 2 * 32


@pytest.mark.parametrize("method", [("peft_any", {"type": "IA3"}), ("galore", {"other": "freeze", "rank": 4})])
def test_a_method_that_leaves_them_as_they_are_is_refused(method):
    name, options = method
    built = build_method(name, {"learning_rate": 1e-2, **options})
    attached = built.attach(extended("tied"), seed=0)
    with pytest.raises(ConfigError, match=f"model.tokens: {name} leaves their rows as they are"):
        check_trained(attached, built)


def test_a_later_part_goes_on_with_them():
    parts = [{"full": {"learning_rate": 1e-2}}, {"lora": {"rank": 4, "learning_rate": 1e-2}}]
    method = build_method("sequential", {"parts": parts})
    model = run_training(method, extended("tied"), rows("tied"), budget={"steps": 6}).model
    assert isinstance(model.get_input_embeddings(), TokenRows) and model.get_input_embeddings().rows.requires_grad
    assert (logits(method.merged(model), "tied") - logits(model, "tied")).abs().max() < 1e-5


TRAINED = [name for name in catalogue.names("methods") if catalogue.load("methods", name).trains and name != "peft_any"]


@pytest.mark.parametrize("kind", ["tied", "apart"])
@pytest.mark.parametrize("name", TRAINED)
def test_every_method_moves_them(name, kind):
    method = build_method(name, {"learning_rate": 1e-2, **catalogue.load("methods", name).example()})
    model = run_training(method, extended(kind), rows(kind), budget={"steps": 4}).model
    check_trained(model, method)
    start = extended(kind)
    for get in ("get_input_embeddings", "get_output_embeddings"):
        before, after = (getattr(each, get)().weight[list(NEW)] for each in (start, method.merged(model)))
        assert (before != after).any(1).all(), get


def test_a_description_may_name_an_added_token():
    class Echo(Tokenizer):
        def __call__(self, text, *, add_special_tokens):
            return {"input_ids": [7, NEW[1]]}

    model = KINDS["tied"]()
    add_rows(model, Echo(), SOURCE)
    weight = model.get_input_embeddings().weight
    assert weight[NEW[0]].equal(weight[7])
