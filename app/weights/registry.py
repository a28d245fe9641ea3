"""How a newcomer adds a detector, segmenter, pose or gait model in one file: with a decorator.

    @detectors.register("mine", licence="MIT", about="...", accepts=lambda path: path.suffix == ".mine")
    class MyDetector:
        def __init__(self, checkpoint: CheckpointFile | None, settings: DetectorSettings) -> None: ...

The packages that hold the implementations are imported when a registry is first asked, not before, so that the
command line's help stays quick.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from app.errors import CheckpointError, SettingsError, nearest
from app.settings import DetectorSettings, GaitSettings, PoseSettings, SegmenterSettings, Settings
from app.stages import Detector, GaitModel, PoseEstimator, Segmenter
from app.weights.checkpoints import CheckpointFile, checkpoint_roots, find_checkpoints, load_pickle_safely

logger = logging.getLogger(__name__)

StageT = TypeVar("StageT")
SettingsT = TypeVar("SettingsT", bound=DetectorSettings | SegmenterSettings | PoseSettings | GaitSettings)
Builder = TypeVar("Builder", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry(Generic[StageT, SettingsT]):
    """One implementation: how to build it and which checkpoint files it reads (`accepts` is None: it needs none)."""

    name: str
    build: Callable[[CheckpointFile | None, SettingsT], StageT]
    licence: str
    about: str
    accepts: Callable[[Path], bool] | None = None
    extra: str | None = None


class Registry(Generic[StageT, SettingsT]):
    """The implementations of one stage.

    `folders` are the places under ``checkpoints/`` that are searched, best first; `fallback` is the weight-free
    implementation that is used when nothing is found there, None where there is none.
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
                importlib.import_module(module.name)
            self._imported = True
        return [self._entries[name] for name in sorted(self._entries)]

    def get(self, name: str) -> Entry[StageT, SettingsT]:
        """Return the implementation called `name`; `SettingsError` names the nearest."""
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
        if path.suffix.lower() in {".pt", ".pth", ".tar"}:
            load_pickle_safely(path)  # where the file is damaged or unsafe, that is the answer
        readers = "; ".join(f"{entry.name}: {entry.about}" for entry in self.entries() if entry.accepts)
        raise CheckpointError(f"{path} is not a {self.stage} checkpoint that is understood here. Known: {readers}.")

    def choose(
        self, name: str, checkpoint: Path | None, roots: tuple[Path, ...]
    ) -> tuple[Entry[StageT, SettingsT], CheckpointFile | None]:
        """Pick the implementation and the weights: what the user gave, else the best found, else weight-free.

        `roots` are the checkpoint folders in order of precedence. `name` is ``auto`` or an implementation's name.

        Raises:
            SettingsError: unknown name, or a checkpoint is needed and none is found.
            CheckpointError: the given file is missing or of the wrong kind.
        """
        if checkpoint is not None:
            file = CheckpointFile.given(checkpoint, roots)
            entry = self.recognise(file.path) if name == "auto" else self.get(name)
            if entry.accepts is None or not entry.accepts(file.path):
                raise CheckpointError(f"{file.path} is not a checkpoint for the {self.stage} '{entry.name}'.")
            return entry, file
        if name != "auto" and self.get(name).accepts is None:
            return self.get(name), None
        wanted = [self.get(name)] if name != "auto" else self.entries()
        for file in find_checkpoints(roots, self.folders):
            for entry in wanted:
                try:
                    if entry.accepts is not None and entry.accepts(file.path):
                        return entry, file
                except CheckpointError as error:  # one bad file in the folder is no reason to stop
                    logger.warning("Not used: %s", error)
                    break
        if name == "auto" and self.fallback is not None:
            return self.get(self.fallback), None
        what = f"The {self.stage} '{name}'" if name != "auto" else f"The {self.stage} stage"
        places = ", ".join(str(root / folder) for root in roots for folder in self.folders)
        raise SettingsError(
            f"{what} needs a checkpoint and none was found in {places}. "
            f"Put one there or give --{self.stage}-checkpoint FILE."
        )

    def build(self, settings: SettingsT, roots: tuple[Path, ...]) -> StageT:
        """Build the implementation that `choose` picks for `settings`; raises what `choose` raises."""
        entry, file = self.choose(settings.name, settings.checkpoint, roots)
        return entry.build(file, settings)

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


detectors: Registry[Detector, DetectorSettings] = Registry(
    "detector", "app.detect", ("detector", "bytetrack_model", "embedded/detector"), "motion"
)
segmenters: Registry[Segmenter, SegmenterSettings] = Registry(
    "segmenter", "app.segment", ("segmenter", "seg_model", "embedded/segmenter"), "motion"
)
pose_models: Registry[PoseEstimator, PoseSettings] = Registry("pose", "app.pose", ("pose", "embedded/pose"), None)
gait_models: Registry[GaitModel, GaitSettings] = Registry(
    "gait", "app.gait", ("gait", "gait_model", "embedded/gait"), "gei"
)
