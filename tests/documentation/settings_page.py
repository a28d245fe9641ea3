"""Writes ``docs/guide/settings.md`` from ``app/settings.py``: ``python -m tests.documentation.settings_page``.

Names, kinds and defaults come from the classes, the descriptions from the docstrings under the fields in the source.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from app.settings import Settings
from tests.documentation.pages import ROOT

PAGE = ROOT / "docs" / "guide" / "settings.md"

HEAD = """# Settings

<!-- Written by python -m tests.documentation.settings_page from app/settings.py; changes here are lost. -->

There are three ways to change a setting. A later one in this list wins:

1. a YAML file: `--config my.yaml`;
2. `--set section.key=value`, as often as you like;
3. the named options of a command, such as `--threshold`.

```yaml title="my.yaml"
match:
  threshold: 0.4
output:
  summary: false
```

<!-- slow -->
```sh
python run_demo.py --gallery people.mp4 --probe street.mp4 --config my.yaml --set output.blur=faces
```

If you misspell a key, the error names the nearest one. All defaults are in one place, `app/settings.py`.
"""


def descriptions(owner: type) -> dict[str, str]:
    """Return the docstring under each field of a class, or of the class that it inherits the field from."""
    body = ast.parse(inspect.getsource(owner)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = descriptions(owner.__base__) if is_dataclass(owner.__base__) else {}
    for field, following in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            said = following.value if isinstance(following, ast.Expr) else None
            text = said.value if isinstance(said, ast.Constant) else ""
            found[field.target.id] = " ".join(str(text).split())
    return found


def kind(hint: Any) -> str:
    """Say in words what values a type allows."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = {
            name: getattr(limit, name)
            for holder in arguments[1:]
            for limit in getattr(holder, "metadata", [holder])
            for name in ("ge", "gt", "le", "lt")
            if getattr(limit, name, None) is not None
        }
        number = "whole number" if arguments[0] is int else "number"
        low = f"from {limits['ge']}" if "ge" in limits else f"above {limits['gt']}" if "gt" in limits else ""
        high = f"to {limits['le']}" if "le" in limits else "on" if "ge" in limits else ""
        return " ".join(word for word in (number, low, high) if word)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return ", or ".join(kind(a) for a in arguments if a is not type(None)) + ", or nothing"
    if origin is tuple:
        return f"{len(arguments)} of: {kind(arguments[0])}"
    names = {bool: "`true` or `false`", int: "whole number", float: "number", str: "text", Path: "path"}
    return names.get(hint, str(hint))


def default(value: Any) -> str:
    """Write a default as in YAML."""
    if value is None:
        return "nothing"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def rows(owner: type, section: str) -> Iterator[str]:
    """Yield the rows of the table of a class of settings."""
    hints, texts = get_type_hints(owner, include_extras=True), descriptions(owner)
    for field in fields(owner):
        value = field.default_factory() if field.default_factory is not MISSING else field.default
        if not is_dataclass(value):
            text = texts[field.name].replace("|", "\\|")
            yield f"| `{section}{field.name}` | {kind(hints[field.name])} | {default(value)} | {text} |"


def render() -> str:
    """Return the whole page."""
    head = "| Setting | Values | Default | What it does |\n|---|---|---|---|\n"
    parts = [HEAD]
    for field in fields(Settings):
        value = getattr(Settings(), field.name)
        if is_dataclass(value):
            about = inspect.getdoc(type(value)) or ""
            table = "\n".join(rows(type(value), f"{field.name}."))
            parts.append(f"## {field.name}\n\n{about}\n\n{head}{table}\n")
    parts.append(f"## Without a section\n\n{head}" + "\n".join(rows(Settings, "")) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
