"""The settings of a gait training, and the short form of them that describes the embedded network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from app.errors import SettingsError
from app.gait.models.gaitssb import SelfSupervised
from app.gait.models.gaitstrips import GaitStrips
from app.gallery.distances import Metric
from app.lab.training.gait.networks import NetworkPlan
from app.lab.training.gait.sampling import Order, Sampling
from app.lab.training.gait.transforms import Deform, PoorSegmentation, Transform
from app.lab.training.gait.walks import Form
from app.lab.training.settings import Count, Few, Natural, Positive, TrainSettings, Width
from app.settings import Amount, Share

LOSSES = ("TripletLoss", "CrossEntropyLoss", "SupConLoss_Re", "SupConLoss_Lp", "SupConLoss_Mean", "OwnView")


@dataclass(frozen=True)
class LossTerm:
    """A loss and its `weight`. `name` is what it is called in the log.

    `margin` belongs to the triplet loss, `scale` and `smoothing` (of the labels) to the cross entropy, and
    `temperature` to the contrastive losses. Of these, ``SupConLoss_Re`` compares each part of the embeddings by cosine,
    ``SupConLoss_Lp`` by Euclidean distance, and ``SupConLoss_Mean``, which is ours, compares walks by the mean of the
    cosines of all parts. ``OwnView`` is the loss of networks that learn without names, from two views of each walk.
    """

    kind: str
    name: str
    weight: Amount
    margin: Amount = 0.2
    scale: Positive = 16.0
    smoothing: Share = 0.0
    temperature: Positive = 0.01


@dataclass(frozen=True)
class Recipe:
    """The name of an optimiser or schedule of PyTorch, and its arguments."""

    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _DataSettings(TrainSettings):
    """What a gait network learns from."""

    data: Path = Path("data/walkers")
    """Data set in OpenGait's layout."""
    partition: Path | None = None
    """OpenGait's JSON, whose ``TRAIN_SET`` is learnt from. None takes everybody."""
    held_out: Natural = 0
    """How many of these people, the first ones, are kept for evaluation."""
    filmed: Path | None = None
    """Walks of the same people as a segmenter has cut them out: see `app.lab.synthesis.filmed`."""
    filmed_share: Share = 0.5
    """How many of the walks in a batch are filmed ones, for people who have any."""
    start_share: Share = 0.0
    """Share of the weights of `start` in the exported network, the rest being the trained ones (Wortsman et al. 2022,
    arXiv 2109.01903). It may be changed after the training, with ``--export-only``."""


@dataclass(frozen=True, kw_only=True)
class GaitTrainSettings(_DataSettings):
    """Training of a gait network: what OpenGait's YAML and our settings file both become."""

    name: str = "network"
    """The network's name, which begins the names of the checkpoints."""
    data_name: str = ""
    """The name that OpenGait's YAML gives the data set."""
    licence: str = "unknown: depends on the data it was trained on"
    """What may be done with the weights. Checkpoints and exported files carry it."""
    note: str = ""
    """What the exported file says about the training."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Further metadata of the exported file: see `app.gait.onnx`."""
    plan: NetworkPlan
    sampling: Sampling
    transforms: tuple[Transform, ...] = ()
    twice: bool = False
    """Whether every walk is in the batch twice, changed in two ways."""
    losses: tuple[LossTerm, ...]
    optimizer: Recipe | None = None
    """None: AdamW and the schedule of `app.lab.training.engine.Task`."""
    schedule: Recipe | None = None
    groups: tuple[Mapping[str, Any], ...] = ()
    """Options of the optimiser for some of the weights: ``{names: [stem, stages.0], lr: 0}``. Names are those of
    modules here, or patterns such as ``*norm*``; the first group that has a weight takes it. A rate of 0 leaves weights
    as they are."""
    keep_every: Count = 10_000
    """Steps between checkpoints in OpenGait's format."""
    fixed_norms: bool = False
    """Whether batch normalisations keep their statistics."""
    start: Path | None = None
    """The file from which the weights are taken at the beginning: a checkpoint of OpenGait, or an ONNX file that a
    training has exported, of which those that fit are taken."""
    strict: bool = True
    """Whether all of these weights must fit. Otherwise those of another shape, such as a classifier, are left out."""
    protocol: str | None = None
    """The protocol by which the test people are evaluated."""
    test: bool = False
    """Whether the test people are evaluated every `check_every` steps."""
    metric: Metric = "euclidean"
    most_frames: Annotated[int, Field(ge=1, le=100_000)] = 720
    """Longest walk that is evaluated."""
    text: str = ""
    """OpenGait's YAML, to be written beside the checkpoints."""

    def __post_init__(self) -> None:
        super().__post_init__()
        blind = any(term.kind == "OwnView" for term in self.losses)
        if blind != self.learns_without_names:
            raise SettingsError(
                f"This {self.plan.network.family} network learns {'by names' if blind else 'without names'}: loss_cfg "
                f"must {'not ' if blind else ''}be OwnView."
            )
        if blind and (not self.twice or len(self.losses) > 1):
            raise SettingsError(
                "OwnView compares two views of each walk: it needs the transform TwoView, and is the only loss."
            )
        pairs = [term.kind for term in self.losses if term.kind not in ("CrossEntropyLoss", "OwnView")]
        if pairs and self.sampling.walks * (1 + self.twice) < 2:
            raise SettingsError(
                f"{pairs[0]} compares walks of one person, so a batch needs at least two walks of each. Raise "
                "walks_each, or the second number of trainer_cfg.sampler.batch_size."
            )

    @property
    def form(self) -> Form:
        """The form in which the network takes walks."""
        return self.plan.form

    @property
    def learns_without_names(self) -> bool:
        """Whether the network is one that learns from two views of each walk."""
        network, arguments = self.plan.network, self.plan.arguments
        return issubclass(network, SelfSupervised) and arguments.get("channels") is None

    @property
    def checkpoint(self) -> Path | None:
        """The last checkpoint in OpenGait's format; None for our own network, for which OpenGait has no format."""
        own = issubclass(self.plan.network, GaitStrips)
        return None if own else self.checkpoint_at(self.steps)

    def checkpoint_at(self, step: int) -> Path:
        """Return the checkpoint after so many steps."""
        return self.out / "checkpoints" / f"{self.name}-{step:05d}.pt"


