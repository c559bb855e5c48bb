"""Against torch and PEFT, from the same folders: logits, adapters both ways, texts."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import tiny
from tunelab.backends.jittor import environment
from tunelab.config.schema import Generation, ModelSource
from tunelab.methods.lora import Lora
from tunelab.models.load import EMBEDDED
from tunelab.study.planning.plan import load_backend, parts

pytestmark = pytest.mark.slow

IDS = np.random.default_rng(0).integers(2, tiny.VOCABULARY, (3, 21))
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
SIZES = dict(
    vocab_size=tiny.VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
    bos_token_id=1, eos_token_id=1, pad_token_id=0,
)  # fmt: skip


def mistral():
    """Heads of a size of their own, and a window that is shorter than the rows."""
    return MistralForCausalLM(MistralConfig(**SIZES, num_key_value_heads=2, head_dim=12, sliding_window=7))


def qwen2():
    """Biases of query, key and value; a window in the last layer alone; a head of its own."""
    window = dict(use_sliding_window=True, sliding_window=5, max_window_layers=2)
    return Qwen2ForCausalLM(Qwen2Config(**SIZES, num_key_value_heads=4, tie_word_embeddings=False, **window))


MODELS = {
    "gpt2": lambda: tiny.model("gpt2"),
    "llama": lambda: tiny.model("llama", rope_parameters=LLAMA3),
    "linear": lambda: tiny.model(
        "llama", tie_word_embeddings=False, attention_bias=True, mlp_bias=True,
        rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
    ),
    "mistral": mistral,
    "qwen2": qwen2,
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Every model with vectors that are not what they start as: a bias of zero would hide that it is left out."""
    found = {}
    for name, make in MODELS.items():
        torch.manual_seed(0)
        model, folder = make(), tmp_path_factory.mktemp(name)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(EMBEDDED["tunelab/tiny"]).save_pretrained(folder)
        found[name] = folder
    return found


def asked(folder, **more):
    run = tiny.run_config(backend="jittor", model=ModelSource(name=str(folder)))
    return {"run": run.model_dump(mode="json"), **more}


def inside(folder: Path, jobs) -> Path:
    job = folder / "job.json"
    job.write_text(json.dumps(jobs))
    python, isolated, start, *_ = environment.command("")
    command = [python, isolated, str(Path(__file__).with_name("inside.py")), start, str(job)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.stdout.endswith("DONE\n"), done.stdout[-1000:] + done.stderr[-3000:]
    return folder


def attached(folder, options):
    return Lora(**options).attach(AutoModelForCausalLM.from_pretrained(folder), seed=0).eval()


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(IDS)).logits.numpy()


def test_logits_equal_torchs(jittor, folders, tmp_path):
    inside(tmp_path, [asked(folder, logits=IDS.tolist()) for folder in folders.values()])
    for number, folder in enumerate(folders.values()):
        wanted = logits(AutoModelForCausalLM.from_pretrained(folder))
        assert np.abs(np.load(tmp_path / f"logits-{number}.npy") - wanted).max() < 1e-5, folder


CASES = {
    "all": ("llama", {"rank": 4, "alpha": 8.0, "ranks": {"v_proj": 2}}),
    "rslora": ("gpt2", {"rank": 4, "alpha": 8.0, "scaling": "rslora", "targets": ("attn.c_proj", "c_fc")}),
    "parts": ("gpt2", {"rank": 3, "alpha": 12.0, "ranks": {"c_attn.v": 2}, "targets": ("c_attn.q", "c_attn.v")}),
}


