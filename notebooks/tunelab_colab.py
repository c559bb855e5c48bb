# %% [markdown]
# # tunelab: fine-tune one language model every way that fits, and learn which way to keep
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/tunelab/tunelab/blob/main/notebooks/tunelab_colab.ipynb)
#
# 1. **Quickstart**: full fine-tuning and LoRA on an embedded model, two seeds each, with the untouched base beside
#    them. No account, no download but the package, about five minutes on two processor cores.
# 2. **QLoRA against GaLore on gemma-3-1b** over Alpaca, Tulu v2 and UltraChat, with texts before and after. Long, and
#    off until you switch it on: it wants a GPU and a Hugging Face account.
# 3. **Your own file**: from a csv or jsonl to a report and a model to download. An example file stands in until you
#    upload yours.
#
# *Runtime → Run all* does 1 and 3. The same notebook runs in Jupyter outside Colab.

# %% [markdown]
# ## Settings

# %%
GEMMA = False  # @param {type:"boolean"}
UPLOAD = False  # @param {type:"boolean"}
REHEARSE = False  # @param {type:"boolean"}
# GEMMA: part 2, about an hour and a half on a T4 (calculated, not measured).
# UPLOAD: part 3 asks for a file of yours in place of the example.
# REHEARSE: every study with stand-ins (a toy model, few rows, few steps), in a minute or two each. Its numbers mean
# nothing: it finds what would break.

# %% [markdown]
# ## Install
#
# Colab's own torch stays as it is: pip is told to keep the version that is installed, and says so where that cannot be.
# Outside Colab nothing is installed; there `pip install tunelab` comes first.

# %%
import importlib.metadata
import subprocess
import sys
from pathlib import Path

IN_COLAB = "google.colab" in sys.modules
PACKAGE = "tunelab @ git+https://github.com/tunelab/tunelab"
KEPT = ("torch", "torchvision", "torchaudio", "numpy")


def install() -> None:
    """tunelab beside what Colab brings of KEPT, at the very versions that are there."""
    here = {package.metadata["Name"].lower(): package.version for package in importlib.metadata.distributions()}
    constraints = Path("constraints.txt")
    constraints.write_text("".join(f"{name}=={here[name]}\n" for name in KEPT if name in here))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(constraints), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"pip could not install tunelab beside {constraints.read_text().split()}:\n{done.stderr}")


if IN_COLAB:
    install()

# %%
import tunelab

print("tunelab", tunelab.__version__)

# %% [markdown]
# ## 1. Quickstart
#
# A **study** is methods × tasks × seeds on one base model. `plan` says what would be executed and reads no weights.

# %%
tunelab.plan("quickstart")

# %% [markdown]
# `run` executes what is not finished. Interrupt it and call it again: it goes on where it stopped.

# %%
outcome = tunelab.run("quickstart", rehearse=REHEARSE)

# %% [markdown]
# The answer: quality with intervals over seeds and test examples, which methods are as good as the best, memory and
# time, and which way to keep.

# %%
outcome

# %%
outcome.figures

# %% [markdown]
# The same test examples before (base) and after:

# %%
outcome.examples(2)

# %% [markdown]
# Rows as a data frame, with the folder of every run:

# %%
outcome.to_pandas()[["method", "num_seeds", "rouge_l", "rouge_l_low", "rouge_l_high", "peak_train_gib", "run_folders"]]

# %% [markdown]
# A run's folder is a model to ask. `temperature` draws; without it the likeliest token is taken.

# %%
records = [f"name = The Eagle ; kind = {kind} ; cuisine = French ; price = cheap" for kind in ("pub", "cafe", "diner")]
tunelab.generate(outcome.run_folder("lora"), records, temperature=0.7, top_p=0.9, max_new_tokens=60)

# %% [markdown]
# ## 2. QLoRA against GaLore on gemma-3-1b
#
# The bundled study `gemma-qlora-galore`: google/gemma-3-1b-it on Alpaca, Tulu v2 and UltraChat. Published, with 5,000
# rows of each, 3 epochs and 3 seeds: BLEU-4 0.0582 before, 0.1112 after QLoRA, 0.1064 after GaLore; ROUGE-L 0.1632,
# 0.2326 and 0.2268. That is a day's work for a T4. Here it is cut down to 300 rows of each to train on and 40 to test
# on, one epoch, two seeds: the table shows the direction, not those numbers. Everything else is the study's own.
#
# gemma is gated. Accept its terms at <https://huggingface.co/google/gemma-3-1b-it> and keep a token under the name
# `HF_TOKEN` among Colab's secrets (the key at the left). A T4 has no bf16, so products are fp32 there.

