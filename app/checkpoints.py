"""Finding checkpoint files and opening them without trusting them.

Published checkpoints are pickles; ``torch.load(weights_only=True)`` refuses any that would run code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import CheckpointError, nearest
from app.types import Origin

if TYPE_CHECKING:
    import torch

HOME = Path(__file__).resolve().parents[1] / "checkpoints"
"""The folder of checkpoints that comes with the project; its embedded networks are found from wherever one works."""

# What earlier demos and releases put beside the weights and nobody can load as weights.
_NOT_WEIGHTS = {".md", ".txt", ".yaml", ".yml", ".json", ".zip", ".py", ".gitkeep", ".pdiparams", ".info"}


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """A checkpoint file, or a folder that is one model (PaddleSeg's deployment folders), and how it was chosen."""

    path: Path
    origin: Origin

    @classmethod
    def given(cls, path: Path, roots: tuple[Path, ...] = ()) -> CheckpointFile:
        """The user's own choice: taken as given, else looked up in `roots` and their sub-folders.

        Raises:
            CheckpointError: no such file; the nearest name is suggested.
        """
        path = path.expanduser()
        if path.exists():
            return cls(path, "given")
        places = [place for root in roots if root.is_dir() for place in sorted(root.rglob("*"))]
        for place in places:
            if place.name == path.name:
                return cls(place, "given")
        siblings = list(path.parent.iterdir()) if path.parent.is_dir() else []
        hint = nearest(path.name, [place.name for place in [*siblings, *places]])
        raise CheckpointError(f"There is no checkpoint {path}.{hint}")

    def sha256(self) -> str:
        """Hex digest of the file, or of all files of the folder in name order."""
        files = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
        digest = hashlib.sha256()
        for file in files:
            if file.is_file():
                with file.open("rb") as stream:
                    while block := stream.read(1 << 20):
                        digest.update(block)
        return digest.hexdigest()


def checkpoint_roots(folder: Path) -> tuple[Path, ...]:
    """The folders to search, best first: the user's `folder`, then the project's own."""
    return (folder,) if folder.resolve() == HOME else (folder, HOME)


def find_checkpoints(roots: tuple[Path, ...], folders: tuple[str, ...]) -> Iterator[CheckpointFile]:
    """Yield what may be a model in `folders` of `roots`, in order of precedence, newest name last to first.

    Files a user placed come before the embedded ones whatever the root. Within a folder the largest file comes
    first, as the larger network of a family is the better one.
    """
    for embedded in (False, True):
        for root in roots:
            for folder in folders:
                if folder.startswith("embedded") is not embedded or not (root / folder).is_dir():
                    continue
                models = [
                    path.parent if path.suffix == ".pdmodel" or path.name == "deploy.yaml" else path
                    for path in sorted((root / folder).rglob("*"))
                    if path.is_file()
                    and (path.name == "deploy.yaml" or path.suffix.lower() not in _NOT_WEIGHTS)
                    and not path.name.startswith(".")
                ]
                unique = list(dict.fromkeys(models))
                unique.sort(key=lambda path: (-_size(path), path.name))
                for path in unique:
                    yield CheckpointFile(path, "embedded" if embedded else "found")


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def load_pickle_safely(path: Path) -> dict[str, Any]:
    """Open a torch checkpoint as plain data.

    Returns:
        The dictionary the file holds (a bare state dict, or one with ``model``, ``optimizer`` ...), on the CPU.

    Raises:
        CheckpointError: not a torch file, truncated, or a pickle that would run code.
    """
    import pickle

    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        message = str(error)
        if "GLOBAL" in message or "Unsupported" in message or "unsafe" in message.lower():
            raise CheckpointError(
                f"{path} is refused: it holds more than weights (it would run code when opened). "
                "Get the file from its official source, or save its state dict alone with torch.save."
            ) from error
        raise CheckpointError(f"{path} is not a torch checkpoint, or is damaged: {message.splitlines()[0]}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} cannot be read as a torch checkpoint: {first}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dictionary of weights.")
    return content


def state_dict_of(content: Mapping[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """Return the float32 weights of a checkpoint: under ``model``, ``state_dict``, ``ema`` or at the top.

    A ``module.`` prefix, left by distributed training, is removed.
    """
    import torch

    for key in ("ema", "model", "state_dict"):
        inner = content.get(key)
        if isinstance(inner, dict) and any(isinstance(value, torch.Tensor) for value in inner.values()):
            content = inner
            break
    weights = {
        str(name).removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in content.items()
        if isinstance(value, torch.Tensor)
    }
    if not weights:
        raise CheckpointError(f"{path} holds no weights: its keys are {', '.join(map(str, list(content)[:8]))}.")
    return weights


def load_strictly(
    network: torch.nn.Module,
    weights: Mapping[str, torch.Tensor],
    path: Path,
    what: str,
    foreign_name: Callable[[str], str] = str,
) -> None:
    """Load `weights` into `network`; `CheckpointError` where they are not exactly its own (see `need_weights`)."""
    need_weights(network, weights, path, what, foreign_name)
    network.load_state_dict(dict(weights), strict=False)


def need_weights(
    network: torch.nn.Module,
    weights: Mapping[str, torch.Tensor],
    path: Path,
    what: str,
    foreign_name: Callable[[str], str] = str,
) -> None:
    """Compare `weights` with those of `network`; every missing, left-over or wrongly shaped key is named.

    `foreign_name` turns a key of `network` into the one the file uses, for the messages.

    Raises:
        CheckpointError: `weights` are not exactly those of `network`.
    """
    own = network.state_dict()
    problems = []
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    extra = [key for key in weights if key not in own]
    shapes = [
        f"{foreign_name(key)} is {tuple(weights[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in weights and weights[key].shape != own[key].shape
    ]
    missing, extra = [foreign_name(key) for key in missing], [foreign_name(key) for key in extra]
    for title, keys in (("missing", missing), ("left over", extra), ("of another shape", shapes)):
        if keys:
            shown = ", ".join(keys[:6]) + (f" and {len(keys) - 6} more" if len(keys) > 6 else "")
            problems.append(f"{len(keys)} {title}: {shown}")
    if problems:
        raise CheckpointError(f"{path} does not fit {what}: {'; '.join(problems)}.")
