"""The peers' side: Hugging Face Trainer with PEFT, bitsandbytes, galore-torch and TRL, by their public calls."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from side_by_side.measure import Clock, give_back, held_weights_mib, import_model_code, summary, warm_libraries
from side_by_side.prepare import read_steps, same_products, work_folder
from side_by_side.workloads import ALL_LINEAR, GALORE_EPS, Mode, Workload


def train(
    folder: Path, workload: Workload, about: dict[str, Any], *, mode: Mode, steps: int, warm_up: int, threads: int,
    out: Path, profile: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Train by the workload's recipe and tell what it took."""
    import torch
    from transformers import AutoTokenizer

    from tunelab.training.telemetry import ResidentMemory

    torch.set_num_threads(threads)
    if mode != "shipped":
        same_products()
    _import_all(workload)
    precision = "bf16" if mode == "bf16" else "fp32"
    warm_libraries(precision)
    place, model = work_folder(folder, workload, steps), Path(about["model"])
    rows = read_steps(place)
    text = AutoTokenizer.from_pretrained(model)
    memory = ResidentMemory()
    give_back()
    before = memory.current_gib()
    recipe = RECIPES[workload.peer]
    network, options = recipe.load(model, place, precision, mode)
    weights = held_weights_mib()
    loaded = memory.current_gib()
    watch = _watch(memory, profile=profile, last_step=steps)
    arguments = dict(
        output_dir=str(out), per_device_train_batch_size=workload.rows.examples, num_train_epochs=1,
        learning_rate=workload.learning_rate, lr_scheduler_type="constant", bf16=precision == "bf16", use_cpu=True,
        train_sampling_strategy="sequential", save_strategy="no", report_to="none", logging_steps=1, disable_tqdm=True,
        seed=0, remove_unused_columns=False, **options,
    )  # fmt: skip
    if workload.peer == "packed":
        arguments["mode"] = mode
    trainer = recipe.trainer(Work(network, text, place, rows, arguments, watch, workload))
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    told = [
        {"loss": loss, **_counts(step, pairs=workload.peer == "seq2seq")}
        for loss, step in zip(losses, rows, strict=True)
    ]
    found = summary(
        watch.clock, told, warm_up=warm_up, before_gib=before, loaded_gib=loaded, peak_gib=watch.peak_gib,
        weights_mib=weights,
    )  # fmt: skip
    precision = "bf16" if trainer.args.bf16 else "fp32"
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return found | {"precision": precision, "trainable": trained}


def _import_all(workload: Workload) -> None:
    """What a library costs is not what training holds."""
    import accelerate  # noqa: F401
    import peft  # noqa: F401
    from transformers import Seq2SeqTrainer, Trainer  # noqa: F401

    import_model_code(workload)


def _counts(step: list[dict[str, Any]], *, pairs: bool) -> dict[str, int]:
    """Tokens as tunelab counts them: a decoder's own, and what an encoder reads."""
    learned = sum(label != -100 for row in step for label in row["labels"])
    tokens = sum(len(row["input_ids"]) for row in step)
    if pairs:
        tokens += sum(len(row["labels"]) for row in step)
    return {"num_tokens": tokens, "num_supervised_tokens": learned}


def _watch(memory: Any, *, profile: bool, last_step: int) -> Any:
    import torch
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        """Marks the clock at the end of each step, and takes the peak of the whole training."""

        clock = Clock()
        peak_gib = 0.0
        profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) if profile else None

        def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            memory.reset()
            self.clock.mark()

        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            self.clock.mark()
            if self.profiler is not None and state.global_step == last_step - 1:
                self.profiler.__enter__()
            elif self.profiler is not None and state.global_step == last_step:
                self.profiler.__exit__(None, None, None)
                table = self.profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=25)
                print(table, file=sys.stderr)

        def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            self.peak_gib = memory.peak_gib()

    return Watch()


class Network(NamedTuple):
    """What a recipe trains."""

    model: Any
    options: dict[str, Any] = {}
    """Of TrainingArguments."""


def load_lora(model: Path, place: Path, precision: str, mode: Mode) -> Network:
    """PEFT over the base in the precision of the products; the adapter's own weights stay fp32, as PEFT has it."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    automatic = AutoModelForSeq2SeqLM if place.name.startswith("W6") else AutoModelForCausalLM
    base = automatic.from_pretrained(model, dtype=_dtype(precision))
    return Network(PeftModel.from_pretrained(base, place / "adapter", is_trainable=True))


def load_full(model: Path, place: Path, precision: str, mode: Mode) -> Network:
    """Weights in fp32; with bf16 the products alone are, by autocast, as Trainer's `bf16` has it."""
    import torch
    from transformers import AutoModelForCausalLM

    return Network(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32))


