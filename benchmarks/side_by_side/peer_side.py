"""The peers' side: Hugging Face Trainer with PEFT, bitsandbytes, galore-torch and TRL, by their public calls."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from side_by_side.measure import Clock, give_back, held_weights_mib, import_model_code, summary, warm_libraries
from side_by_side.prepare import read_steps, work_folder
from side_by_side.workloads import Mode, Workload


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
        _same_products()
    _import_all(workload)
    precision = "bf16" if mode == "bf16" else "fp32"
    warm_libraries(precision)
    place, model = work_folder(folder, workload, steps), Path(about["model"])
    rows = read_steps(place)
    text = AutoTokenizer.from_pretrained(model)
    memory = ResidentMemory()
    give_back()
    before = memory.current_gib()
    network = LOADERS[workload.peer](model, place, precision)
    weights = held_weights_mib()
    loaded = memory.current_gib()
    watch = _watch(memory, profile=profile, last_step=steps)
    arguments = dict(
        output_dir=str(out), per_device_train_batch_size=workload.rows.examples, num_train_epochs=1,
        learning_rate=workload.learning_rate, lr_scheduler_type="constant", bf16=precision == "bf16", use_cpu=True,
        train_sampling_strategy="sequential", save_strategy="no", report_to="none", logging_steps=1, disable_tqdm=True,
        seed=0, remove_unused_columns=False,
    )  # fmt: skip
    trainer = TRAINERS.get(workload.peer, causal_trainer)(network, text, rows, arguments, watch, workload)
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    told = [{"loss": loss, **_counts(step)} for loss, step in zip(losses, rows, strict=True)]
    found = summary(
        watch.clock, told, warm_up=warm_up, before_gib=before, loaded_gib=loaded, peak_gib=watch.peak_gib,
        weights_mib=weights,
    )  # fmt: skip
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return found | {"precision": precision, "trainable": trained}


def _same_products() -> None:
    """The setting of fp32 products that tunelab takes on this processor."""
    import torch

    from tunelab.backends.torch.products import medium_is_exact

    if medium_is_exact():
        torch.set_float32_matmul_precision("medium")


def _import_all(workload: Workload) -> None:
    """What a library costs is not what training holds."""
    import accelerate  # noqa: F401
    import peft  # noqa: F401
    from transformers import Seq2SeqTrainer, Trainer  # noqa: F401

    import_model_code(workload)


def _counts(step: list[dict[str, Any]]) -> dict[str, int]:
    """Tokens as tunelab counts them: a decoder's own, and what an encoder reads."""
    learned = sum(label != -100 for row in step for label in row["labels"])
    tokens = sum(len(row["input_ids"]) for row in step)
    if len(step[0]["labels"]) != len(step[0]["input_ids"]):
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


def load_lora(model: Path, place: Path, precision: str) -> Any:
    """PEFT over the base in the precision of the products; the adapter's own weights stay fp32, as PEFT has it."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    base = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    return PeftModel.from_pretrained(base, place / "adapter", is_trainable=True)


def causal_trainer(
    network: Any, text: Any, rows: list[list[dict[str, Any]]], arguments: dict[str, Any], watch: Any, workload: Workload
) -> Any:
    """Trainer with padding to the longest of a batch."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    return Trainer(
        model=network,
        args=TrainingArguments(**arguments),
        train_dataset=[row for step in rows for row in step],
        data_collator=DataCollatorForSeq2Seq(text),
        callbacks=[watch],
    )


LOADERS: dict[str, Any] = {"lora": load_lora}
TRAINERS: dict[str, Any] = {}
