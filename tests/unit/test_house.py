"""The order of the house: imports go only downwards, there are no circles, and nothing depends on the neighbourhood.

The order stands in one place, the block after ``<!-- house`` in ``docs/design.md``: a line for each floor, the lowest
first. A folder may import what stands above it in that block, and its neighbours on the same line as long as no circle
comes of it.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.error import URLError

import pytest
import yaml

from app.errors import reason_of

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "cv2", "numpy", "onnxruntime", "scipy", "av", "pydantic", "rich", "typer", "lightning")
Edges = dict[str, dict[str, str]]  # importer: {imported: "file:line"}


def floors(page: str) -> dict[str, int]:
    """Return the floor of each folder or module of ``app/``, 0 being the lowest."""
    block = re.search(r"<!-- house.*?-->\s*```text\n(.*?)```", page, flags=re.DOTALL)
    assert block, "docs/design.md has lost the block with the order of the house"
    return {name: floor for floor, line in enumerate(block[1].splitlines()) for name in line.split()}


FLOORS = floors((ROOT / "docs" / "design.md").read_text(encoding="utf-8"))


def module_name(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def only_for_types(tree: ast.Module) -> set[ast.AST]:
    """Return all nodes under ``if TYPE_CHECKING``."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    return {inner for block in blocks for part in block.body for inner in ast.walk(part)}


def imports_of(root: Path, types_too: bool = True) -> Edges:
    """Return which module of ``root/app`` imports which, wherever in the file the import stands.

    Without `types_too`, imports under ``if TYPE_CHECKING`` are left out: nothing is loaded by them.
    """
    paths = sorted((root / "app").rglob("*.py"))
    names = {module_name(path, root): path for path in paths}
    edges: Edges = defaultdict(dict)
    for name, path in names.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        skipped = set() if types_too else only_for_types(tree)
        for node in ast.walk(tree):
            if node in skipped:
                continue
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                levels = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                source = ".".join([*levels, *([node.module] if node.module else [])])
                targets = [f"{source}.{alias.name}" for alias in node.names]
            else:
                continue
            for target in targets:
                while target and target not in names:
                    target = target.rpartition(".")[0]
                if target and target != name:
                    edges[name].setdefault(target, f"{path.relative_to(root)}:{node.lineno}")
    return dict(edges)


def folders_of(edges: Edges) -> Edges:
    """Return the imports between the folders and single modules directly under ``app/``."""
    between: Edges = defaultdict(dict)
    for importer, imported in edges.items():
        for target, place in imported.items():
            one, other = importer.split(".")[1:2], target.split(".")[1:2]
            if one and other and one != other:  # app/__init__.py stands above the house and outside of it
                between[one[0]].setdefault(other[0], place)
    return dict(between)


