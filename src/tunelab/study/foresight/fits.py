"""What makes a run fit that does not: the smallest change of its study, each verified by predicting again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tunelab.catalogue import load
from tunelab.config.run import RunConfig
from tunelab.contracts import Method
from tunelab.entries import Forecast
from tunelab.records import RowSize

LEAST_TOKENS = 64
"""Below it micro-batches are not made smaller: the product of a layer is hardly worth its call."""


class Setting(NamedTuple):
    """A run as its study might be changed to."""

    run: RunConfig
    method: Method
    rows: tuple[RowSize, ...]
    """Of its largest micro-batch."""
    said: tuple[str, ...] = ()
    """The changes, as they stand in a study."""


Foresee = Callable[[Setting], Forecast | None]


class WayOut(NamedTuple):
    said: tuple[str, ...]
    forecast: Forecast


def way_out(setting: Setting, limit: int, foresee: Foresee, *, smaller: bool = True) -> WayOut | None:
    """The first of the changes, from those that change no number to those that make another method of it, with which
    the peak is at most `limit` bytes. None: none of them is enough. `smaller`: smaller micro-batches are among them."""
    for ladder in _ladders(setting, smaller=smaller):
        if (found := _first_that_fits(ladder, limit, foresee)) is not None:
            return found
    return None


def _first_that_fits(ladder: Sequence[Setting], limit: int, foresee: Foresee) -> WayOut | None:
    """Of settings of which each holds less than the one before; the last is asked first, for mostly that says no."""

    def fitting(changed: Setting) -> WayOut | None:
        forecast = foresee(changed)
        return WayOut(changed.said, forecast) if forecast is not None and forecast.peak <= limit else None

    if not ladder or (least := fitting(ladder[-1])) is None:
        return None
    return next((found for changed in ladder[:-1] if (found := fitting(changed)) is not None), least)


def _ladders(setting: Setting, *, smaller: bool) -> Iterator[list[Setting]]:
    """Alone, then together: what costs time before what costs exactness, that before another base."""
    checkpointed = _checkpointed(setting)
    yield _smaller_batches(setting) if smaller else []
    if checkpointed is not None:
        yield [checkpointed, *(_smaller_batches(checkpointed) if smaller else [])]
    whole = checkpointed or setting
    least = ([whole, *_smaller_batches(whole)] if smaller else [whole])[-1]
    for change in (_in_8_bits, _quantised):
        yield [changed for each in (setting, least) if (changed := change(each)) is not None]


def _smaller_batches(setting: Setting) -> list[Setting]:
    """Micro-batches of half the tokens, and half of that; the same gradients up to the order of sums."""
    found, sizes = [], [max(ids, source) for ids, _, source in setting.rows]
    tokens = min(setting.run.batch.max_tokens, sum(sizes))
    while (tokens := tokens // 2) >= max(*sizes, LEAST_TOKENS):
        batch = setting.run.batch.model_copy(update={"max_tokens": tokens})
        run = setting.run.model_copy(update={"batch": batch})
        said = (*setting.said, f"batch.max_tokens={tokens}")
        found.append(Setting(run, setting.method, cut(setting.rows, tokens), said))
    return found


def cut(rows: Sequence[RowSize], tokens: int) -> tuple[RowSize, ...]:
    """The first of the rows that fit into so many tokens, and at least one; sources and targets are counted apart, as
    unpadded micro-batches have them."""
    kept: list[RowSize] = []
    for row in rows:
        sums = (sum(each[0] for each in [*kept, row]), sum(each[2] for each in [*kept, row]))
        if kept and max(sums) > tokens:
            break
        kept.append(row)
    return tuple(kept)


def _checkpointed(setting: Setting) -> Setting | None:
    if setting.run.activation_checkpointing:
        return None
    run = setting.run.model_copy(update={"activation_checkpointing": True})
    return setting._replace(run=run, said=(*setting.said, "activation_checkpointing=true"))


def _in_8_bits(setting: Setting) -> Setting | None:
    if getattr(setting.method, "optimizer", None) != "adamw":
        return None
    return _with(setting, setting.method.model_copy(update={"optimizer": "adamw8bit"}), "optimizer: adamw8bit")


def _quantised(setting: Setting) -> Setting | None:
    """LoRA on a base of 4 bits; RoSA's own field says as much."""
    name, method = setting.run.method["name"], setting.method
    if name == "lora":
        fields = {
            key: value for key, value in method.model_dump().items() if key in load("methods", "qlora").model_fields
        }
        return _with(setting, load("methods", "qlora")(**fields), "qlora in place of lora", name="qlora")
    if name == "rosa" and getattr(method, "base", None) == "float":
        return _with(setting, method.model_copy(update={"base": "nf4"}), "base: nf4")
    return None


def _with(setting: Setting, method: Method, said: str, *, name: str | None = None) -> Setting:
    """The run's record of its method follows, which its forecast is known by."""
    facts = {"name": name or setting.run.method["name"], "label": setting.run.method["label"]}
    run = setting.run.model_copy(update={"method": {**facts, **method.model_dump(mode="json")}})
    return setting._replace(run=run, method=method, said=(*setting.said, said))
