"""YAML text as plain values, with the line of every key: the safe loader, without YAML 1.1's traps.

Differences from PyYAML's default, each because a study would silently mean something else: `1e-4` is a number
(not text), `yes`/`no`/`on`/`off` are text (not booleans), `12:00:00` and dates are text, `010` is text, and a
key given twice is an error.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import yaml

from tunelab.errors import ConfigError

KeyPath = tuple[str | int, ...]

MAX_VALUES = 50_000
"""A study has a few hundred values; aliases of aliases could otherwise unfold to billions."""

_BOOL, _INT, _FLOAT, _NULL, _MERGE = (f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "null", "merge"))
_RESOLVERS = (
    (_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    (_INT, re.compile(r"^(?:[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+)$"), "-+0123456789"),
    (
        _FLOAT,
        re.compile(
            r"^(?:[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+"
            r"|[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        "-+.0123456789",
    ),
    (_NULL, re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    (_MERGE, re.compile(r"^(?:<<)$"), ["<"]),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list] = {}


class _Dumper(yaml.SafeDumper):
    """Keeps PyYAML's own resolvers too, so that text such as `yes` is quoted for every other reader."""


for _tag, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(_tag, _pattern, list(_first))
    _Dumper.add_implicit_resolver(_tag, _pattern, list(_first))


class YamlValue(NamedTuple):
    value: Any
    """Plain dicts, lists, text, numbers, booleans, None."""
    lines: dict[KeyPath, int]
    """Line of every key and list entry, counted from 1. The root is ()."""
    problems: list[str]
    """'LINE: message' of everything that is readable but wrong: a key twice, a key that is not text."""
    literal_escapes: tuple[KeyPath, ...] = ()
    """Texts with a backslash and an n or t in them that double quotes would have made a line break or a tab."""


def parse_yaml(text: str) -> YamlValue:
    """Read one document.

    Raises:
        ConfigError: not YAML, or not safe YAML; the message starts with 'LINE: '.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return YamlValue(None, {(): 1}, [])
        problems: list[str] = []
        _check_keys(node, problems, seen={})
        value = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError(_syntax_problem(error, text)) from None
    except ValueError as error:
        raise ConfigError(f"1: a value that cannot be read: {error}") from None
    except RecursionError:
        raise ConfigError("1: nested too deeply to be a study") from None
    finally:
        if loader is not None:
            loader.dispose()
    lines: dict[KeyPath, int] = {}
    escapes: list[KeyPath] = []
    _collect_lines(node, (), lines, escapes)
    problems += [f"{_line_of(lines, path)}: {message}" for path, message in _not_plain(value, ())]
    return YamlValue(value, lines, problems, tuple(escapes))


def dump_yaml(value: Any) -> str:
    """Text that `parse_yaml` (and any YAML 1.1 or 1.2 reader) reads back to an equal value; keys in given order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def _check_keys(node: yaml.Node, problems: list[str], *, seen: dict[int, bool]) -> None:
    """Before construction, because constructing forgets a first value and unfolds `<<`.

    `seen` maps a node to whether it is finished: a node reached again is an alias, and is checked once.
    """
    if id(node) in seen:
        if not seen[id(node)]:
            raise yaml.constructor.ConstructorError(None, None, "an alias that contains itself", node.start_mark)
        return
    seen[id(node)] = False
    if isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            _check_keys(entry, problems, seen=seen)
    elif isinstance(node, yaml.MappingNode):
        _check_mapping(node, problems, seen=seen)
    seen[id(node)] = True


def _check_mapping(node: yaml.MappingNode, problems: list[str], *, seen: dict[int, bool]) -> None:
    first_lines: dict[str, int] = {}
    for key, entry in node.value:
        line = key.start_mark.line + 1
        if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
            if key.value in first_lines:
                problems.append(
                    f"{line}: {key.value}: given twice, at line {first_lines[key.value]} and line {line}; keep one"
                )
            first_lines.setdefault(key.value, line)
            if key.tag != "tag:yaml.org,2002:str":
                problems.append(f"{line}: the key {key.value} must be text; put it in quotes")
        _check_keys(entry, problems, seen=seen)


def _collect_lines(
    node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], escapes: list[KeyPath], line: int | None = None
) -> None:
    """After construction, when `<<` has been replaced by the merged pairs (the later pair wins)."""
    if len(lines) > MAX_VALUES:
        raise ConfigError(f"1: more than {MAX_VALUES} values; a study has a few hundred (aliases of aliases?)")
    lines[path] = line or node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for index, entry in enumerate(node.value):
            _collect_lines(entry, (*path, index), lines, escapes)
    elif isinstance(node, yaml.MappingNode):
        for key, entry in node.value:
            if isinstance(key, yaml.ScalarNode):
                _collect_lines(entry, (*path, key.value), lines, escapes, key.start_mark.line + 1)
    elif isinstance(node, yaml.ScalarNode) and node.style != '"' and re.search(r"\\[nt]", node.value):
        escapes.append(path)


def _not_plain(value: Any, path: KeyPath) -> list[tuple[KeyPath, str]]:
    dotted = ".".join(map(str, path))
    if isinstance(value, dict):
        text_keys = ((key, entry) for key, entry in value.items() if isinstance(key, str))
        return [problem for key, entry in text_keys for problem in _not_plain(entry, (*path, key))]
    if isinstance(value, list):
        return [problem for index, entry in enumerate(value) for problem in _not_plain(entry, (*path, index))]
    if isinstance(value, float) and not math.isfinite(value):
        return [(path, f"{dotted}: must be a finite number; got {value}")]
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        return [(path, f"{dotted}: holds a \\u escape that is half a character; write the character itself")]
    if value is None or isinstance(value, str | bool | int | float):
        return []
    return [(path, f"{dotted}: must be text, a number, true, false or null; got {value!r}; put it in quotes")]


def _line_of(lines: dict[KeyPath, int], path: KeyPath) -> int:
    while path not in lines:
        path = path[:-1]
    return lines[path]


def _syntax_problem(error: yaml.YAMLError, text: str) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"{line}: the character U+{int(error.character):04X} is not allowed in YAML; remove it"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = (getattr(error, "problem", None) or getattr(error, "context", None) or str(error)).splitlines()[0]
    line = mark.line + 1 if mark is not None else 1
    if "another document" in said:
        return f"{line}: a second '---' document begins; a study is one document, remove the line"
    if "could not determine a constructor" in said:
        return f"{line}: tags such as {said.partition('the tag ')[2]} are refused; write plain values"
    hint = "; indent with spaces, not tabs" if r"\t" in said else _colon_hint(text, line)
    return f"{line}: not valid YAML: {said}{hint}"


def _colon_hint(text: str, line: int) -> str:
    """The two slips behind most YAML errors: a template in no quotes, and ': ' or a brace inside plain text."""
    lines = text.splitlines()
    near_lines = " ".join(lines[max(0, line - 2) : line])
    if re.search(r":\s+\{\w+\}", near_lines) or re.search(r"[^'\"]\{\w+\}", near_lines):
        return "; put text with braces or ': ' in quotes, as in \"{question}\""
    return ""
