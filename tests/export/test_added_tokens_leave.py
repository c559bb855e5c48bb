"""A study that adds tokens, by its own commands: they are one token each, learned, and in whatever leaves the study."""

import json
import re

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny
import tunelab
from tunelab.config.run import RunConfig
from tunelab.errors import ModelError
from tunelab.export.export import export
from tunelab.study.planning.plan import identity

pytestmark = pytest.mark.slow
STUDY = """
name: added
model: {name: llama, tokens: {"<|call|>": call, "<|done|>": ""}}
tasks:
  - {name: replies, train: train.jsonl, test: test.jsonl, prompt: "{question}\\n", target: "{answer}", metrics: [exact_match, perplexity]}
methods:
  - full: {learning_rate: 1e-2}
  - lora: {rank: 4, learning_rate: 1e-2}
  - rosa: {rank: 4, density: 0.01, learning_rate: 1e-2}
seeds: [0]
budget: {steps: 60}
batch: {examples: 4}
precision: fp32
threads: 1
"""  # noqa: E501
NEW = ("<|call|>", "<|done|>")


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    folder = tmp_path_factory.mktemp("added")
    tiny.model_folder(folder / "llama")
    for name, count in (("train", 16), ("test", 4)):
        rows = [{"question": f"<|call|>{number}?", "answer": "so<|done|>."} for number in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "added.yaml").write_text(STUDY)
    assert tunelab.run(folder / "added.yaml", out=folder / "out", cluster="in-process").num_failed == 0
    return folder


def run_of(added, method):
    return next((added / "out" / "runs").glob(f"{method}--*"))


@pytest.mark.parametrize("method", ["full", "lora", "rosa"])
def test_texts_have_them_and_so_has_what_is_exported(added, tmp_path, method):
    run = run_of(added, method)
    texts = [json.loads(line)["prediction"] for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert any("<|done|>" in text for text in texts), texts
    exported = export(run, tmp_path / "merged", merge=True)
    assert exported.written.agreement.largest_logit_difference < 1e-5
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    first, second = (tokenizer.encode(token, add_special_tokens=False) for token in NEW)
    assert len(first) == len(second) == 1
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    weight = model.get_input_embeddings().weight
    assert model.config.vocab_size == len(weight) == max(*first, *second) + 1
    assert (weight[first[0]] - weight[second[0]]).abs().max() > 1e-3
    assert exported.written.texts is None or exported.written.texts.other_prompts == 0


def test_the_adapter_is_pefts_on_a_base_with_their_rows(added, tmp_path):
    exported = export(run_of(added, "lora"), tmp_path / "adapter")
    assert exported.kind == "adapter" and exported.written.peft.largest_logit_difference < 1e-5
    assert tunelab.generate(tmp_path / "adapter", ["<|call|>3?\n"], max_new_tokens=4)
    card = (tmp_path / "adapter" / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1].replace("FOLDER", str(tmp_path / "adapter"))
    names = {}
    exec(code.replace("'BASE'", repr(str(added / "llama"))), names)  # as a reader of the card would
    ids = torch.tensor([names["tokenizer"].encode("<|call|>3?\n")])
    assert names["model"](input_ids=ids).logits.shape[-1] == len(names["tokenizer"])


def test_a_token_that_is_there_is_refused(added):
    study = (added / "added.yaml").read_text().replace('"<|call|>": call', '"<|end|>": call')
    (added / "twice.yaml").write_text(study)
    with pytest.raises(ModelError, match=r"model.tokens: '<\|end\|>' is a token of '.*llama' already"):
        tunelab.plan(added / "twice.yaml")


def test_it_is_another_run_than_without(added):
    run = RunConfig.from_run_json((run_of(added, "lora") / "run.json").read_text())
    plain = run.model_copy(update={"model": run.model.model_copy(update={"tokens": ()})})
    assert identity(run) != identity(plain)
    assert run.model.tokens == {"<|call|>": "call", "<|done|>": ""}