def load_qlora(model: Path, place: Path, precision: str, mode: Mode) -> Network:
    """As PEFT's page on quantisation has it. In `shipped` that is with the activation checkpointing of its
    `prepare_model_for_kbit_training`, and products of quantised layers in bf16 where the processor has them; where
    both sides compute the same, without, and in their common type.

    bitsandbytes 0.50 repacks weights on processors with AVX512-BF16 in a pass without gradients, after which gradients
    are wrong; the attribute that decides it is switched off, so that it computes here as it does on other processors.
    """
    import bitsandbytes as bnb
    import torch
    from peft import PeftModel, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from tunelab import device

    dtype, checkpoints = _dtype(precision), mode == "shipped"
    products = torch.bfloat16 if checkpoints and device.has_bf16(device.chosen()) else dtype
    quantised = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=products
    )
    base = AutoModelForCausalLM.from_pretrained(
        model, dtype=dtype, quantization_config=quantised, device_map={"": "cpu"}
    )
    for module in base.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
    base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=checkpoints)
    adapted = PeftModel.from_pretrained(base, place / "adapter", is_trainable=True)
    return Network(adapted, {"gradient_checkpointing": checkpoints})


def _dtype(precision: str) -> Any:
    import torch

    return torch.bfloat16 if precision == "bf16" else torch.float32


class Work(NamedTuple):
    """What a trainer is made of."""

    network: Any
    text: Any
    place: Path
    rows: list[list[dict[str, Any]]]
    arguments: dict[str, Any]
    watch: Any
    workload: Workload


def causal_trainer(work: Work, **options: Any) -> Any:
    """Trainer with padding to the longest of a batch."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    return Trainer(
        model=work.network,
        args=TrainingArguments(**work.arguments),
        train_dataset=[row for step in work.rows for row in step],
        data_collator=DataCollatorForSeq2Seq(work.text),
        callbacks=[work.watch],
        **options,
    )


def galore_trainer(work: Work) -> Any:
    """Trainer with galore-torch's GaLoreAdamW, its groups as galore-torch's README makes them.

    Its eps is added before the second moment's bias is corrected, torch's and tunelab's after that; before each step it
    gets the one that amounts to theirs. Neither side clips: Trainer would by the norm of whole gradients, tunelab by
    that of the projected ones.
    """
    from galore_torch import GaLoreAdamW
    from transformers import TrainerCallback, get_constant_schedule

    about = json.loads((work.place / "method.json").read_text())["galore"]
    projected = [module.weight for name, module in work.network.named_modules() if name.split(".")[-1] in ALL_LINEAR]
    ids = {id(weight) for weight in projected}
    options = {"rank": about["rank"], "update_proj_gap": about["update_gap"], "scale": about["scale"]}
    groups = [
        {"params": [weight for weight in work.network.parameters() if id(weight) not in ids]},
        {"params": projected, **options, "proj_type": "std"},
    ]
    optimizer = GaLoreAdamW(groups, lr=work.arguments["learning_rate"], eps=GALORE_EPS, no_deprecation_warning=True)

    class Alike(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            for group in optimizer.param_groups:
                group["eps"] = GALORE_EPS * math.sqrt(1 - group["betas"][1] ** (state.global_step + 1))

    work.arguments["max_grad_norm"] = 0.0
    trainer = causal_trainer(work, optimizers=(optimizer, get_constant_schedule(optimizer)))
    trainer.add_callback(Alike())
    return trainer


def pairs_trainer(work: Work) -> Any:
    """Seq2SeqTrainer, sources and labels each padded to the longest of a batch."""
    from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

    return Seq2SeqTrainer(
        model=work.network,
        args=Seq2SeqTrainingArguments(**work.arguments),
        train_dataset=[row for step in work.rows for row in step],
        data_collator=DataCollatorForSeq2Seq(work.text, model=work.network),
        callbacks=[work.watch],
    )


def packing_trainer(work: Work) -> Any:
    """TRL's SFTTrainer, which packs the documents itself; its own defaults (bf16 and activation checkpointing) are left
    in `shipped`, and set as tunelab computes where both sides compute the same."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    shipped = work.arguments.pop("mode") == "shipped"
    own = {"bf16", "remove_unused_columns"} if shipped else {"remove_unused_columns"}
    arguments = {name: value for name, value in work.arguments.items() if name not in own}
    arguments |= {} if shipped else {"gradient_checkpointing": False}
    length, documents = work.workload.rows.max_length, [{"input_ids": ids} for ids in _documents(work.rows)]
    return SFTTrainer(
        model=work.network,
        args=SFTConfig(**arguments, packing=True, max_length=length, max_steps=len(work.rows)),
        train_dataset=Dataset.from_list(documents),
        processing_class=work.text,
        callbacks=[work.watch],
    )


def _documents(steps: list[list[dict[str, Any]]]) -> list[list[int]]:
    """Packed rows taken apart: the texts that tunelab trains on in these steps, in their order."""
    found = []
    for row in (row for step in steps for row in step):
        starts = row.get("starts") or [0]
        edges = [*starts, len(row["input_ids"])]
        found += [row["input_ids"][start:stop] for start, stop in itertools.pairwise(edges)]
    return found


class Recipe(NamedTuple):
    load: Callable[[Path, Path, str, Mode], Network]
    trainer: Callable[[Work], Any] = causal_trainer


RECIPES: dict[str, Recipe] = {
    "lora": Recipe(load_lora),
    "full": Recipe(load_full),
    "galore": Recipe(load_full, galore_trainer),
    "qlora": Recipe(load_qlora),
    "seq2seq": Recipe(load_lora, pairs_trainer),
    "packed": Recipe(load_lora, packing_trainer),
}
