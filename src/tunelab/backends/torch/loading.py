"""A model with its method: counted from its configuration alone, or loaded on the device to be trained."""

from __future__ import annotations

import functools
from typing import Any

import torch

from tunelab import device
from tunelab.backends.torch.inputs import decoder_inputs
from tunelab.backends.torch.products import medium_is_exact
from tunelab.backends.torch.ranks.peers import check_same_model, local_ranks, met
from tunelab.backends.torch.session import TorchSession
from tunelab.backends.torch.storage import parameter_count, set_storage
from tunelab.config.run import RunConfig
from tunelab.config.schema import ModelSource
from tunelab.contracts import Method
from tunelab.errors import ModelError
from tunelab.models.added_tokens import add_rows, check_trained, reserve_rows
from tunelab.models.limits import limit_problems, limits_of
from tunelab.models.load import load_model, load_text, local_folder, read_configuration, skeleton
from tunelab.models.quantise import require_nf4
from tunelab.models.reach import base_of, num_reached, reached, reached_together
from tunelab.models.streamed import load_quantised
from tunelab.records import Limits, Located, ParameterCount, TextSide


def count(model: ModelSource, method: Method | None) -> ParameterCount | None:
    """As Backend.count."""
    configuration = read_configuration(model)
    if configuration is None:
        return None
    network = _skeleton(model, configuration)
    if method is None:
        return parameter_count(network.requires_grad_(False))._replace(reached=0)
    base, remarks = base_of(network), tuple(method.remarks(network))
    try:
        attached = method.attach(network, seed=0)
    except NotImplementedError:
        return None
    check_trained(attached, method)
    if not method.trains:
        return parameter_count(attached)._replace(trainable=0, remarks=remarks)
    found = reached(base, attached)
    if type(method).enter is not Method.enter:  # the parts that follow are attached when it comes to them
        later = [member.attach(_skeleton(model, configuration), seed=0) for member in method.members[1:]]
        found = reached_together([found, *(reached(base, each) for each in later)])
    return parameter_count(attached)._replace(reached=num_reached(base, found), remarks=remarks)


def warm(model: ModelSource) -> None:
    """As Backend.warm: the model's code is imported by making it without weights."""
    configuration = read_configuration(model)
    if configuration is not None:
        drawn = torch.random.get_rng_state()
        skeleton(configuration, name=model.name)
        torch.random.set_rng_state(drawn)


def limits(model: ModelSource) -> tuple[Limits, int | None] | None:
    """As Backend.limits."""
    configuration, folder = read_configuration(model), local_folder(model)
    if configuration is None:
        return None
    tokens = None if folder is None else num_tokens(load_text(model, Located(folder, "")))
    return limits_of(_skeleton(model, configuration)), tokens


def _skeleton(model: ModelSource, configuration: dict[str, Any]) -> Any:
    """With rows for the tokens that the study adds."""
    network = skeleton(configuration, name=model.name)
    if model.tokens:
        reserve_rows(network, model)
    return network


def num_tokens(text: TextSide) -> int:
    """The largest id that the tokenizer gives, and one."""
    return max(text.tokenizer.get_vocab().values()) + 1


def open_session(
    run: RunConfig, method: Method | None, *, located: Located, text: TextSide, notes: list[str]
) -> TorchSession:
    """As Backend.session."""
    place = device.chosen()
    torch.set_num_threads(max(1, run.threads // local_ranks()))
    if place.type == "cpu" and medium_is_exact():
        torch.set_float32_matmul_precision("medium")
    if run.precision == "bf16" and place.type == "cuda" and not device.has_bf16(place):
        raise ModelError(f"precision: bf16, and {device.name(place)} has no bf16: set precision: fp16, or fp32")
    if run.precision == "fp16" and place.type == "cpu":
        notes.append("precision: fp16 on a CPU is slower than fp32: it is there to try a study for a GPU")
    if method is not None and method.base_storage == "nf4":
        require_nf4(place)
    peers = met()
    load = functools.partial(_attached_model, run, method, located=located, text=text)
    if peers is None or method is None or not run.ranks.shard:
        model = load(notes, place)
        if peers is not None:
            check_same_model(peers, model)
        return TorchSession(model, method, run, text.tokenizer, notes)
    from tunelab.backends.torch.ranks.sharded import ShardedSession, cut_over_ranks

    model = load(notes, torch.device("cpu"))
    check_same_model(peers, model)
    cut_over_ranks(model, peers.count)
    return ShardedSession(model, method, run, text.tokenizer, notes, load=lambda: load([], place))


def _attached_model(
    run: RunConfig, method: Method | None, notes: list[str], place: torch.device, *, located: Located, text: TextSide
) -> Any:
    model: Any = None
    if method is not None and method.read_as != "float":
        hold = functools.partial(method.hold, seed=run.seed)
        model = load_quantised(run.model, located, hold=hold, place=place, note=notes.append)
    if model is None:
        model = load_model(run.model, located, seed=run.seed, note=notes.append)
    if run.model.tokens:
        add_rows(model, text.tokenizer, run.model)
    limits = limits_of(model)
    for key, problem in limit_problems(limits, max_length=run.batch.max_length, num_tokens=num_tokens(text)):
        raise ModelError(f"model '{run.model.name}': {key}: {problem}")
    model = model.to(place)
    if text.encoder_decoder:
        _set_decoder_start(model, text, notes)
    if method is None:
        model.requires_grad_(False)
    else:
        notes += method.remarks(model)
        model = method.attach(model, seed=run.seed)
        check_trained(model, method)
    set_storage(model, precision=run.precision, weights=run.weights, seed=run.seed)
    if run.activation_checkpointing and (method is None or method.trains):
        checkpoint_activations(model)
    return model


def _set_decoder_start(model: Any, text: TextSide, notes: list[str]) -> None:
    """What a decoder is given first is what its labels are shifted by; some configurations (mBART's) do not say it."""
    labels = torch.tensor(text.tokenizer(text_target=["a"], add_special_tokens=True)["input_ids"])
    start = int(decoder_inputs(labels, model)[0, 0])
    if model.config.decoder_start_token_id != start:
        model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = start
        name = text.tokenizer.convert_ids_to_tokens(start)
        notes.append(f"the decoder starts with {name!r}, as its labels do; the model's configuration says otherwise")


def checkpoint_activations(model: Any) -> None:
    """transformers 5 renamed its method on the way: the old name warns where there is a new one."""
    options = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