@dataclass(frozen=True, kw_only=True)
class EmbeddedGaitSettings(_DataSettings):
    """The settings file of the embedded gait network. A batch has `batch` people with `walks_each` walks each."""

    held_out: Natural = 60
    """How many people, the first ones, are kept for evaluation."""
    start: Path | None = None
    """An ONNX file that such a training has exported. The weights that fit are taken at the beginning."""
    walks_each: Few = 4
    frames: tuple[Few, Few] = (8, 24)
    """Fewest and most silhouettes of a walk. The number is drawn for each batch."""
    together: Count = 1
    """People who follow each other in the data set and come into a batch together: see `Sampling`."""
    order: Order = "either"
    """Whether the silhouettes of a walk are consecutive: see `Sampling`."""
    temporal: bool = False
    """Whether the network compares each frame with its neighbours. Then `order` should be "ordered"."""
    depth: Annotated[int, Field(ge=0, le=256)] = 0
    """Residual blocks over space and time before time is pooled."""
    clean: Share = 0.4
    """Share of walks whose silhouettes are not spoilt."""
    spoiling: Amount = 0.5
    """How strongly the others are spoilt: see `app.lab.training.silhouettes.worsened`."""
    ramp: Share = 0.3
    """Share of the steps over which the spoiling grows to this strength."""
    contrastive: Amount = 1.0
    """Weight of the supervised contrastive losses, of each part and of the whole walk."""
    triplet: Amount = 0.0
    """Weight of the batch-all triplet loss."""
    entropy: Amount = 0.0
    """Weight of the cross entropy of the people of the training set."""
    margin: Amount = 0.2
    """Margin of the triplet loss."""
    frame_widths: tuple[Width, ...] = (24, 64)
    """Channels of the layers that see single frames."""
    set_widths: tuple[Width, ...] = (128, 192)
    """Channels of the layers that see the walk."""
    parts: Few = 16
    """Horizontal strips of a silhouette."""
    channels: Width = 128
    """Numbers in the embedding of each strip."""
    keep: Share = 1.0
    """Share of a walk's silhouettes that the exported network is given: see `app.gait.onnx.ordinary`."""
    piece: Count | None = 16
    """Silhouettes that the exported network is given at once: see `app.gait.onnx`. None: the whole walk."""
    per_second: float | None = None
    """About how many silhouettes a second the exported network is given: see `app.gait.onnx`. None: all."""

    def trainer_settings(self) -> GaitTrainSettings:
        """Return the settings of the trainer."""
        shared = {each.name: getattr(self, each.name) for each in fields(_DataSettings)}
        losses = (
            # A single strip says less about who walks than all strips together, hence the higher temperature.
            LossTerm("SupConLoss_Re", "parts", self.contrastive, temperature=1 / 10),
            LossTerm("SupConLoss_Mean", "walks", self.contrastive, temperature=1 / 30),
            LossTerm("TripletLoss", "triplet", self.triplet, margin=self.margin),
            LossTerm("CrossEntropyLoss", "entropy", self.entropy, smoothing=0.1),
        )
        layers = ("frame_widths", "set_widths", "parts", "channels", "temporal", "depth")
        network = {key: getattr(self, key) for key in layers}
        return GaitTrainSettings(
            **shared,
            name="gait",
            start=self.start,
            licence="Apache-2.0",
            note="trained on virtual walkers alone",
            properties={"flip": "true", "keep": str(self.keep)}
            | ({} if self.piece is None else {"piece": str(self.piece)})
            | ({} if self.per_second is None else {"rate": str(self.per_second)}),
            plan=NetworkPlan(GaitStrips, network),
            sampling=Sampling(self.batch, self.walks_each, *self.frames, order=self.order, together=self.together),
            transforms=(Deform(), PoorSegmentation(1 - self.clean, self.spoiling, self.ramp)),
            losses=tuple(term for term in losses if term.weight),
        )
