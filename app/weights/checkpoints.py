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
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

from app.errors import CheckpointError, nearest, reason_of
from app.files import expanded
from app.types import ModelCard, Origin

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parents[1]
_IS_CLONE = (_PACKAGE.parent / "pyproject.toml").is_file()
HOME = (_PACKAGE.parent if _IS_CLONE else _PACKAGE) / "checkpoints"
"""The folder of checkpoints that comes with the program: inside an installed package, or at the top of a clone."""

# Files that lie beside weights, in releases and in the folders of earlier demos, and that are no weights themselves.
_NOT_WEIGHTS = {".md", ".txt", ".yaml", ".yml", ".json", ".py", ".gitkeep", ".pdiparams", ".info"}


QUANTISED = ".int8.onnx.gz"
"""The end of the name of a network's 8-bit version, which lies beside it and is no model by itself."""
FUSION = ".fusion"
"""The end of the name of a folder whose files are several gait checkpoints that are one model."""
_SHARED = 8
"""How many weights may share the same numbers, on average; some networks name a layer two or three times."""


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """A checkpoint file, or a folder that is one model, and how it was chosen.

    Such folders are those in which PaddleSeg deploys a network, and fusions (`app.gait.fusion`).
    """

    path: Path
    origin: Origin

    @classmethod
    def given(cls, path: Path, roots: tuple[Path, ...] = ()) -> CheckpointFile:
        """Find the file or folder that the user names: at that path, else by its name anywhere below `roots`.

        Raises:
            CheckpointError: there is none, and the message suggests the nearest name; or see `need_whole`.
        """
        path = expanded(path, CheckpointError)
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
        """Hex digest of the file, or of all files of the folder in name order; of a fusion, of its checkpoints."""
        files = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
        if self.path.suffix == FUSION and self.path.is_dir():
            files = members_of(self.path)
        digest = hashlib.sha256()
        for file in files:
            if file.is_file():
                with file.open("rb") as stream:
                    while block := stream.read(1 << 20):
                        digest.update(block)
        return digest.hexdigest()

    def card(
        self,
        stage: str,
        name: str,
        licence: str,
        runtime: str,
        note: str = "",
        keypoints: bool = False,
        parts: bool = False,
        body: bool = False,
        pictures: bool = False,
    ) -> ModelCard:
        """Return the card of a model that was loaded from this file; see `ModelCard`."""
        return ModelCard(
            stage, name, self.origin, licence, self.path, self.sha256(), runtime, note, keypoints=keypoints,
            parts=parts, body=body, pictures=pictures,
        )  # fmt: skip


