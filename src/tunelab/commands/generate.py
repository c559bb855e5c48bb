"""`tunelab generate`: prompts of an option, of a file, of standard input, or a conversation at a terminal."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tunelab.commands.options import Chat, ModelName, PromptFile, SystemText, Temperature, TopP
from tunelab.launch.terminal.at_work import at_work
from tunelab.launch.terminal.texts import tell


def generate(
    model: ModelName,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="One prompt.")] = None,
    file: PromptFile = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest text, in tokens.")] = None,
    beams: Annotated[int | None, typer.Option(min=1, help="1 is greedy.")] = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    system: SystemText = None,
    chat: Chat = False,
) -> None:
    """Write a text for each prompt given."""
    with at_work(f"generating with {model}"):
        from tunelab.study.verbs import generate as verb
        from tunelab.study.verbs.converse import converse
        from tunelab.study.verbs.prompts import read_prompts

    options = {"max_new_tokens": max_new_tokens, "beams": beams, "temperature": temperature, "top_p": top_p}
    if chat and prompt is None and file is None and sys.stdin.isatty():
        speaker = verb.Speaker(model, chat=True, told=_note, **options)
        _note("a conversation, turn by turn; an empty line or Ctrl-D ends it")
        return converse(speaker, system=system, read=lambda: input("> "), write=print)
    given = read_prompts(prompt=prompt, file=file)
    notes = list(given.notes)
    with at_work(f"generating with {model}"):
        texts = verb.generate(model, given.prompts, system=system, chat=chat, told=notes.append, **options)
    for note in notes:
        _note(note)
    for text in texts:
        print(text)


def _note(text: str) -> None:
    """Beside the texts, which may go to a file."""
    tell(f"note: {text}")
