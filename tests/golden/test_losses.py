"""Losses of 20 steps of a 2-layer model per method, fp32: a change of any number in the path shows here.

Made by `python tests/golden/test_losses.py`, which prints the table below anew. Only a change that is meant to move
numbers may do so.
"""

import pytest

import tiny
from training_harness import run_training
from tunelab import catalogue

GOLDEN = {
    ("full", "llama"): [
        4.55297,
        4.56856,
        4.46732,
        4.28579,
        4.19823,
        4.0524,
        4.11787,
        3.95141,
        3.92278,
        3.61339,
        3.61233,
        3.818,
        3.63712,
        3.52829,
        3.45497,
        3.48205,
        3.36249,
        3.26686,
        3.27704,
        3.29597,
    ],
    ("full", "t5"): [
        5.05107,
        4.75021,
        4.47198,
        3.67061,
        3.41551,
        3.49893,
        3.17148,
        3.00117,
        2.60825,
        2.46567,
        2.41393,
        2.52928,
        2.31504,
        2.12874,
        1.97653,
        2.11034,
        1.75172,
        1.82557,
        1.76483,
        1.88504,
    ],
    ("lora", "llama"): [
        4.55297,
        4.58171,
        4.51898,
        4.47605,
        4.44634,
        4.43197,
        4.44239,
        4.44801,
        4.4084,
        4.36536,
        4.39468,
        4.49626,
        4.44813,
        4.43052,
        4.41045,
        4.43656,
        4.41802,
        4.36523,
        4.39219,
        4.41517,
    ],
    ("lora", "t5"): [
        5.05107,
        4.86036,
        4.84088,
        4.23906,
        3.70544,
        3.88925,
        3.75262,
        3.4902,
        3.00224,
        3.00109,
        2.95185,
        3.04178,
        2.92154,
        2.56645,
        2.65563,
        2.76974,
        2.40692,
        2.27936,
        2.37601,
        2.47099,
    ],
}


def losses(name: str, kind: str) -> list[float]:
    cls = catalogue.load("methods", name)
    method = cls(**{"learning_rate": 1e-2, **cls.example()})
    settings = {
        "optimizer": {"weight_decay": 0.1, "clip": 0.5},
        "schedule": {"kind": "linear", "warmup": 3},
        "loss": {"label_smoothing": 0.1},
        "batch": {"examples": 6, "max_tokens": 64},
    }
    return run_training(method, tiny.model(kind), tiny.rows(18, pairs=kind == "t5"), **settings).records.losses


@pytest.mark.parametrize("kind", ["llama", "t5"])
@pytest.mark.parametrize("name", catalogue.names("methods"))
def test_losses_are_the_golden_ones(name, kind):
    assert (name, kind) in GOLDEN, "a new method: add its line from `python tests/golden/test_losses.py`"
    assert losses(name, kind) == pytest.approx(GOLDEN[name, kind], abs=2e-4)


if __name__ == "__main__":
    for name in catalogue.names("methods"):
        for kind in ("llama", "t5"):
            print(f'    ("{name}", "{kind}"): {[round(loss, 5) for loss in losses(name, kind)]},')