def checkpoint_roots(folder: Path) -> tuple[Path, ...]:
    """The folders to search, best first: the user's `folder`, then the one that comes with the program."""
    return (folder,) if folder.resolve() == HOME else (folder, HOME)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may be a model, the folder it was found in, and its `rank` within that folder; lower is better."""

    file: CheckpointFile
    folder: Path
    rank: int = 0


Refused: TypeAlias = Callable[[CheckpointFile, CheckpointError], None]
"""Is called with a file that cannot be used, and why."""


def log_refused(file: CheckpointFile, error: CheckpointError) -> None:
    """Warn that a file in a folder of checkpoints cannot be used."""
    logger.warning("Not used: %s", error)


def find_checkpoints(
    roots: tuple[Path, ...],
    folders: tuple[str, ...],
    refused: Refused = log_refused,
    rank: Callable[[Path], int] = lambda path: 0,
) -> Iterator[Candidate]:
    """Yield what may be a model in `folders` of `roots`, in order of precedence.

    Files that a user placed come before the embedded ones whatever the root; then the order is that of `roots`, of
    `folders`, of `rank` and of the names.

    Args:
        roots: folders of checkpoints, best first.
        folders: sub-folders to search, best first; those that begin with ``embedded`` hold the program's own networks.
        refused: is called with each file that cannot be weights (see `need_whole`).
    """
    for embedded in (False, True):
        for root in roots:
            for folder in (root / name for name in folders if name.startswith("embedded") is embedded):
                models = {
                    _model_of(path)
                    for path in folder.rglob("*")
                    if path.is_file()
                    and (path.name == "deploy.yaml" or path.suffix.lower() not in _NOT_WEIGHTS)
                    and not path.name.startswith(".")
                    and not path.name.endswith(QUANTISED)
                }
                for place, path in sorted((rank(path), path) for path in models):
                    file = CheckpointFile(path, "embedded" if embedded else "found")
                    try:
                        need_whole(path)
                    except CheckpointError as error:
                        refused(file, error)
                    else:
                        yield Candidate(file, folder, place)


def _model_of(path: Path) -> Path:
    """Return the model to which a file belongs: itself, or the folder that is one model."""
    if path.suffix == ".pdmodel" or path.name == "deploy.yaml" or path.parent.suffix == FUSION:
        return path.parent
    return path


def members_of(fusion: Path) -> list[Path]:
    """Return the checkpoints in the folder of a fusion, sorted by name."""
    return sorted(
        path
        for path in fusion.iterdir()
        if path.is_file() and path.suffix.lower() not in _NOT_WEIGHTS and not path.name.startswith(".")
    )


def need_whole(path: Path) -> None:
    """Refuse what failed downloads leave behind; of a folder, its weights are looked at.

    Raises:
        CheckpointError: it is an empty file, a web page, a pointer of Git LFS, or a file whose end is missing.
    """
    if path.is_dir():
        for file in members_of(path) if path.suffix == FUSION else sorted(path.rglob("*")):
            if path.suffix == FUSION or (file.is_file() and file.suffix.lower() in {".pdmodel", ".pdiparams"}):
                need_whole(file)
        return
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is a device or a pipe. Give a file.")
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    if not head:
        raise CheckpointError(f"{path} is empty, so its download failed. Download it again.")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is a pointer of Git LFS, not the weights themselves. Run `git lfs pull` in the clone it comes "
            "from, or download the file itself."
        )
    if head.lstrip()[:1] in (b"<", b"{"):
        begin = head.decode("utf-8", "replace").split("\n", 1)[0].strip()[:60]
        raise CheckpointError(
            f"{path} is a web page or a server's message instead of weights; it begins with '{begin}'. Open the "
            "download address in a browser: often you have to accept terms or sign in there first."
        )
    if head.startswith(b"PK"):
        _need_stored(path)


def _need_stored(path: Path) -> None:
    """Refuse a zip file that cannot be read, or whose content takes more room than the file itself.

    Torch stores what it writes without compressing it, so a file of kilobytes that would fill the memory is no
    checkpoint.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise CheckpointError(f"{path} is damaged or incomplete: its end is missing. Download it again.")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except CheckpointError:
        raise
    except Exception as error:  # besides BadZipFile, damaged headers raise errors of many classes
        raise CheckpointError(f"{path} is damaged or incomplete ({reason_of(error)}). Download it again.") from error
    names = {PurePosixPath(member.filename).name for member in members}
    if "constants.pkl" in names:
        raise CheckpointError(
            f"{path} is a TorchScript archive, which holds a program besides the weights. Give the checkpoint it was "
            "exported from, or save its state dict with torch.save."
        )
    if "data.pkl" not in names:
        raise CheckpointError(
            f"{path} is an ordinary zip file, not a checkpoint. Unpack it and give the file inside: "
            f"{', '.join(sorted(names)[:4]) or 'it is empty'}."
        )
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise CheckpointError(
            f"{path} is compressed, which no checkpoint of torch is. Get it from its official source."
        )


