"""A trained value that the model does not compute with is said after the first step."""

import numpy as np
import torch

import tiny
from tunelab.backends.torch.session import TorchSession
from tunelab.methods.full import Full
from tunelab.methods.galore import Galore
from tunelab.records import Batch


def notes_after_two_steps(model, method) -> list[str]:
    notes: list[str] = []
    model = method.attach(model, seed=0)
    session = TorchSession(model, method, tiny.run_config(), tiny.Tokenizer(), notes)
    rows = tiny.rows(4)
    for _ in range(2):
        session.accumulate(Batch(tuple(rows)), denominator=int(np.sum([row.num_supervised for row in rows])), last=True)
        session.update(learning_rate=1e-3, max_norm=1.0)
    return notes


def test_a_parameter_beside_the_path_is_named_once():
    model = tiny.model("llama")
    model.model.layers[0].mlp.beside = torch.nn.Linear(4, 3, bias=False)
    (note,) = notes_after_two_steps(model, Full(learning_rate=1e-3))
    assert "(12 values: model.layers.0.mlp.beside.weight) got no gradient in the first step" in note


def test_models_whose_values_are_all_used_say_nothing():
    assert notes_after_two_steps(tiny.model("llama"), Full(learning_rate=1e-3)) == []


def test_gradients_that_a_projection_takes_away_are_not_missed():
    assert notes_after_two_steps(tiny.model("llama"), Galore(learning_rate=1e-3, rank=4)) == []