# %%
SOURCES = ("alpaca", "tulu_v2", "ultrachat_200k")
SMALLER = [
    "name=gemma-qlora-galore-small",
    *(f"tasks.0.{source}={{train: 300, test: 40}}" for source in SOURCES),
    "seeds=[0, 1]",
    "budget={epochs: 1}",
    "batch.max_tokens=512",  # bounds memory, changes no gradient
    "activation_checkpointing=true",
]


def log_in() -> None:
    """Only here: nothing else in this notebook wants an account. Outside Colab `hf auth login` does it."""
    if IN_COLAB:
        import os

        from google.colab import userdata

        os.environ["HF_TOKEN"] = userdata.get("HF_TOKEN")


tunelab.plan("gemma-qlora-galore", overrides=SMALLER)

# %%
gemma = None
if GEMMA:
    if not REHEARSE:
        log_in()
    gemma = tunelab.run("gemma-qlora-galore", overrides=SMALLER, rehearse=REHEARSE)
gemma

# %%
gemma and gemma.figures

# %% [markdown]
# Before and after, on the same test conversations:

# %%
gemma and gemma.examples(4)

# %% [markdown]
# Questions of your own, to the untouched base and to what each method made of it:

# %%
if gemma:
    questions = ["Name three uses of a paper clip.", "Why is the sky blue? Answer a child."]
    for method in ("base", "qlora", "galore"):
        print(method, *tunelab.generate(gemma.run_folder(method), questions, max_new_tokens=80), sep="\n- ")

# %% [markdown]
# ## 3. Your own file
#
# jsonl, json, csv, tsv, parquet or txt. `init` looks at its columns, writes a commented study, and holds a tenth of the
# rows out to test on where you give no test file. The embedded model is for trying things out; for real work give a
# model of your choice, as `model="Qwen/Qwen2.5-0.5B-Instruct"`.

# %%
import json
from itertools import product

MODEL = "tunelab/tiny"


def example_file() -> Path:
    """120 questions about opening hours, written here."""
    places = ["bakery", "library", "museum", "pool", "market", "post office"]
    towns, days = ["Riverside", "Oakham", "Hilltop", "Westfield"], ["Monday", "Tuesday", "Thursday", "Friday", "Sunday"]
    rows = [
        {
            "question": f"When does the {place} in {town} open on {day}?",
            "answer": f"The {place} in {town} opens at {7 + number % 5} on {day}.",
        }
        for number, (place, town, day) in enumerate(product(places, towns, days))
    ]
    path = Path("opening-hours.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


if UPLOAD and IN_COLAB:
    from google.colab import files

    own_file = Path(next(iter(files.upload())))
else:
    own_file = example_file()
written = tunelab.init(own_file, model=MODEL, out="study.yaml", force=True)
written

# %% [markdown]
# What the model reads, and which tokens it is trained on. Look at this before every first run.

# %%
tunelab.show(written.study, examples=2)

# %% [markdown]
# Edit `study.yaml` as you like, or change it for one call. A plan with a mistake names the line and the way out.

# %%
FEWER = ["seeds=[0, 1]", "validation.every=1", "generation.max_new_tokens=40", "threads=1", "launch.workers=2"]
own = tunelab.run(written.study, overrides=FEWER, rehearse=REHEARSE)
own

# %% [markdown]
# The whole report, one page that needs no network:

# %%
own.page

# %% [markdown]
# The model to keep, as a folder that PEFT or transformers loads, checked against what was trained; and everything to
# download.

# %%
import shutil

keep = "lora"  # or another method of the table above
shutil.rmtree("exported", ignore_errors=True)
exported = tunelab.export(own.run_folder(keep), "exported", merge=True)
exported

# %%
shutil.copy(own.folder / "report.html", "exported/report.html")
archive = shutil.make_archive("tunelab-model", "zip", "exported")
if IN_COLAB:
    from google.colab import files

    files.download(archive)
print(archive)
