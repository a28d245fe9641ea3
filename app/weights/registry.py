"""The implementations of each stage, and which one a run uses.

A new detector, segmenter, pose or gait model is one file with a decorated class::

    @detectors.register("mine", licence="MIT", about="...", accepts=lambda path: path.suffix == ".mine")
    class MyDetector:
        def __init__(self, checkpoint: CheckpointFile | None, settings: DetectorSettings) -> None: ...

The modules of a stage's package that register an implementation are imported when its registry is first asked. Such a
module imports slow packages, torch above all, only where it uses them: in ``__init__`` and in `accepts`, if a file's
name allows no earlier answer. So a run with the networks that come with Gaitprint never imports torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from app.errors import CheckpointError, SettingsError, nearest
from app.settings import (
    BodySettings,
    DetectorSettings,
    GaitSettings,
    ParserSettings,
    PoseSettings,
    SegmenterSettings,
    Settings,
)
from app.stages import BodyEstimator, Detector, GaitModel, Parser, PoseEstimator, Segmenter
from app.weights.checkpoints import (
    HOME,
    Candidate,
    CheckpointFile,
    Refused,
    checkpoint_roots,
    find_checkpoints,
    load_pickle_safely,
    log_refused,
    state_dict_of,
)
from app.weights.published import published_rank
from app.weights.sessions import open_session
from app.yaml_files import read_yaml

logger = logging.getLogger(__name__)

AUTO = "auto"
"""The name that leaves the choice of an implementation to the files that are found."""
PINS = "default.yaml"
"""A file of the user's own in the folder of checkpoints, which pins the models that runs use."""

