"""Text from a saved or base model, for prompts that a user gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pydantic import ValidationError

from tunelab.config.explain import Problem, explain
from tunelab.config.run import RunBatch, RunConfig
from tunelab.config.schema import (
    Budget,
    Checkpoint,
    DataSettings,
    Generation,
    Loss,
    Optimizer,
    Schedule,
    Validation,
)
from tunelab.data.tokens.tokenise import Tokeniser
from tunelab.errors import ConfigError, DataError
from tunelab.records import Decoded, Example, TextSide
from tunelab.stages import stage
from tunelab.study.executing.saved import Opened, Saved, find_saved, open_saved
from tunelab.study.planning.plan import load_backend, parts
from tunelab.study.verbs.prompts import Prompt, ask

LONGEST_PROMPT = 1_000_000
"""Tokenizers without a limit of their own give a much larger number."""

DRAWN = ("temperature", "top_p", "top_k")


def generate(
    model: str,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int | None = None,
    beams: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    system: str | None = None,
    chat: bool = False,
    told: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """One text a prompt. A run's model is asked as it was trained: in its prompt template, as the user's turn of a
    conversation; every other model is given the text as it is.

    Args:
        temperature: above 0 tokens are drawn, each prompt's with a seed of its own; 0 takes the likeliest. None: as the
            run's study says, else 0.
        top_p: draw from the likeliest tokens that together have this probability.
        system: a system turn before each conversation.
        chat: each text is a user's message, written by the model's chat template.
        told: how rows were read, and what had to be cut.

    Raises:
        ConfigError, DataError, ModelError: no prompt, a row without the template's columns, settings that do not go
            together, a model that is not here.
    """
    if isinstance(prompts, str):
        raise ConfigError("prompts is one text; give a list of texts")
    if not prompts:
        raise ConfigError("no prompt given: use --prompt, --file, or standard input")
    speaker = Speaker(
        model, chat=chat, told=told, max_new_tokens=max_new_tokens, beams=beams, temperature=temperature, top_p=top_p
    )
    asking = ask(prompts, speaker.saved, system=system, chat=chat)
    for note in asking.notes:
        told(note)
    return speaker.answers(asking.examples)


class Speaker:
    """A model that answers as often as it is asked; loaded when it is asked first.

    Raises:
        ConfigError: settings that do not go together. ModelError: there is no such model.
    """

    def __init__(
        self,
        model: str,
        *,
        chat: bool = False,
        told: Callable[[str], None] = lambda line: None,
        **options: float | None,
    ) -> None:
        self.saved = find_saved(model)
        self._run = _settings(self.saved, chat=chat, options=options)
        self._model, self._told = model, told
        self._opened: Opened | None = None

    def answers(self, examples: Sequence[Example], *, draw: int = 0) -> list[str]:
        """`draw`: the first example's number, by which what is drawn is seeded.

        Raises:
            ConfigError: conversations, and the model has no form for them. RunError: no room for a text.
        """
        if self._opened is None:
            with stage(f"loading {self._model}"):
                self._opened = open_saved(self.saved, self._run)
        text, session = self._opened.text, self._opened.session
        self._check_form(examples)
        ids = self._ids(examples)
        numbers = range(draw, draw + len(ids))
        with stage(f"writing {len(ids)} texts") as say:
            done = 0

            def tell(decoded: Decoded) -> None:
                nonlocal done
                done += len(decoded.texts)
                say(f"writing texts: {done} of {len(ids)}")

            new = session.generate(ids, self._run.generation, progress=tell, examples=numbers)
        return [text.tokenizer.decode(one, skip_special_tokens=True).strip() for one in new]

    def _check_form(self, examples: Sequence[Example]) -> None:
        """The plain form of conversations is only for models that have learned it."""
        assert self._opened is not None
        if not any(example.turns for example in examples) or getattr(
            self._opened.text.tokenizer, "chat_template", None
        ):
            return
        if not _learns_conversations(self.saved):
            raise ConfigError(
                f"{self._model}: has no chat template, so it knows no conversations; leave --chat out, and give the "
                "text that it is to go on from"
            )

    def _ids(self, examples: Sequence[Example]) -> list[np.ndarray]:
        assert self._opened is not None
        text, most = self._opened.text, self._opened.text.tokenizer.model_max_length
        whole = _encoded(examples, text, self._run.data, length=LONGEST_PROMPT)
        longer = [example.id for example, ids in zip(examples, whole, strict=True) if len(ids) > most]
        if not longer:
            return whole
        names = ", ".join(longer[:3]) + (", ..." if len(longer) > 3 else "")
        end = "end" if text.encoder_decoder else "beginning"
        self._told(f"{names}: longer than the {most} tokens that the model reads; its {end} is cut off")
        return _encoded(examples, text, self._run.data, length=most)


def _learns_conversations(saved: Saved) -> bool:
    """Whether its run's task asks in conversations."""
    if saved.run is None:
        return False
    try:
        example = parts(saved.run).task.question("a", name="a")
    except DataError:  # a template of several columns, or files that are gone
        return False
    return example is not None and bool(example.turns)


def _encoded(examples: Sequence[Example], text: TextSide, data: DataSettings, *, length: int) -> list[np.ndarray]:
    tokeniser = Tokeniser(
        text.tokenizer, max_length=length, encoder_decoder=text.encoder_decoder, settings=data, split="test"
    )
    return list(tokeniser.prompts(examples))


def _generation(usual: Generation, options: Mapping[str, float | None]) -> Generation:
    """The usual settings with those that are given; what draws and what searches takes the other's place.

    Raises:
        ConfigError: values that there are not, or that do not go together, a line each.
    """
    given = {key: value for key, value in options.items() if value is not None}
    settings = usual.model_dump()
    if given.get("temperature") and "beams" not in given:
        settings["beams"] = 1
    if given.get("temperature") == 0 or (given.get("beams", 1) > 1 and "temperature" not in given):
        settings |= {key: Generation.model_fields[key].default for key in DRAWN}
    try:
        return Generation.model_validate(settings | given)
    except ValidationError as error:
        raise ConfigError(
            *(_line(problem) for problem in explain(error, given=settings | given, model=Generation))
        ) from None


def _line(problem: Problem) -> str:
    """The key as the option that says it."""
    (key, *_) = problem.path or ("",)
    return f"--{str(key).replace('_', '-')}: {problem.message}" if key else problem.message


def _settings(saved: Saved, *, chat: bool, options: Mapping[str, float | None]) -> RunConfig:
    if saved.run is not None:
        return saved.run.model_copy(update={"generation": _generation(saved.run.generation, options)})
    precision, threads = load_backend("torch").resolve(precision="auto", threads=None)
    return RunConfig(
        id="generate",
        backend="torch",
        task="",
        task_options={},
        seed=0,
        method=saved.facts,
        model=saved.source,
        model_revision="",
        data_revision="",
        budget=Budget(epochs=1),
        batch=RunBatch(),
        # Whoever asks a model without a study writes its format himself, unless its chat template does.
        data=DataSettings(special_tokens="text" if chat else "control"),
        precision=precision,
        threads=threads,
        activation_checkpointing=False,
        optimizer=Optimizer(),
        schedule=Schedule(),
        loss=Loss(),
        validation=Validation(),
        generation=_generation(Generation(), options),
        checkpoint=Checkpoint(),
    )