def load_pickle_safely(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Return what a torch checkpoint holds as plain data: tensors, numbers (NumPy's too, YOLOX writes ``best_ap`` so)
    and text.

    It is a bare state dict, or a dictionary with ``model``, ``optimizer`` ..., on the CPU. Where it is `mapped`,
    weights are read from the disk only when they are used, if the file's format allows it.

    Raises:
        CheckpointError: see `need_whole`; or it is not a torch file, is damaged, or is a pickle that would run code.
    """
    import pickle

    import torch

    need_whole(path)
    try:
        with path.open("rb") as file:
            begins = file.read(2)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {reason_of(error)}.") from error
    if not begins.startswith((b"PK", b"\x80")):  # the beginnings of a zip archive and of a pickle
        raise CheckpointError(f"{path} is not a torch checkpoint. Give the file that its authors publish.")
    try:
        with torch.serialization.safe_globals(_numbers()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # it is read or refused like any other
            content = torch.load(
                path, map_location="cpu", weights_only=True, mmap=(mapped and zipfile.is_zipfile(path)) or None
            )
    except pickle.UnpicklingError as error:
        message = str(error)
        if "GLOBAL" in message or "Unsupported" in message or "unsafe" in message.lower():
            raise CheckpointError(
                f"{path} is refused: it holds more than weights, and opening it would run code. "
                "Get the file from its official source, or save only its state dict with torch.save."
            ) from error
        raise CheckpointError(f"{path} is not a torch checkpoint, or is damaged: {reason_of(error)}.") from error
    except Exception as error:  # a damaged file can raise nearly anything
        raise CheckpointError(
            f"{path} cannot be read as a torch checkpoint: {reason_of(error)}. If you downloaded it, download it again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dictionary of weights.")
    return content


def _numbers() -> list[Any]:
    """The classes a NumPy number consists of in a pickle, under the names of NumPy 1 and 2; none of them runs code."""
    import numpy as np

    kinds = [type(np.dtype(kind)) for kind in ("?", "i1", "u1", "i4", "i8", "f2", "f4", "f8")]
    scalar = np.float64(0).__reduce__()[0]
    return [np.dtype, *kinds, (scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar")]


def state_dict_of(content: Mapping[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """Return the float32 weights of a checkpoint: under ``model``, ``state_dict``, ``ema`` or at the top.

    A ``module.`` prefix, left by distributed training, is removed.

    Raises:
        CheckpointError: there are none, or a tensor is not an ordinary one whose numbers are all in the file.
    """
    import torch

    for key in ("ema", "model", "state_dict"):
        inner = content.get(key)
        if isinstance(inner, dict) and any(isinstance(value, torch.Tensor) for value in inner.values()):
            content = inner
            break
    tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no weights: its keys are {', '.join(map(str, list(content)[:8]))}.")
    for name, value in tensors.items():
        if fault := _fault_of(value):
            raise CheckpointError(f"{path} cannot be used: its weight '{name}' {fault}.")
    stored = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in tensors.values()}
    if sum(value.numel() * value.element_size() for value in tensors.values()) > _SHARED * sum(stored.values()):
        raise CheckpointError(f"{path} cannot be used: its weights are mostly copies of the same numbers.")
    return {
        str(name).removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in tensors.items()
    }


def _fault_of(weight: torch.Tensor) -> str | None:
    """Say why a tensor cannot be a weight; None if it can.

    A tensor whose numbers are repeated or missing in the file could claim any size, and take that much memory.
    """
    import torch

    if weight.layout != torch.strided or weight.is_nested or weight.is_quantized or weight.device.type == "meta":
        return "is sparse, nested, quantised or without numbers"
    if weight.is_complex():
        return "has complex numbers"
    if weight.numel() == 0:
        return f"has no numbers: its shape is {tuple(weight.shape)}"
    if weight.numel() * weight.element_size() > weight.untyped_storage().nbytes():
        return f"claims the shape {tuple(weight.shape)}, for which the file holds too few numbers"
    return None


def metadata_of(content: Mapping[str, Any]) -> dict[str, str]:
    """Return what a checkpoint trained with this program states about itself (``licence``, ``note``), else nothing."""
    stated = content.get("metadata")
    return {str(key): str(value) for key, value in stated.items()} if isinstance(stated, dict) else {}


def load_strictly(
    network: torch.nn.Module,
    weights: Mapping[str, torch.Tensor],
    path: Path,
    what: str,
) -> None:
    """Load `weights` into `network`, after `need_weights` has checked that they fit exactly.

    Raises:
        CheckpointError: they do not fit, or some are not finite, so that nothing would ever be found.
    """
    need_weights(network, weights, path, what)
    need_finite(weights, path)
    network.load_state_dict(dict(weights), strict=False)


def need_finite(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raise `CheckpointError` if a weight is NaN or infinite; nothing would ever be found with it."""
    import torch

    broken = [key for key, value in weights.items() if not bool(torch.isfinite(value).all())]
    if broken:
        others = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise CheckpointError(
            f"{path} holds numbers that are not finite (NaN or infinite) in '{broken[0]}'{others}: its training has "
            "failed, or the file is damaged. Take an earlier checkpoint."
        )


def need_weights(
    network: torch.nn.Module,
    weights: Mapping[str, torch.Tensor],
    path: Path,
    what: str,
    foreign_name: Callable[[str], str] = str,
) -> None:
    """Check that `weights` are exactly those that `network` has.

    Args:
        network: the network.
        weights: what a file holds, under the keys of `network`.
        path: the file, for the message.
        what: what the network is, for the message.
        foreign_name: turns a key of `network` into the one the file uses, for the message.

    Raises:
        CheckpointError: keys are missing, left over or of another shape; the message names them.
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
