"""From an exported folder plain transformers writes the texts that were scored, and stops where they stopped."""

import json

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
)

import tiny
import tunelab
from data.tokens.chat_templates import CHATML
from tunelab.export.export import as_json, export, export_text
from tunelab.models.load import EMBEDDED

pytestmark = pytest.mark.slow

QUESTIONS = ("Where is the mill?", "Who lives there?", "Is it old?", "When do they come?")
CHATS = [
    {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "Yes."}]}
    for question in QUESTIONS * 3
]
PAIRS = [{"question": question, "answer": "Yes."} for question in QUESTIONS * 3]
STUDY = """
name: ends
model: base
tasks: [{name: t, train: rows.jsonl, test: test.jsonl, %s, metrics: [exact_match]}]
methods: [{%s: {learning_rate: 0.01}}]
seeds: [0]
budget: {steps: 30}
batch: {examples: 8, max_length: 64}
validation: {every: 1.0}
data: {overlap: ignore}
generation: {max_new_tokens: 8}
precision: %s
threads: 1
"""


def run_of(folder, rows, *, form: str, method: str = "full", precision: str = "fp32"):
    """A finished run on the model of `folder / 'base'`."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    test = rows[: len(QUESTIONS)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in test))
    (folder / "study.yaml").write_text(STUDY % (form, method, precision))
    outcome = tunelab.run(folder / "study.yaml", out=folder / "out", cluster="in-process")
    assert outcome.num_failed == 0, [path.read_text() for path in folder.glob("out/runs/*/failure.json")]
    return next((folder / "out" / "runs").glob(f"{method}--*"))


def change_generation(folder, **fields):
    config = GenerationConfig.from_pretrained(folder)
    config.update(**fields)
    config.save_pretrained(folder)


def chatml_base(folder):
    """Its chat template ends turns with <|im_end|>, its generation config names another token."""
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED["tunelab/tiny"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    tiny.model("llama", vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def bart_base(folder):
    """Its tokenizer begins every label with <s>."""
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED["tunelab/tiny-seq2seq"])
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    around = [("<s>", begin), (tokenizer.eos_token, end)]
    template = TemplateProcessing(single=f"<s> $A {tokenizer.eos_token}", special_tokens=around)
    tokenizer.backend_tokenizer.post_processor = template
    sizes = dict(d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=64, decoder_ffn_dim=64)
    heads = dict(encoder_attention_heads=2, decoder_attention_heads=2, max_position_embeddings=128, dropout=0.0)
    tokens = dict(pad_token_id=0, eos_token_id=end, bos_token_id=begin, decoder_start_token_id=end)
    torch.manual_seed(0)
    BartForConditionalGeneration(
        BartConfig(vocab_size=len(tokenizer), **sizes, **heads, **tokens, forced_bos_token_id=None)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def answers(folder, model=None, config=None):
    """As a user of plain transformers asks: the whole text, special tokens too."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = model or AutoModelForCausalLM.from_pretrained(folder)
    messages = [{"role": "user", "content": QUESTIONS[0]}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        out = model.eval().generate(**inputs, max_new_tokens=8, do_sample=False, generation_config=config)
    return tokenizer.decode(out[0, inputs["input_ids"].shape[1] :])


@pytest.fixture(scope="module")
def chatml(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chatml")
    chatml_base(folder / "base")
    return folder


@pytest.mark.parametrize("merge", [False, True], ids=["as saved", "merged"])
def test_weights_stop_where_the_chat_template_ends_a_turn(chatml, tmp_path, merge):
    run = run_of(chatml, CHATS, form="messages: messages")
    exported = export(run, tmp_path / "model", merge=merge)
    assert answers(tmp_path / "model") == "Yes.<|im_end|>"
    assert exported.written.texts[:3] == (4, 4, 0) and exported.written.notes == ()
    assert "texts by transformers' generate: 4 of 4 equal the study's" in export_text(exported)


def test_an_adapter_brings_the_settings_that_end_its_texts(chatml, tmp_path):
    from peft import PeftModel

    run = run_of(chatml, CHATS, form="messages: messages", method="lora")
    exported = export(run, tmp_path / "adapter")
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(chatml / "base"), str(tmp_path / "adapter"))
    config = GenerationConfig.from_pretrained(tmp_path / "adapter")
    text = answers(tmp_path / "adapter", model, config)
    assert text.endswith("<|im_end|>") and text.count("<|im_end|>") == 1
    assert as_json(exported)["texts"]["equal"] == 4
    assert "GenerationConfig.from_pretrained" in (tmp_path / "adapter" / "README.md").read_text()


def test_a_folder_that_does_not_stop_is_said(chatml, tmp_path, monkeypatch):
    run = run_of(chatml, CHATS, form="messages: messages")
    monkeypatch.setattr("tunelab.models.generation_file.end_tokens", lambda model, tokenizer: [1])
    said = export_text(export(run, tmp_path / "model", merge=True))
    assert "0 of 4 equal the study's" in said
    assert "WARNING: transformers' generate writes 4 of 4 texts otherwise" in said


def test_the_authors_penalties_are_left_out_and_named(tmp_path):
    tiny.model_folder(tmp_path / "base")
    change_generation(tmp_path / "base", repetition_penalty=1.5, do_sample=True, temperature=0.6)
    run = run_of(tmp_path, PAIRS, form='prompt: "{question}\\n", target: "{answer}"')
    exported = export(run, tmp_path / "model", merge=True)
    (note,) = exported.written.notes
    assert note.endswith("it leaves out do_sample=True, repetition_penalty=1.5, temperature=0.6")
    written = GenerationConfig.from_pretrained(tmp_path / "model")
    assert (written.repetition_penalty or 1.0, bool(written.do_sample)) == (1.0, False)
    assert exported.written.texts.equal == 4


def test_what_was_learned_in_the_plain_form_is_asked_in_it(tmp_path):
    tiny.model_folder(tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").unlink()
    run = run_of(tmp_path, CHATS, form="messages: messages")
    exported = export(run, tmp_path / "model", merge=True)
    lines = map(json.loads, (run / "predictions.jsonl").read_text().splitlines())
    (scored,) = (line["prediction"] for line in lines if QUESTIONS[0] in line["prompt"])
    assert answers(tmp_path / "model") == f"{scored}<|end|>"
    assert exported.written.texts[:4] == (4, 4, 0, 0)


def test_an_encoder_decoder_begins_and_ends_as_the_study_had_it(tmp_path):
    bart_base(tmp_path / "base")
    run = run_of(tmp_path, PAIRS, form='prompt: "{question}", target: "{answer}"')
    exported = export(run, tmp_path / "model", merge=True)
    assert exported.written.texts[:4] == (4, 4, 0, 0)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    inputs = tokenizer([QUESTIONS[0]], return_tensors="pt")
    out = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model").generate(**inputs, max_new_tokens=8)
    assert tokenizer.decode(out[0, 1:]) == "<s>Yes.<|end|>"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_was_trained_in_bf16_is_compared_in_fp32(tmp_path, method):
    tiny.model_folder(tmp_path / "base")
    run = run_of(tmp_path, PAIRS, form='prompt: "{question}\\n", target: "{answer}"', method=method, precision="bf16")
    for merge in (False, True):
        exported = export(run, tmp_path / f"model-{merge}", merge=merge)
        assert exported.written.agreement.share_of_largest_logit < 1e-4
