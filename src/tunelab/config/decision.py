"""How a study decides which way to keep."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from tunelab.config.price import Price, price_of, watts_of
from tunelab.config.section import Section
from tunelab.entries import Cost


def _share_or_number(value: Any) -> Any:
    """'10 %' is a share of the best method's gain over the base, a number is one in the metric's unit."""
    if isinstance(value, str):
        share = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)
        if share is None or not 0 < float(share[1]) < 100:
            raise ValueError("must be a number above 0 in the metric's unit, or a share of the gain such as '10 %'")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value < math.inf):
        raise ValueError("must be a number above 0 in the metric's unit, or a share of the gain such as '10 %'")
    return float(value)


def _price(value: Any) -> Any:
    """A number, or the text as it came: '2.5EUR/h'."""
    price = price_of(value)
    return value if isinstance(value, str) else price.per_hour


class Decision(Section):
    """Which way to keep. No part of any run: after a change `tunelab report` decides anew."""

    metric: str | None = None
    """The metric that decides, of the tasks that have it; default: each task's first."""

    margin: Annotated[float | str, BeforeValidator(_share_or_number)] = "10 %"
    """What a method may lack to the best and still be as good: a share of what the best gains over the base, as text
    ('10 %'), or a number in the metric's unit."""

    cost: Cost = "memory"
    """Of the methods that are as good the cheapest is kept. memory: peak of training. time: of training. size: of what
    is saved. price: of everything a method took on all its devices, its search included, at `price_per_hour`."""

    price_per_hour: Annotated[float | str, BeforeValidator(_price)] | None = None
    """Of one device (a GPU; without one, the machine), in any currency: 2.5 or 2.5EUR/h. For `cost: price`, and for
    what the report says that the study has cost; `tunelab report --price` gives another one."""

    power_watts: Annotated[float, BeforeValidator(watts_of)] | None = None
    """Of one device, for the energy that the report makes of its hours; `tunelab report --power` gives another one."""

    @model_validator(mode="after")
    def _priced(self) -> Decision:
        if self.cost == "price" and self.price_per_hour is None:
            raise ValueError("cost: price needs price_per_hour, what an hour of one device costs")
        return self

    @property
    def price(self) -> Price | None:
        return None if self.price_per_hour is None else price_of(self.price_per_hour)

    @property
    def share(self) -> float | None:
        """The margin where it is a share of the gain."""
        return float(self.margin.strip().rstrip("%")) / 100 if isinstance(self.margin, str) else None