def circles(edges: Mapping[str, Mapping[str, str]]) -> Iterator[list[str]]:
    """Yield each set of modules that import each other in a circle (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges.get(node, {}):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in edges:
        if node not in index:
            visit(node)
    yield from found


def upward(between: Edges, order: Mapping[str, int]) -> list[str]:
    return [
        f"{place}: {one} imports {other}, which stands above it"
        for one, imported in between.items()
        for other, place in imported.items()
        if one in order and other in order and order[other] > order[one]
    ]


@pytest.fixture(scope="module")
def folders() -> Edges:
    """The imports of the house; every worker collects these tests, and one of them needs this."""
    return folders_of(imports_of(ROOT))


def test_every_folder_has_its_place_in_the_order() -> None:
    there = {path.stem for path in (ROOT / "app").iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    there -= {"__init__", "__main__"}
    assert there == set(FLOORS), "docs/design.md and the folders of app/ do not agree"


def test_imports_go_downwards(folders: Edges) -> None:
    wrong = upward(folders, FLOORS)
    assert not wrong, "\n".join(wrong)


def test_no_folder_is_in_a_circle(folders: Edges) -> None:
    assert not list(circles(folders))


def test_no_module_is_in_a_circle() -> None:
    loaded = imports_of(ROOT, types_too=False)
    inner = {one: {other: place for other, place in to.items() if other != "app"} for one, to in loaded.items()}
    inner.pop("app", None)
    assert not list(circles(inner))


def test_an_upward_import_and_a_circle_are_found(tmp_path: Path) -> None:
    for name, text in {
        "low/one.py": "from app.high import two\n",
        "low/__init__.py": "",
        "high/__init__.py": "",
        "high/two.py": "def later():\n    from ..low.one import thing\n",
    }.items():
        path = tmp_path / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    edges = imports_of(tmp_path)
    assert edges == {
        "app.low.one": {"app.high.two": str(Path("app/low/one.py:1"))},
        "app.high.two": {"app.low.one": str(Path("app/high/two.py:2"))},
    }
    between = folders_of(edges)
    assert len(upward(between, {"low": 0, "high": 1})) == 1
    assert list(circles(between)) == [["high", "low"]]
    assert list(circles(edges)) == [["app.high.two", "app.low.one"]]


def leaves_the_project(text: str) -> bool:
    """Whether a value is a path that points outside the project: upwards, to a home or to a fixed absolute folder."""
    return bool(re.match(r"^(\.\.[/\\]|~[/\\]|/(home|root|work|Users|mnt|data|opt|srv)(/|$)|[A-Za-z]:\\)", text))


def values_of(path: Path) -> Iterator[str]:
    """Yield the strings of a file that can act as a default; docstrings and comments cannot."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        tree = ast.parse(text)
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield node.value
    else:
        yield from leaves_of(json.loads(text) if path.suffix == ".json" else yaml.safe_load(text))


def leaves_of(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from leaves_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves_of(inner)


def test_no_default_points_outside_the_project() -> None:
    files = [path for path in (ROOT / "app").rglob("*") if path.suffix in {".py", ".yaml", ".json"}]
    wrong = [
        f"{path.relative_to(ROOT)}: {value}" for path in files for value in values_of(path) if leaves_the_project(value)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("text", ["../shared/train", "~/models", "/home/anna/videos", "C:\\Users\\anna", "/srv/shared"])
def test_paths_outside_the_project_are_recognised(text: str) -> None:
    assert leaves_the_project(text)


@pytest.mark.parametrize("text", ["output/cache", "/api/runs", "/", "checkpoints", "..", "photos: FOLDER"])
def test_ordinary_values_are_left_alone(text: str) -> None:
    assert not leaves_the_project(text)


def test_no_message_repeats_pythons_words_about_files() -> None:
    """Such as ``[Errno 2] No such file or directory: 'x'``, which `app.errors.reason_of` turns into words."""
    found = []
    for path in sorted((ROOT / "app").rglob("*.py")):
        for handler in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(handler, ast.ExceptHandler) and handler.type is not None:
                kinds = set(re.findall(r"\w+", ast.unparse(handler.type)))
                if not kinds & {"OSError", "FileNotFoundError", "PermissionError"}:
                    continue
                found += [
                    f"{path.relative_to(ROOT)}:{node.lineno}"
                    for node in ast.walk(handler)
                    if isinstance(node, ast.FormattedValue) and ast.unparse(node.value) == handler.name
                ]
    assert not found


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file or directory", "x"), "No such file or directory"),
        (URLError(ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (ValueError("a number is missing.\nAdvice of a library"), "a number is missing"),
        (EOFError(), "EOFError"),
    ],
)
def test_errors_are_told_in_words(error: Exception, words: str) -> None:
    assert reason_of(error) == words


def test_pictures_are_converted_by_a_scaler_of_their_video() -> None:
    """A picture's own methods prepare FFmpeg's scaler for it alone, which takes longer than the conversion."""
    own = re.compile(r"to_ndarray\(\s*[^)\s]|to_image\(|to_rgb\(|(?<!reformatter)\.reformat\(")
    for path in (ROOT / "app").rglob("*.py"):
        assert own.search(path.read_text(encoding="utf-8")) is None, path


def test_importing_the_project_imports_nothing_heavy() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, app; print('\\n'.join(sys.modules))"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert "app" in loaded
    assert not [name for name in HEAVY if name in loaded]
