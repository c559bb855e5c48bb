"""What a model cannot hold is said while planning, and before the first text where only a run can know it."""

import json

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    OPTConfig,
    PegasusConfig,
)

import tiny
import tunelab
from tunelab.config.schema import Generation
from tunelab.errors import ConfigError, ModelError, RunError
from tunelab.models.inference import Prompts, generate
from tunelab.models.limits import limits_of
from tunelab.models.load import EMBEDDED
from tunelab.records import Limits

SMALL = {"vocab_size": 96, "max_position_embeddings": 64, "d_model": 32, "pad_token_id": 0}
PAIRS = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
TABLES = {
    "gpt2": (GPT2Config(vocab_size=96, n_positions=64, n_embd=32, n_layer=1, n_head=2), Limits(None, 64, 96)),
    "opt": (
        OPTConfig(
            vocab_size=96, max_position_embeddings=64, hidden_size=32, word_embed_proj_dim=32, num_hidden_layers=1,
            num_attention_heads=2, ffn_dim=32,
        ),
        Limits(None, 64, 96),
    ),
    "bart": (BartConfig(**SMALL, **PAIRS, encoder_ffn_dim=32, decoder_ffn_dim=32), Limits(64, 64, 96)),
    "pegasus": (PegasusConfig(**SMALL, **PAIRS, encoder_ffn_dim=32, decoder_ffn_dim=32), Limits(64, 64, 96)),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_of_positions_ends_where_the_model_breaks(kind):
    config, expected = TABLES[kind]
    model = (AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM).from_config(config).eval()
    assert limits_of(model) == expected
    given = {"decoder_input_ids": torch.ones((1, 2), dtype=torch.int64)} if config.is_encoder_decoder else {}
    with torch.no_grad():
        model(input_ids=torch.ones((1, 64), dtype=torch.int64), **given)
        with pytest.raises(IndexError):
            model(input_ids=torch.ones((1, 65), dtype=torch.int64), **given)


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_rotary_and_relative_positions_have_no_end(kind):
    model = tiny.model(kind)
    assert limits_of(model)[:2] == (None, None)
    assert limits_of(model).embedding_rows == model.config.vocab_size


def study(folder, model, **sections):
    rows = [json.dumps({"q": f"how many are {n}", "a": f"there are {n}"}) + "\n" for n in range(30)]
    for name in ("train", "test"):
        (folder / f"{name}.jsonl").write_text("".join(rows))
    task = {"name": "t", "train": "train.jsonl", "test": "test.jsonl", "prompt": "{q}", "target": "{a}"}
    text = {"model": str(model), "tasks": [task], "methods": ["lora"], "seeds": [0], "budget": {"steps": 1}, **sections}
    (folder / "study.yaml").write_text(json.dumps(text))
    return folder / "study.yaml"


def gpt2_folder(folder, **changes):
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED["tunelab/tiny"])
    config = GPT2Config(
        **{"vocab_size": len(tokenizer), "n_positions": 64, "n_embd": 32, "n_layer": 1, "n_head": 2, **changes}
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_the_plan_names_both_numbers_and_the_way_out(tmp_path):
    model = gpt2_folder(tmp_path / "gpt2")
    with pytest.raises(ConfigError, match=r"batch.max_length: 512 tokens, and the model has 64 positions; set batch"):
        tunelab.plan(study(tmp_path, model))
    planned = tunelab.plan(study(tmp_path, model, batch={"max_length": 64}))
    (note,) = (note for note in planned.notes if "positions" in note)
    assert "batch.max_length (64) and generation.max_new_tokens (128) together are more than the model's 64" in note
    fits = tunelab.plan(study(tmp_path, model, batch={"max_length": 40}, generation={"max_new_tokens": 24}))
    assert not [note for note in fits.notes if "positions" in note]


def test_a_tokenizer_with_more_tokens_than_embedding_rows_is_told_with_both(tmp_path):
    model = tiny.model_folder(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = len(tokenizer)
    tokenizer.add_tokens(["<sql>", "</sql>"])
    tokenizer.save_pretrained(model)
    with pytest.raises(ConfigError, match=rf"ids up to {rows + 1}, the model has {rows} embedding rows; save it after"):
        tunelab.plan(study(tmp_path, model))


def test_a_run_refuses_before_its_first_step_what_no_plan_could_know(tmp_path):
    from tunelab.backends.torch.loading import open_session
    from tunelab.config.schema import ModelSource
    from tunelab.models.load import load_text, locate

    source = ModelSource(name=str(gpt2_folder(tmp_path / "gpt2")))
    located, run = locate(source), tiny.run_config(model=source.model_dump())
    text = load_text(source, located)
    with pytest.raises(ModelError, match="512 tokens, and the model has 64 positions"):
        open_session(run, None, located=located, text=text, notes=[])


def test_texts_that_do_not_fit_are_refused_before_the_first():
    config, _ = TABLES["gpt2"]
    model = AutoModelForCausalLM.from_config(config).eval()
    prompts, options = Prompts([np.arange(1, 50, dtype=np.int32)]), {"ends": [1], "pad": 0, "max_tokens": 1000}
    with pytest.raises(RunError, match="a prompt of 49 tokens and 16 new ones do not fit the model's 64 positions"):
        generate(model, prompts, Generation(max_new_tokens=16), **options)
    (text,) = generate(model, prompts, Generation(max_new_tokens=15, min_new_tokens=15), **options)
    assert len(text) == 15


def test_a_decoder_without_room_for_the_longest_text_is_told_by_the_plan(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED["tunelab/tiny-seq2seq"])
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 64}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    config = BartConfig(vocab_size=len(tokenizer), **sizes, **heads, decoder_start_token_id=1)
    BartForConditionalGeneration(config).save_pretrained(tmp_path / "bart")
    tokenizer.save_pretrained(tmp_path / "bart")
    said = (
        "generation.max_new_tokens: 64 new tokens and the start token do not fit the decoder's 64 positions; set it to"
    )
    options = {"batch": {"max_length": 32}, "methods": ["full"]}
    with pytest.raises(ConfigError, match=said):
        tunelab.plan(study(tmp_path, tmp_path / "bart", generation={"max_new_tokens": 64}, **options))
    tunelab.plan(study(tmp_path, tmp_path / "bart", generation={"max_new_tokens": 63}, **options))
