"""What an hour of one device costs, in money and in energy, as a user says it, and what seconds then cost."""

from __future__ import annotations

import json
import math
import re
from typing import NamedTuple

from tunelab.errors import ConfigError

PRICE_RULE = "must be what an hour of one device costs, above 0, in any currency: 2.5, 2.5/h or 2.5EUR/h"
POWER_RULE = "must be what one device takes, above 0 watts: 350 or 350W"
_AMOUNT = r"\s*(?P<amount>\d+(?:\.\d+)?|\.\d+)\s*"
_PRICE = re.compile(_AMOUNT + r"(?P<currency>[^\W\d_]{1,8}|[$€£¥₹]|)\s*(?:/\s*(?:h|hour)\s*)?")
_POWER = re.compile(_AMOUNT + r"[Ww]?\s*")


class Price(NamedTuple):
    per_hour: float
    currency: str = ""
    """As it was written; nothing is converted."""


def price_of(given: object) -> Price:
    """
    Raises:
        ValueError: the rule.
    """
    found = _PRICE.fullmatch(_text(given))
    amount = float(found["amount"]) if found else 0.0
    if found is None or not 0 < amount < math.inf or found["currency"] == "h":
        raise ValueError(PRICE_RULE)
    return Price(amount, found["currency"])


def watts_of(given: object) -> float:
    """
    Raises:
        ValueError: the rule.
    """
    found = _POWER.fullmatch(_text(given))
    watts = float(found["amount"]) if found else 0.0
    if not 0 < watts < math.inf:
        raise ValueError(POWER_RULE)
    return watts


def cost(device_seconds: float, price_per_hour: float) -> float:
    """Money, in the price's currency."""
    return device_seconds / 3600 * price_per_hour


def watt_hours(device_seconds: float, watts: float) -> float:
    """Energy, by a power that was given and not measured."""
    return device_seconds / 3600 * watts


def as_overrides(price: str | None, power: str | None) -> list[str]:
    """`--price` and `--power` as `--set` texts of a study.

    Raises:
        ConfigError: every option that is none, one line each.
    """
    given = [("--price", price, price_of, "price_per_hour"), ("--power", power, watts_of, "power_watts")]
    wrong, made = [], []
    for option, text, read, key in given:
        if text is None:
            continue
        try:
            read(text)
        except ValueError as rule:
            wrong.append(f"{option}: got {text!r}; {rule}")
        made.append(f"decision.{key}={json.dumps(text, ensure_ascii=False)}")
    if wrong:
        raise ConfigError(*wrong)
    return made


def _text(given: object) -> str:
    """A number as it is written; True and False are none."""
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return f"{given:f}" if is_number else given if isinstance(given, str) else ""
