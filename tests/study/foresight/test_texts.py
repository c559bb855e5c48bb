"""What generating texts holds: keys and values by the configuration, and when a plain copy of the weights is made."""

from __future__ import annotations

import pytest

from tunelab.api.studies import load_study
from tunelab.entries import Device, Forecast
from tunelab.models import growing_cache
from tunelab.study.foresight import texts
from tunelab.study.foresight.texts import COPY, KEYS_AND_VALUES, SCORES, generates, with_texts
from tunelab.study.planning.planned import Revisions
from tunelab.study.planning.run_config import method_run


def planned(name, *, model="tunelab/tiny", metrics=("rouge_l",), **settings):
    study = {"model": model, "tasks": [{"name": "restaurants", "metrics": list(metrics)}], "methods": [name]}
    plan = load_study({**study, "batch": {"max_tokens": 1024}, **settings})
    (method,) = plan.methods
    candidate = method.candidates[0]
    run = method_run(
        plan, plan.tasks[0], "torch", Revisions(precision="fp32"), method=method, seed=0, candidate=candidate
    )
    return run, candidate.method


def forecast(device: Device = "cpu", kind: str = "frozen"):
    held = {f"weights, {kind}, float32": 16 * 2**20, "process": 7}
    return Forecast(device=device, load=held, train=held, evaluate=held, save={**held, "allocator": 9})


def test_keys_and_values_of_all_places_with_room_to_grow():
    run, method = planned("lora", generation={"max_new_tokens": 64})
    told = with_texts(forecast(), run, method, [(40, 8, 0), (20, 8, 0)], num_texts=10)
    tokens = 10 * (96 + 32)  # prompts of 32 tokens, 64 new ones, 32 of room
    assert told.texts[KEYS_AND_VALUES] == 2 * 4 * (2 * 64) * tokens * 4  # 4 blocks, 2 key heads of 64, fp32
    assert told.texts[SCORES] == 2 * 10 * 4096 * 4
    assert told.texts[COPY] == 16 * 2**20 and "allocator" not in told.texts
    assert told.total("evaluate") == sum(told.texts.values()) == told.peak


def test_beams_share_their_prompt():
    run, method = planned("lora", generation={"max_new_tokens": 64, "beams": 4})
    told = with_texts(forecast(), run, method, [(40, 8, 0)], num_texts=10)
    assert told.texts[KEYS_AND_VALUES] == 2 * 4 * 128 * 4 * (40 * (64 + 32) + 10 * 32)


def test_the_budget_bounds_how_many_go_together():
    run, method = planned("lora", generation={"max_new_tokens": 64})
    few = with_texts(forecast("cuda"), run, method, [(448, 448, 0)]).texts[KEYS_AND_VALUES]
    assert few == 2 * 4 * 128 * 4 * (4096 // 512) * (512 + 128)  # all learned: no data was read, 448 are the prompt


def test_a_source_has_keys_of_its_own():
    run, method = planned("lora", model="tunelab/tiny-seq2seq", generation={"max_new_tokens": 32})
    told = with_texts(forecast(), run, method, [(12, 12, 28)], num_texts=5)
    assert told.texts[KEYS_AND_VALUES] % (5 * (32 + 32 + 28)) == 0


def test_what_is_plain_is_not_copied():
    run, method = planned("full")
    assert COPY not in with_texts(forecast(kind="trained"), run, method, [(40, 8, 0)]).texts
    run, method = planned("qlora")
    assert COPY not in with_texts(forecast(), run, method, [(40, 8, 0)]).texts


def test_on_a_gpu_texts_do_not_decide_what_fits():
    run, method = planned("lora")
    told = with_texts(forecast("cuda"), run, method, [(40, 8, 0)])
    assert sum(told.texts.values()) > told.peak == told.total("save")


@pytest.mark.parametrize(("metrics", "expected"), [(("rouge_l", "loss"), True), (("loss",), False)])
def test_a_task_generates_where_a_metric_reads_texts(metrics, expected):
    assert generates(planned("lora", metrics=metrics)[0]) is expected


def test_room_is_that_of_generation():
    assert growing_cache.ROOM == texts.ROOM
