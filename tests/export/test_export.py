"""What is exported computes what was trained, and what does not is never left behind."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import tunelab
from tunelab.errors import ConfigError, ModelError, RunError
from tunelab.export.export import as_json, export, export_text, find_run
from tunelab.methods.lora import Lora
from tunelab.study.executing.saved import find_saved, open_saved
from tunelab.study.store import RunFolder

IDS = np.random.default_rng(1).integers(0, 500, (2, 16))


def trained_logits(run):
    saved = find_saved(str(run))
    return logits(open_saved(saved, saved.run).session.model)


def logits(model):
    with torch.no_grad():
        return model.eval()(torch.from_numpy(IDS)).logits.float()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_merged_weights_are_a_model_that_computes_what_was_trained(finished, tmp_path, method):
    exported = export(finished.run(method), tmp_path / "model", merge=True)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert (model.dtype, exported.written.dtype) == (torch.float32, "fp32")
    torch.testing.assert_close(logits(model), trained_logits(finished.run(method)), atol=1e-5, rtol=1e-5)
    assert exported.written.agreement.largest_logit_difference < 1e-5
    assert exported.rows == "4 test rows"
    assert AutoTokenizer.from_pretrained(tmp_path / "model").eos_token_id is not None
    assert {"config.json", "generation_config.json", "model.safetensors", "README.md"} <= set(
        as_json(exported)["files"]
    )


def test_without_merge_an_adapter_is_read_by_peft_and_by_tunelab(finished, tmp_path):
    from peft import PeftModel

    exported = export(finished.run("lora"), tmp_path / "adapter")
    assert exported.kind == "adapter" and exported.written.peft.largest_logit_difference < 1e-5
    base = AutoModelForCausalLM.from_pretrained(finished.folder / "llama")
    expected = trained_logits(finished.run("lora"))
    assert not torch.allclose(logits(base), expected, atol=1e-3), "three steps changed nothing: the test proves nothing"
    peft = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    torch.testing.assert_close(logits(peft), expected, atol=1e-5, rtol=1e-5)
    assert find_saved(str(tmp_path / "adapter")).method == find_saved(str(finished.run("lora"))).method
    assert len(tunelab.generate(tmp_path / "adapter", ["a"], max_new_tokens=2)) == 1


def test_without_merge_weights_stay_weights(finished, tmp_path):
    assert export(finished.run("full"), tmp_path / "weights").kind == "weights"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "weights")
    torch.testing.assert_close(logits(model), trained_logits(finished.run("full")), atol=1e-5, rtol=1e-5)


def test_narrow_weights_are_measured_against_the_trained_model(finished, tmp_path):
    exported = export(finished.run("lora"), tmp_path / "model", merge=True, dtype="bf16")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto").dtype == torch.bfloat16
    assert 1e-5 < exported.written.agreement.largest_logit_difference
    assert "limit 5e-02" in export_text(exported)


def test_an_update_that_rounding_swallows_is_noted(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("tunelab.export.merge.LARGEST_LOST_SHARE", 0.0)
    exported = export(finished.run("lora"), tmp_path / "narrow", merge=True, dtype="bf16")
    assert "rounding to bf16 moved logits by up to" in export_text(exported)
    learned = float(exported.written.notes[0].split("training by up to ")[1].split(":")[0])
    base = AutoModelForCausalLM.from_pretrained(finished.folder / "llama")
    assert 1e-3 < learned < 10 * float((logits(base) - trained_logits(finished.run("lora"))).abs().max())
    monkeypatch.undo()
    assert export(finished.run("lora"), tmp_path / "wide", merge=True, dtype="fp32").written.notes == ()


def test_fixed_rows_stand_in_for_data_that_is_gone(own, tmp_path):
    run = own.run("lora")
    facts = json.loads((run / "run.json").read_text())
    facts["task_options"]["test"] = str(tmp_path / "gone.jsonl")
    (run / "run.json").write_text(json.dumps(facts))
    exported = export(run, tmp_path / "model", merge=True)
    assert exported.rows == "4 fixed rows" and exported.written.agreement.largest_logit_difference < 1e-5


# ------------------------------------------------------------------ what does not compute the same


def test_a_merge_that_forgets_the_adapter_is_an_error_and_leaves_nothing(finished, tmp_path, monkeypatch):
    def forgetful(self, model):
        return AutoModelForCausalLM.from_pretrained(finished.folder / "llama")

    monkeypatch.setattr(Lora, "merged", forgetful)
    with pytest.raises(RunError, match="merged, in memory: logits differ by"):
        export(finished.run("lora"), tmp_path / "model", merge=True)
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_that_peft_reads_otherwise_is_an_error(own, tmp_path):
    file = own.run("lora") / "model" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "lora_alpha": 40}))
    with pytest.raises(RunError, match="read by PEFT: logits differ by"):
        export(own.run("lora"), tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def rescaled(factor):
    """The same function with other weights, and a head that is not the embeddings any more."""

    def merged(self, model):
        model.model.norm.weight.data.mul_(factor)
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() / factor)
        return model

    return merged


def test_weights_that_overflow_their_type_are_an_error(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("tunelab.methods.full.Full.merged", rescaled(1e6))
    with pytest.raises(RunError, match="as fp16: logits are not finite; give --dtype fp32"):
        export(finished.run("full"), tmp_path / "model", merge=True, dtype="fp16")
    assert list(tmp_path.iterdir()) == []


def test_a_head_that_left_its_embeddings_is_not_tied_again(finished, tmp_path, monkeypatch):
    assert AutoModelForCausalLM.from_pretrained(finished.folder / "llama").config.tie_word_embeddings
    monkeypatch.setattr("tunelab.methods.full.Full.merged", rescaled(4.0))
    export(finished.run("full"), tmp_path / "model", merge=True)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(logits(model), trained_logits(finished.run("full")), atol=1e-5, rtol=1e-5)


class Rounded(Lora):
    """As if the base were held in 8 bits: merging gives other weights than were trained on."""

    noise: float = 0.0

    @property
    def base_storage(self):
        return "int8"

    def merged(self, model):
        model = super().merged(model)
        torch.manual_seed(0)
        for parameter in model.parameters():
            parameter.data.add_(self.noise * torch.randn_like(parameter) * parameter.std())
        return model


def _rounded(monkeypatch, noise):
    def found(path):
        saved = find_run(path)
        options = {key: value for key, value in saved.facts.items() if key not in ("name", "label")}
        return saved._replace(method=Rounded(**options, noise=noise))

    monkeypatch.setattr("tunelab.export.export.find_run", found)


def test_of_a_quantised_base_both_losses_are_told(finished, tmp_path, monkeypatch):
    _rounded(monkeypatch, noise=0.02)
    exported = export(finished.run("lora"), tmp_path / "model", merge=True)
    losses = exported.written.losses
    assert losses.num_rows == 6 and 0 < abs(losses.difference) < 0.5
    trained = RunFolder(finished.run("lora")).read_result().scores["perplexity"].value
    assert np.exp(losses.trained) == pytest.approx(trained, rel=1e-4)
    assert f"{losses.trained:.4f}, merged {losses.written:.4f}" in export_text(exported)
    assert as_json(exported)["losses"]["difference"] == losses.difference


def test_a_quantised_base_whose_merge_is_garbage_is_an_error(finished, tmp_path, monkeypatch):
    _rounded(monkeypatch, noise=20.0)
    with pytest.raises(RunError, match="merged: the loss is"):
        export(finished.run("lora"), tmp_path / "model", merge=True)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ what is refused


def test_a_folder_that_is_not_free_is_refused(finished, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty; choose"):
        export(finished.run("lora"), tmp_path / "full")
    with pytest.raises(ConfigError, match="is a file; choose"):
        export(finished.run("lora"), tmp_path / "full" / "mine.txt")
    with pytest.raises(ConfigError, match="lies in a study's results"):
        export(finished.run("lora"), finished.out / "model")
    (tmp_path / "empty").mkdir()
    assert export(finished.run("lora"), tmp_path / "empty").folder == tmp_path / "empty"


def test_only_a_finished_run_is_exported(own, tmp_path):
    run = own.run("lora")
    (run / "result.json").unlink()
    with pytest.raises(ConfigError, match="has not finished; `tunelab run`"):
        find_run(run)
    RunFolder(run).write_failure("the loss is not finite at step 2")
    with pytest.raises(ConfigError, match="the run failed .the loss is not finite at step 2."):
        find_run(run)
    with pytest.raises(ConfigError, match="is a study's results; name one of its runs, as .*full--"):
        find_run(own.out)
    with pytest.raises(ConfigError, match="nothing was trained"):
        find_run(own.run("base"))
    with pytest.raises(ConfigError, match="no such folder"):
        find_run(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"no run.json in it"):
        find_run(tmp_path)
    with pytest.raises(ConfigError, match="give --merge too"):
        export(own.run("full"), tmp_path / "model", dtype="bf16")


def test_a_base_that_has_changed_since_is_refused(own, tmp_path):
    run = own.run("lora")
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "model_revision": "sha256:other"}))
    with pytest.raises(ModelError, match="it has changed"):
        export(run, tmp_path / "model", merge=True)
