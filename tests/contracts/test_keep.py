"""`validation.keep: best`, for every method: the weights of the best pass are the result, whatever kill comes."""

import pytest

import tiny
from contracts.test_methods import METHODS, build, logits, rows_for
from training_harness import Stopped, run_training
from tunelab.training import loop
from tunelab.training.state import Checkpoints

pytestmark = pytest.mark.slow
BEST = {"validation_settings": {"every": 0.5, "keep": "best"}, "checkpoint": {"seconds": 0}, "budget": {"steps": 15}}


@pytest.fixture
def best_at(monkeypatch):
    """Makes a pass's loss the distance from a step; returns what the model said at each pass."""
    seen, whole = {}, loop.validate

    def prefer(best: int) -> dict:
        def validate(session, rows, *, max_tokens, step, epoch):
            record = whole(session, rows, max_tokens=max_tokens, step=step, epoch=epoch)
            seen[step] = logits(session.model, "llama")
            return record.model_copy(update={"loss": 1.0 + abs(step - best)})

        monkeypatch.setattr(loop, "validate", validate)
        return seen

    return prefer


def trained(name: str, folder, **changes):
    rows = rows_for("llama", 20)
    return run_training(build(name), tiny.model("llama"), rows, folder=folder, validation=rows[:4], **BEST | changes)


@pytest.mark.parametrize("name", METHODS)
def test_the_weights_of_the_best_pass_are_the_result_bit_for_bit(name, best_at, tmp_path):
    seen = best_at(10)
    session = trained(name, tmp_path / "whole").session
    kept = logits(session.model, "llama")
    assert kept.equal(seen[10]) and not kept.equal(seen[15]), "not the last ones"
    fresh = build(name).attach(tiny.model("llama"), seed=5)
    (tmp_path / "saved").mkdir()
    session.write_model(tmp_path / "saved")
    build(name).load(fresh, tmp_path / "saved")
    assert logits(fresh, "llama").equal(kept), "what is saved and exported is what is evaluated"
    for stop in (9, 11, 13):
        with pytest.raises(Stopped):
            trained(name, tmp_path / "cut", stop_after=stop)
    assert logits(trained(name, tmp_path / "cut").model, "llama").equal(kept)


def test_a_kill_between_a_better_pass_and_its_checkpoint_loses_nothing(best_at, tmp_path):
    seen = best_at(10)
    rarely = {"checkpoint": {"seconds": 1e9}}
    with pytest.raises(Stopped):
        trained("full", tmp_path, stop_after=7)
    state, _ = Checkpoints(tmp_path, seconds=0).latest()
    assert (state.step, state.kept_step) == (6, 6)
    with pytest.raises(Stopped):
        trained("full", tmp_path, stop_after=12, **rarely)
    kept = sorted(folder.name for folder in tmp_path.glob("kept-*"))
    assert kept == ["kept-000000006", "kept-000000010"], "the best, and the best that the checkpoint knows"
    assert logits(trained("full", tmp_path, **rarely).model, "llama").equal(seen[10])
    assert [folder.name for folder in tmp_path.glob("kept-*")] == ["kept-000000010"]


def test_where_the_last_pass_is_the_best_nothing_is_written_for_it(best_at, tmp_path):
    seen = best_at(15)
    assert logits(trained("lora", tmp_path).model, "llama").equal(seen[15])
    assert list(tmp_path.glob("kept-*")) == []


def test_of_parts_one_after_the_other_the_last_ones_passes_count(best_at, tmp_path):
    seen = best_at(4)
    assert logits(trained("sequential", tmp_path).model, "llama").equal(seen[10]), "the first pass of its second part"


def test_last_is_the_default_and_keeps_nothing(best_at, tmp_path):
    seen = best_at(4)
    assert logits(trained("lora", tmp_path, validation_settings={"every": 0.5}).model, "llama").equal(seen[15])
    assert list(tmp_path.glob("kept-*")) == []
