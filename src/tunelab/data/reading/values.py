"""Values of data files as the file means them: what is missing, and numbers as their column's type writes them.

One rule for every format. Missing is None: JSON's and parquet's null, and NaN, which is how pandas writes a null. A csv
has no missing value but the empty text. A number of 32 or 16 bits is the shortest decimal that is that number there
(3.8, which is 3.799999952316284 in 64 bits). A column of 64-bit numbers that are all whole, with gaps, is one of whole
numbers: pandas turns integers with a gap into such a column.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow


def parse_json(text: str) -> Any:
    """As json.loads; NaN is null.

    Raises:
        JSONDecodeError: no JSON, or what nothing here could go on with: thousands of levels, or of digits.
    """
    if text.startswith("\ufeff"):
        return json.loads(text)  # says what is wrong with it
    try:
        value = _JSON.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python's limit
        digits = sys.get_int_max_str_digits()
        raise json.JSONDecodeError(f"a whole number of more than {digits} digits", text, 0) from None
    except RecursionError:
        raise json.JSONDecodeError(TOO_DEEP, text, 0) from None
    if text.count("[") + text.count("{") > MOST_LEVELS and _is_deeper(value, MOST_LEVELS):
        raise json.JSONDecodeError(TOO_DEEP, text, 0)
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    """Without recursion."""
    inner = [value]
    for _ in range(levels):
        inner = [
            each
            for one in inner
            if isinstance(one, (list, dict))
            for each in (one.values() if isinstance(one, dict) else one)
        ]
    return any(isinstance(one, (list, dict)) for one in inner)


MOST_LEVELS = 100
"""Lists and objects in each other; the calls of whoever goes through them nest as deeply."""
TOO_DEEP = f"nested more than {MOST_LEVELS} levels deep"


def _constant(name: str) -> float | None:
    return None if name == "NaN" else float(name)


_JSON = json.JSONDecoder(parse_constant=_constant)
"""Once: making one takes longer than to parse a row."""


class Numbers:
    """How the floating-point columns of a table are written."""

    def __init__(self, schema: pyarrow.Schema) -> None:
        import pyarrow

        narrow = {pyarrow.float16(): "e", pyarrow.float32(): "f"}
        self._narrow = {field.name: narrow[field.type] for field in schema if field.type in narrow}
        self.wide = [field.name for field in schema if field.type == pyarrow.float64()]
        """Columns that may hold whole numbers with gaps: `see` every block of these first."""
        self._whole, self._gaps = set(self.wide), set[str]()

    def see(self, columns: pyarrow.Table) -> None:
        import numpy as np

        for name in self.wide:
            values = columns.column(name).to_numpy()  # a null is NaN
            missing = np.isnan(values)
            if missing.any():
                self._gaps.add(name)
            if not (np.isfinite(values) & (values == np.floor(values)) | missing).all():
                self._whole.discard(name)

    def written(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        whole = self._whole & self._gaps
        return [{name: self._value(name, value, whole) for name, value in row.items()} for row in rows]

    def _value(self, name: str, value: Any, whole: set[str]) -> Any:
        if not isinstance(value, float):
            return _nested(value) if isinstance(value, list | dict) else value
        if math.isnan(value):
            return None
        if name in self._narrow:
            import numpy as np

            return float(str(np.dtype(self._narrow[name]).type(value)))
        return int(value) if name in whole else value


def _nested(value: Any) -> Any:
    """Lists and objects with None for every NaN, as `parse_json` reads them."""
    if isinstance(value, list):
        return [_nested(one) for one in value]
    if isinstance(value, dict):
        return {name: _nested(one) for name, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
