"""YAML files, and what they hold, checked against a type: the one place that reads YAML.

A file of a few bytes can take hours and all memory, by aliases of aliases or by depth. So size, depth and the number of
values are limited, as `_MOST_BYTES` and the others say; settings need a hundredth of it.

YAML and pydantic are imported when they are first needed, because importing both takes a noticeable part of a second.
"""

from __future__ import annotations

import logging
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from app.errors import GaitprintError, nearest, reason_of
from app.files import need_file

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

_MOST_BYTES = 1 << 20
_MOST_VALUES = 20_000
"""How many values a file may have once every alias is replaced by what it stands for."""
_DEEPEST = 50
_LONGEST = 3000
"""How many characters a value or key may have. Python writes no number that is longer in decimal than 4,300 digits, but
reads one in hexadecimal."""
_HALF = re.compile("[\ud800-\udfff]")
"""Half of a character, which only an escape such as ``\\ud800`` can bring in, and which no other program takes."""


def read_yaml(path: Path, error: type[GaitprintError]) -> Any:
    """Read a YAML file.

    Args:
        path: the file, in UTF-8.
        error: the kind of error to raise.

    Raises:
        GaitprintError: of the kind `error`; the file is missing, unreadable or not YAML. The message says which, and
            in which line.
    """
    try:
        need_file(path, error)
        if path.stat().st_size > _MOST_BYTES:
            raise error(f"{path} is larger than {_MOST_BYTES >> 20} MiB, which no file of settings is.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise error(f"{path} cannot be read: {reason_of(problem)}.") from problem
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not a text file in UTF-8: {problem.reason}.") from problem
    return parse_yaml(text, str(path), error)


def parse_yaml(text: str, where: str, error: type[GaitprintError]) -> Any:
    """Parse YAML that does not come from a file of its own, such as the value of an option.

    Args:
        text: the YAML.
        where: where it stands, for the message.
        error: the kind of error to raise.

    Raises:
        GaitprintError: of the kind `error`; it is not YAML, or has too many values, too deep inside of each other.
    """
    import yaml

    try:
        _need_modest(text, where, error)
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            _warn_of_doubles(node, where)
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        reason = getattr(problem, "problem", None) or str(problem).partition("\n")[0]
        raise error(f"{where} is not YAML{line}: {reason}.") from problem
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as problem:  # 2026-13-01, wrong tags
        raise error(f"{where} has a value that cannot be read: {problem}. Put text into quotation marks.") from problem


def _need_modest(text: str, where: str, error: type[GaitprintError]) -> None:
    """Make sure that YAML is neither deep nor long, also when its aliases are replaced, and that its texts are text.

    Its values are not built for that.
    """
    import yaml

    sizes: dict[str, int] = {}  # how many values each anchor stands for
    opened: list[tuple[str | None, int]] = []  # the anchors of the collections around, and the values before them
    values = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, values))
            values += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = values - before
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in opened):
                raise error(f"{where}: the alias '*{event.anchor}' stands inside of what it stands for.")
            values += sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            if len(event.value) > _LONGEST:
                line = f" in line {event.start_mark.line + 1}" if event.start_mark is not None else ""
                raise error(f"{where} has a value of {len(event.value)} characters{line}; at most {_LONGEST} are read.")
            if _HALF.search(event.value):
                raise error(f"{where} has a text with half a character: {ascii(event.value)[:60]}.")
        if len(opened) > _DEEPEST:
            raise error(f"{where} has more than {_DEEPEST} lists and sections inside of each other.")
        if values > _MOST_VALUES:
            raise error(f"{where} has more than {_MOST_VALUES} values, counting what its aliases stand for.")


def _warn_of_doubles(node: Any, where: str) -> None:
    """Say which keys stand twice in a section, because YAML ignores the first one without a word."""
    import yaml

    waiting = [node]
    seen = set[int]()  # what aliases stand for is looked at once
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    line = key.start_mark.line + 1
                    if key.value in lines:
                        logger.warning(
                            "%s: '%s' stands twice in a section, in line %d and in line %d. The later one counts.",
                            *(where, key.value, lines[key.value], line),
                        )
                    lines[key.value] = line
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def validated(
    kind: type[Value],
    content: Any,
    where: str,
    error: type[GaitprintError],
    given: Mapping[str, str] = MappingProxyType({}),
) -> Value:
    """Return `content` as `kind`, a dataclass for example, with the conversions that pydantic knows.

    Args:
        kind: anything pydantic understands.
        content: what a YAML file holds.
        where: where it stands, for the message.
        error: the kind of error to raise.
        given: for each key that stands elsewhere, where.

    Raises:
        GaitprintError: of the kind `error`; a key is missing or unknown, or a value cannot be used. The message names
            the first such key.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as problem:
        first, *_ = errors = sorted(problem.errors(), key=lambda one: one["type"] != "unexpected_keyword_argument")
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "unexpected_keyword_argument":
            missing = [str(one["loc"][-1]) for one in errors if one["type"] == "missing"]
            hint = nearest(str(first["loc"][-1]), missing) or "".join(f" '{name}' is missing." for name in missing[:1])
            raise error(f"{where}: {place!r} is unknown.{hint}") from problem
        if first["type"] == "missing":
            raise error(f"{where}: '{place}' is missing.") from problem
        if first["type"] in ("dataclass_type", "dict_type", "mapping_type", "model_type"):
            place = f": {place!r}" if place else ""
            shown = reprlib.repr(first["input"])
            raise error(f"{where}{place} must hold lines such as 'name: value', not {shown}.") from problem
        where = given.get(place.partition(".")[0], where)
        raise error(
            f"{where}{f': {place!r}' if place else ''} cannot be used: {first['msg'].removeprefix('Value error, ')}."
        ) from problem