StageT = TypeVar("StageT", bound=Detector | Segmenter | PoseEstimator | Parser | BodyEstimator | GaitModel)
SettingsT = TypeVar(
    "SettingsT",
    bound=DetectorSettings | SegmenterSettings | PoseSettings | ParserSettings | BodySettings | GaitSettings,
)
Builder = TypeVar("Builder", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry(Generic[StageT, SettingsT]):
    """One implementation: how to build it, and which checkpoint files it reads (`accepts` is None if it needs none).

    `extra` names the optional dependencies it needs, as in ``pip install -e ".[EXTRA]"``.
    """

    name: str
    build: Callable[[CheckpointFile | None, SettingsT], StageT]
    licence: str
    about: str
    accepts: Callable[[Path], bool] | None = None
    extra: str | None = None


@dataclass(frozen=True)
class Choice(Generic[StageT, SettingsT]):
    """Which implementation a run uses, from which weights (None: it needs none), and why: a clause after "because"."""

    entry: Entry[StageT, SettingsT]
    file: CheckpointFile | None
    reason: str


class Registry(Generic[StageT, SettingsT]):
    """The implementations of one stage.

    `folders` are the sub-folders of ``checkpoints/`` that are searched, best first. `fallback` is the implementation
    without weights that is used when nothing is found there; None where there is none.
    """

    def __init__(self, stage: str, package: str, folders: tuple[str, ...], fallback: str | None) -> None:
        self.stage = stage
        self.folders = folders
        self.fallback = fallback
        self._package = package
        self._entries: dict[str, Entry[StageT, SettingsT]] = {}
        self._imported = False

    def register(
        self,
        name: str,
        *,
        licence: str,
        about: str,
        accepts: Callable[[Path], bool] | None = None,
        extra: str | None = None,
    ) -> Callable[[Builder], Builder]:
        """Register the decorated builder ``(checkpoint, settings) -> stage`` under `name`."""

        def decorate(build: Builder) -> Builder:
            if name in self._entries:
                raise ValueError(f"two {self.stage}s are called '{name}'")
            self._entries[name] = Entry(name, build, licence, about, accepts, extra)
            return build

        return decorate

    def entries(self) -> list[Entry[StageT, SettingsT]]:
        """Every implementation, sorted by name."""
        if not self._imported:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__, f"{self._package}."):
                if _registers(module.name):  # the others hold parts, and networks in torch
                    importlib.import_module(module.name)
            self._imported = True
        return [self._entries[name] for name in sorted(self._entries)]

    def get(self, name: str) -> Entry[StageT, SettingsT]:
        """Return the implementation called `name`; a `SettingsError` suggests the nearest name."""
        known = {entry.name: entry for entry in self.entries()}
        if name not in known:
            hint = nearest(name, known) or f" Known: {', '.join(known)}."
            raise SettingsError(f"There is no {self.stage} called '{name}'.{hint}")
        return known[name]

    def recognise(self, path: Path) -> Entry[StageT, SettingsT]:
        """Return the implementation that reads the file or folder `path`; `CheckpointError` where none does."""
        for entry in self.entries():
            if entry.accepts is not None and entry.accepts(path):
                return entry
        # If the file is damaged or unsafe, opening it raises an error that says so.
        if path.suffix.lower() in {".pt", ".pth", ".tar"}:
            state_dict_of(load_pickle_safely(path, mapped=True), path)
        elif path.suffix.lower() == ".onnx":
            open_session(path, optimise=False)
        elif path.suffix.lower() == ".safetensors":
            raise CheckpointError(
                f"{path} is in the format safetensors, which is not read. Save it with torch.save as .pt."
            )
        readers = "; ".join(f"{entry.name}: {entry.about}" for entry in self.entries() if entry.accepts)
        raise CheckpointError(f"{path} is not a {self.stage} checkpoint that Gaitprint can read. It reads: {readers}.")

    def candidates(
        self,
        roots: tuple[Path, ...],
        wanted: Entry[StageT, SettingsT] | None = None,
        refused: Refused = log_refused,
    ) -> Iterator[tuple[Candidate, Entry[StageT, SettingsT]]]:
        """Yield the checkpoints that are found, in order of precedence, and the implementation that reads each.

        Args:
            roots: the folders of checkpoints, best first.
            wanted: yield only what this implementation reads.
            refused: is called with each file that cannot be used, so that one bad file does not stop a run.
        """

        def rank(path: Path) -> int:
            return published_rank(path, self.stage)[0]

        for candidate in find_checkpoints(roots, self.folders, refused, rank):
            path = candidate.file.path
            try:
                if wanted is None:
                    yield candidate, self.recognise(path)
                elif wanted.accepts is not None and wanted.accepts(path):
                    yield candidate, wanted
            except CheckpointError as error:
                refused(candidate.file, error)

    def choose(
        self,
        name: str,
        checkpoint: Path | None,
        roots: tuple[Path, ...],
        refused: Refused = log_refused,
    ) -> Choice[StageT, SettingsT]:
        """Choose the implementation and the weights, and say why.

        The first of these that applies is used:

        1. `checkpoint`, which the user gave as an option or in the settings;
        2. the implementation called `name`, if it needs no weights;
        3. what ``default.yaml`` in the folder of checkpoints pins (see `pinned`);
        4. the first of `candidates`, of which `name` may allow only some;
        5. the implementation without weights, with a warning.

        Args:
            name: ``auto``, or an implementation's name.
            checkpoint: a file or folder, or the name of one below `roots`; None where the user gave none.
            roots: the folders of checkpoints, best first.
            refused: is called with each file that was found and cannot be used.

        Raises:
            SettingsError: an unknown name, or a checkpoint is needed and none is found.
            CheckpointError: the given or pinned file is missing or of the wrong kind.
        """
        wanted = self.get(name) if name != AUTO else None
        if checkpoint is not None:
            reason = f"you gave it as --{self.stage}-checkpoint or in the settings"
            return self._given(checkpoint, wanted, roots, reason)
        if wanted is not None and wanted.accepts is None:
            return Choice(wanted, None, f"you chose it as --{self.stage} or in the settings")
        pin = self.pinned(roots)
        if pin is not None and (wanted is None or pin.entry == wanted):
            return pin
        found = self.candidates(roots, wanted, refused)
        first = next(found, None)
        if first is not None:
            candidate, entry = first
            self._warn_if_equal(candidate, found, roots[0])
            return Choice(entry, candidate.file, self._why(candidate))
        if wanted is None and self.fallback is not None:
            self._warn_of_fallback(roots)
            return Choice(self.get(self.fallback), None, "no network was found, and it needs none")
        what = f"The {self.stage} '{name}'" if wanted is not None else f"The {self.stage} stage"
        raise SettingsError(
            f"{what} needs a checkpoint and none was found in {self._places(roots)}. "
            f"Put one there or give --{self.stage}-checkpoint FILE."
        )

    def pinned(self, roots: tuple[Path, ...]) -> Choice[StageT, SettingsT] | None:
        """Return what the user's ``default.yaml`` pins for this stage, or None where it pins nothing.

        The file lies in the first of `roots` that has one. Its keys are stages; each value is a file or folder below
        that root, or its name, or the name of an implementation.

        Raises:
            SettingsError: the file cannot be read or has an unknown stage, or the implementation finds no checkpoint.
            CheckpointError: the pinned file is missing or of the wrong kind.
        """
        file = next((root / PINS for root in roots if (root / PINS).is_file()), None)
        if file is None:
            return None
        content = read_yaml(file, SettingsError) or {}
        stages = [
            registry.stage for registry in (detectors, segmenters, pose_models, body_models, parsers, gait_models)
        ]
        if not isinstance(content, dict) or not set(content) <= set(stages):
            raise SettingsError(f"{file} must hold lines such as 'detector: FILE'. Its keys are {', '.join(stages)}.")
        if content.get(self.stage) is None:
            return None
        value = str(content[self.stage])
        known = {entry.name: entry for entry in self.entries()}
        reason = f"{file} pins it"
        if value in known:
            if known[value].accepts is None:
                return Choice(known[value], None, reason)
            first = next(self.candidates(roots, known[value]), None)
            if first is None:
                raise SettingsError(
                    f"{file} pins the {self.stage} '{value}', but {self._places(roots)} hold no file that it reads."
                )
            return Choice(known[value], first[0].file, reason)
        path = file.parent / value
        try:
            return self._given(path if path.exists() else Path(value), None, roots, reason)
        except CheckpointError as error:
            raise CheckpointError(f"{file} pins '{value}' for the {self.stage}: {error}") from error

    def _given(
        self, checkpoint: Path, wanted: Entry[StageT, SettingsT] | None, roots: tuple[Path, ...], reason: str
    ) -> Choice[StageT, SettingsT]:
        """Use the file that the user names, or the only one in the folder that the user names."""
        file = CheckpointFile.given(checkpoint, roots)
        if file.path.is_dir() and not any(entry.accepts and entry.accepts(file.path) for entry in self.entries()):
            inside = list(find_checkpoints((file.path.parent,), (file.path.name,)))
            file = CheckpointFile(inside[0].file.path, "given") if len(inside) == 1 else file
        entry = wanted or self.recognise(file.path)
        if entry.accepts is None or not entry.accepts(file.path):
            other = self.recognise(file.path).name  # or the reason why nothing reads it
            raise CheckpointError(
                f"{file.path} is not a checkpoint for the {self.stage} '{entry.name}', but one for '{other}'. Leave "
                f"--{self.stage} {entry.name} out, or name '{other}' there."
            )
        return Choice(entry, file, reason)

    def _why(self, candidate: Candidate) -> str:
        """Say why the first of the candidates is used."""
        if candidate.file.origin == "embedded":
            return "it comes with Gaitprint, and you have no usable file of your own"
        _, published = published_rank(candidate.file.path, self.stage)
        if published is None:
            return f"it is your own file in {candidate.folder}"
        return f"it is the first in the list of published checkpoints that is in {candidate.folder} ({published.name})"

    def _warn_if_equal(
        self, first: Candidate, others: Iterator[tuple[Candidate, Entry[StageT, SettingsT]]], root: Path
    ) -> None:
        """Warn where only the name decided between the first candidate and others."""
        equal = [first.file.path]
        for other, _ in others:
            if (other.folder, other.rank) != (first.folder, first.rank):
                break
            equal.append(other.file.path)
        if len(equal) > 1:
            names = [path.relative_to(first.folder).as_posix() for path in equal]
            logger.warning(
                f"{first.folder} has several files that could be the {self.stage}: {', '.join(names)}. '{names[0]}' is "
                f"used, because it comes first by name. To choose, write '{self.stage}: FILE' into {root / PINS}, or "
                f"give --{self.stage}-checkpoint FILE."
            )

    def _warn_of_fallback(self, roots: tuple[Path, ...]) -> None:
        """Warn that a run will be much less accurate than it could be."""
        embedded = (roots or (HOME,))[-1] / self.folders[-1]
        logger.warning(
            f"No {self.stage} network was found, so '{self.fallback}' is used. It needs no network and is much less "
            f"accurate. The network that comes with Gaitprint should be in {embedded}: install Gaitprint again, or in "
            f"a clone run `git checkout -- checkpoints/embedded`. To use '{self.fallback}' on purpose and without this "
            f"warning, give --{self.stage} {self.fallback}."
        )

    def _places(self, roots: tuple[Path, ...]) -> str:
        return ", ".join(str(root / folder) for root in roots for folder in self.folders)

    def build(self, settings: SettingsT, roots: tuple[Path, ...]) -> StageT:
        """Build the implementation that `choose` picks for `settings`; raises what `choose` raises."""
        choice = self.choose(settings.name, settings.checkpoint, roots)
        stage = choice.entry.build(choice.file, settings)
        stage.card = replace(stage.card, reason=choice.reason)
        return stage

    def load(self, checkpoint: Path | str | None, name: str, settings: Mapping[str, Any]) -> StageT:
        """Build an implementation for use by itself, outside of a run.

        Args:
            checkpoint: a file; None takes the best one found in ``checkpoints/`` of the working folder, or the one that
                comes with Gaitprint.
            name: an implementation's name, or ``auto``.
            settings: values for the stage's section in `app.settings`.

        Raises:
            SettingsError: an unknown name or setting, or a value that does not fit.
            CheckpointError: the file is missing, unsafe or of the wrong kind.
            MissingExtraError: an optional package is needed.
        """
        values = {"checkpoint": checkpoint, "name": name, **settings}
        every = Settings.load(named={f"{self.stage}.{key}": value for key, value in values.items()})
        return self.build(getattr(every, self.stage), checkpoint_roots(every.checkpoints))


def _registers(name: str) -> bool:
    """Whether the module called `name` registers an implementation, read from its text."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None and ".register(" in Path(spec.origin).read_text("utf-8")


detectors: Registry[Detector, DetectorSettings] = Registry(
    "detector", "app.detect", ("detector", "bytetrack_model", "embedded/detector"), "motion"
)
segmenters: Registry[Segmenter, SegmenterSettings] = Registry(
    "segmenter", "app.segment", ("segmenter", "seg_model", "embedded/segmenter"), "motion"
)
pose_models: Registry[PoseEstimator, PoseSettings] = Registry("pose", "app.pose", ("pose", "embedded/pose"), None)
body_models: Registry[BodyEstimator, BodySettings] = Registry("body", "app.body", ("body", "embedded/body"), None)
parsers: Registry[Parser, ParserSettings] = Registry("parser", "app.parse", ("parser", "embedded/pose"), None)
gait_models: Registry[GaitModel, GaitSettings] = Registry(
    "gait", "app.gait", ("gait", "gait_model", "embedded/gait"), "gei"
)