def test_its_adapters_are_pefts_and_torchs(jittor, folders, tmp_path):
    jobs = [
        asked(folders[model], method=("lora", options), steps=3, write=str(tmp_path / name), logits=IDS.tolist())
        for name, (model, options) in CASES.items()
    ]
    inside(tmp_path, jobs)
    for number, (name, (model, options)) in enumerate(CASES.items()):
        found = np.load(tmp_path / f"logits-{number}.npy")
        base = AutoModelForCausalLM.from_pretrained(folders[model])
        assert np.abs(found - logits(base)).max() > 1e-2, "it has learned something"
        by_peft = PeftModel.from_pretrained(base, tmp_path / name)
        assert np.abs(logits(by_peft) - found).max() < 1e-5, name
        again = attached(folders[model], options)
        Lora(**options).load(again, tmp_path / name)
        assert np.abs(logits(again) - found).max() < 1e-5, name


def test_adapters_of_peft_and_torch_are_read(jittor, folders, tmp_path):
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    by_peft = get_peft_model(AutoModelForCausalLM.from_pretrained(folders["llama"]), config)
    by_peft.save_pretrained(tmp_path / "peft")
    options = CASES["parts"][1]
    ours = attached(folders["gpt2"], options)
    for parameter in ours.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    Lora(**options).save(ours, tmp_path / "ours")
    told = {"rank": 4, "alpha": 8.0, "targets": ("q_proj", "down_proj")}
    jobs = [
        asked(folders["llama"], method=("lora", told), read=str(tmp_path / "peft"), logits=IDS.tolist()),
        asked(folders["gpt2"], method=("lora", options), read=str(tmp_path / "ours"), logits=IDS.tolist()),
    ]
    inside(tmp_path, jobs)
    for number, model in enumerate((by_peft, ours)):
        assert np.abs(np.load(tmp_path / f"logits-{number}.npy") - logits(model)).max() < 1e-5


def test_documents_of_a_packed_row_do_not_see_each_other(jittor, folders, tmp_path):
    first, second = IDS[0, :9].tolist(), IDS[1, :12].tolist()
    alone = [[first, [False] + [True] * 8, []], [second, [False] + [True] * 11, []]]
    both = [first + second, alone[0][1] + alone[1][1], [0, 9]]
    inside(tmp_path, [asked(folders[name], packed=[*alone, both]) for name in ("gpt2", "mistral")])
    for number in range(2):
        one, other, packed = json.loads((tmp_path / f"losses-{number}.json").read_text())
        assert packed == pytest.approx(one + other, rel=1e-5)


SETTINGS = (
    {"max_new_tokens": 24},
    {"max_new_tokens": 12, "beams": 10, "length_penalty": 0.8, "no_repeat_ngram": 4},
    {"max_new_tokens": 8, "temperature": 0.8, "top_k": 50, "top_p": 0.9},
)


def test_texts_are_torchs(jittor, tmp_path):
    """At least 99 of 100: where two tokens score the same to the last bits, frameworks may differ."""
    task = {"name": "restaurants", "train_rows": 200, "validation_rows": 1, "test_rows": 1, "metrics": ["bleu"]}
    model = ModelSource(name="tunelab/tiny")
    run = tiny.run_config(backend="jittor", model=model, task="restaurants", task_options=task)
    task, backend = parts(run).task, load_backend("torch")
    located = backend.locate(run.model)
    text = backend.text(run.model, located)
    prompts = [text.tokenizer(example.prompt)["input_ids"] for example in task.examples("train")]
    assert len(prompts) == 200
    inside(tmp_path, [{"run": run.model_dump(mode="json"), "prompts": prompts, "settings": SETTINGS}])
    found = json.loads((tmp_path / "texts-0.json").read_text())
    session = backend.session(run, None, located=located, text=text, notes=[])
    ids = [np.array(prompt, dtype=np.int32) for prompt in prompts]
    for settings, texts in zip(SETTINGS, found, strict=True):
        wanted = session.generate(ids, Generation(**settings), progress=lambda told: None)
        equal = sum(mine == theirs for mine, theirs in zip(texts, wanted, strict=True))
        assert equal >= 198, settings
        assert len({tuple(each) for each in texts}) > 20, "they are not all the same"
