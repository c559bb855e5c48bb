"""What results of the Python API have in common: text in a terminal, tables in a notebook, a data frame on request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tunelab.api.html import paragraph_html, table_html
from tunelab.errors import ConfigError
from tunelab.report.tables import Table, plain, visible

if TYPE_CHECKING:
    import pandas


class Shown(ABC):
    """A result that prints for a reader, wherever it is printed."""

    __slots__ = ()

    @abstractmethod
    def _parts(self) -> Iterable[Table | str]:
        """Tables, and paragraphs of text between them."""

    def _text(self) -> str:
        return "\n".join(plain(part) if isinstance(part, Table) else visible(part) + "\n" for part in self._parts())

    def __repr__(self) -> str:
        return self._text().rstrip("\n")

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        return "".join(
            table_html(part) if isinstance(part, Table) else paragraph_html(part) for part in self._parts()
        )  # fmt: skip


class Tabular(Shown):
    """A result that is rows."""

    __slots__ = ()

    @abstractmethod
    def _rows(self) -> list[dict[str, Any]]:
        """Column -> value."""

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a data frame. pandas is no dependency of tunelab.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ConfigError("to_pandas needs pandas, which is not installed: pip install pandas") from None
        return pandas.DataFrame(self._rows())
