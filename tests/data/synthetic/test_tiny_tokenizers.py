"""The tokenizers of the embedded models: any text comes back, digits stand alone, the words of the tasks are known."""

import json
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

import tunelab
from tunelab.data.synthetic import arithmetic, chat, restaurants

TINY = Path(tunelab.__file__).parent / "models" / "tiny"


@pytest.fixture(scope="module", params=["causal", "seq2seq"])
def folder(request):
    return TINY / request.param


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    "text",
    [
        "Plain words.",
        " two  spaces \n\n and\ttabs \r\n",
        "Ünï çödé 漢字 עברית 🙂🏽",
        "\x00\x7f",
        "don't <| x |>",
        "1234,5.6e-7",
        "",
    ],
)
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_nothing_is_added_to_a_text(tokenizer):
    assert not set(tokenizer.encode("The fox.")) & set(tokenizer.all_special_ids)


def test_digits_are_split(tokenizer):
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("2024")) == list("2024")


def test_prompt_tokens_do_not_depend_on_the_target(tokenizer):
    for row in restaurants.rows(split="test", n=50, seed=0):
        prompt = row["meaning"] + "\n"
        assert tokenizer.encode(prompt + row["text"]) == tokenizer.encode(prompt) + tokenizer.encode(row["text"])


def test_words_of_the_tasks_are_few_tokens(tokenizer):
    texts = [row["text"] for row in restaurants.rows(split="test", n=300, seed=0)]
    assert sum(len(tokenizer.encode(text)) for text in texts) / sum(len(text.split()) for text in texts) < 1.6
    for row in arithmetic.rows(split="test", n=50, seed=0):
        assert len(tokenizer.encode(row["question"] + row["answer"])) < 200


def test_ids_agree_with_the_model_config(folder, tokenizer):
    config = AutoConfig.from_pretrained(folder)
    assert len(tokenizer) == config.vocab_size
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (config.pad_token_id, config.eos_token_id) == (0, 1)
    assert tokenizer.bos_token_id is None


def test_config_files_hold_the_expected_sizes():
    causal, seq2seq = (json.loads((TINY / name / "config.json").read_text()) for name in ("causal", "seq2seq"))
    assert (causal["model_type"], causal["vocab_size"], causal["tie_word_embeddings"]) == ("llama", 4096, True)
    assert (seq2seq["model_type"], seq2seq["vocab_size"], seq2seq["decoder_start_token_id"]) == ("t5", 4096, 0)


@pytest.mark.parametrize("name, low, high", [("causal", 3.9e6, 4.1e6), ("seq2seq", 2.8e6, 3e6)])
def test_models_have_the_expected_number_of_parameters(name, low, high):
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = AutoConfig.from_pretrained(TINY / name)
    with torch.device("meta"):
        build = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model = build.from_config(config)
    model.tie_weights()
    assert low < sum(parameter.numel() for parameter in model.parameters()) < high


def test_chat_template_writes_turns_and_a_generation_prompt():
    tokenizer = AutoTokenizer.from_pretrained(TINY / "causal")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n"


def test_chat_template_closes_every_generated_turn_with_the_end_token():
    tokenizer = AutoTokenizer.from_pretrained(TINY / "causal")
    for row in chat.rows(split="test", n=20, seed=0):
        ids = tokenizer.apply_chat_template(row["messages"], return_dict=False)
        assert ids.count(tokenizer.eos_token_id) == len(row["messages"])
