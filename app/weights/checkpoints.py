"""Finding checkpoint files and opening them without trusting them.

Published checkpoints are pickles; ``torch.load(weights_only=True)`` refuses any that would run code.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import CheckpointError, nearest
from app.types import Origin

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

HOME = Path(__file__).resolve().parents[2] / "checkpoints"
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
            CheckpointError: no such file, and the nearest name is suggested; or see `need_whole`.
        """
        path = path.expanduser()
        if path.exists():
            need_whole(path)
            return cls(path, "given")
        places = [place for root in roots if root.is_dir() for place in sorted(root.rglob("*"))]
        for place in places:
            if place.name == path.name:
                need_whole(place)
                return cls(place, "given")
        siblings = list(path.parent.iterdir()) if path.parent.is_dir() else []
        hint = nearest(path.name, [place.name for place in [*siblings, *places]])
        searched = f" here, nor in {' or '.join(map(str, roots))}" if roots else ""
        raise CheckpointError(f"There is no checkpoint {path}{searched}.{hint}")

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


def _not_used(file: CheckpointFile, error: CheckpointError) -> None:
    logger.warning("Not used: %s", error)


def find_checkpoints(
    roots: tuple[Path, ...],
    folders: tuple[str, ...],
    refused: Callable[[CheckpointFile, CheckpointError], None] = _not_used,
) -> Iterator[CheckpointFile]:
    """Yield what may be a model in `folders` of `roots`, in order of precedence, newest name last to first.

    Files a user placed come before the embedded ones whatever the root. Within a folder the largest file comes
    first, as the larger network of a family is the better one. Files that are no weights at all (see `need_whole`) go
    to `refused`.
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
                    file = CheckpointFile(path, "embedded" if embedded else "found")
                    try:
                        need_whole(path)
                    except CheckpointError as error:
                        refused(file, error)
                    else:
                        yield file


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def need_whole(path: Path) -> None:
    """Look for what comes of downloads that failed, in a file or in the weights of a PaddleSeg deployment folder.

    Raises:
        CheckpointError: an empty file, a web page, a note of Git LFS, or a file without its end.
    """
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and file.suffix.lower() in {".pdmodel", ".pdiparams"}:
                need_whole(file)
        return
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    kind = path.suffix.lower()
    if not head:
        raise CheckpointError(f"{path} is empty: its download failed. Get it again.")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is only Git LFS's note of where the weights are. Run `git lfs pull` in the clone it comes from, "
            "or download the file itself."
        )
    if head.lstrip()[:1] in (b"<", b"{"):
        begin = head.decode("utf-8", "replace").split("\n", 1)[0].strip()[:60]
        raise CheckpointError(
            f"{path} is a web page or a server's message instead of weights; it begins with '{begin}'. Open the "
            "address in a browser: often one has to agree to something or to sign in there first."
        )
    if (head.startswith(b"PK") and not zipfile.is_zipfile(path)) or (kind == ".onnx" and not _ends_as_onnx(path)):
        raise CheckpointError(f"{path} is damaged or cut off: its end is missing. Get it again.")


def _ends_as_onnx(path: Path) -> bool:
    """Whether the fields of a protobuf message, which an ONNX file is, end where the file does."""
    size = path.stat().st_size
    with path.open("rb") as stream:

        def number() -> int:
            """A varint: 7 bits a byte, the lowest first; the highest bit says that more follow."""
            value, shift, byte = 0, 0, 0x80
            while byte & 0x80 and shift < 64:
                byte = (stream.read(1) or b"\0")[0]
                value, shift = value | (byte & 0x7F) << shift, shift + 7
            return value

        while stream.tell() < size:
            kind = number() & 7
            if kind not in (0, 1, 2, 5):
                return False
            if kind == 0:
                number()
            else:
                stream.seek({1: 8, 5: 4}.get(kind) or number(), 1)
        return stream.tell() == size


def load_pickle_safely(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Open a torch checkpoint as plain data: tensors, numbers (NumPy's too, YOLOX writes ``best_ap`` so) and text.

    Args:
        path: the file.
        mapped: leave the weights on the disk until they are looked at, where the file's format allows it.

    Returns:
        The dictionary the file holds (a bare state dict, or one with ``model``, ``optimizer`` ...), on the CPU.

    Raises:
        CheckpointError: not a torch file, truncated, or a pickle that would run code.
    """
    import pickle

    import torch

    try:
        with torch.serialization.safe_globals(_numbers()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # it is read all the same, or refused
            content = torch.load(
                path, map_location="cpu", weights_only=True, mmap=(mapped and zipfile.is_zipfile(path)) or None
            )
    except pickle.UnpicklingError as error:
        message = str(error)
        if "GLOBAL" in message or "Unsupported" in message or "unsafe" in message.lower():
            raise CheckpointError(
                f"{path} is refused: it holds more than weights (it would run code when opened). "
                "Get the file from its official source, or save its state dict alone with torch.save."
            ) from error
        raise CheckpointError(f"{path} is not a torch checkpoint, or is damaged: {message.splitlines()[0]}") from error
    except Exception as error:  # a damaged file can raise nearly anything
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read as a torch checkpoint: {first}. If it was downloaded, get it again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dictionary of weights.")
    return content


def _numbers() -> list[Any]:
    """What a NumPy number consists of in a pickle, under the names of NumPy 1 and 2; none of it runs code."""
    import numpy as np

    kinds = [type(np.dtype(kind)) for kind in ("?", "i1", "u1", "i4", "i8", "f2", "f4", "f8")]
    scalar = np.float64(0).__reduce__()[0]
    return [np.dtype, *kinds, (scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar")]


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


def metadata_of(content: Mapping[str, Any]) -> dict[str, str]:
    """What a checkpoint of our own training says of itself: ``licence``, ``note``; nothing for other files."""
    stated = content.get("metadata")
    return {str(key): str(value) for key, value in stated.items()} if isinstance(stated, dict) else {}


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
