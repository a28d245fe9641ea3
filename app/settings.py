"""Every setting. This is the only place that defines the defaults.

A later source changes what an earlier one says: the defaults, then ``--config FILE.yaml``, then
``--set section.key=value``, then options with a name of their own, such as ``--output``.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from app.errors import SettingsError, nearest
from app.types import Reading
from app.yaml_files import parse_yaml, read_yaml

Share: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Threads: TypeAlias = Annotated[int, Field(ge=0, le=1024)]
_SHOWN = 120
"""How much of a value is shown in a message, in characters."""
Decoder: TypeAlias = Literal["cpu", "auto", "cuda", "vaapi", "qsv", "videotoolbox", "d3d11va", "vulkan"]
Device: TypeAlias = Literal["auto", "cpu", "cuda", "rocm", "mps", "coreml", "directml", "openvino"]
Precision: TypeAlias = Literal["auto", "float32", "bfloat16", "float16", "int8"]
Side: TypeAlias = Annotated[int, Field(ge=32, le=8192)]


def cores() -> int:
    """Return the number of processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows do not have it
        return os.cpu_count() or 1


def memory() -> int | None:
    """Return the memory of this machine in bytes; None on a system that does not say it so (Windows)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


@dataclass(frozen=True)
class VideoSettings(Reading):
    """Reading videos. What is set here holds for every video of a run."""

    fps: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] | None = None
    """The true number of frames in a second. None: what the video says. The times in the video are then ignored."""
    start: Amount = 0.0
    """From which second on a video is read. Times in the results count from there."""
    end: Amount | None = None
    """Up to which second a video is read. None: to its end."""
    device: Decoder = "cpu"
    """What decodes videos: the processor, or a device if FFmpeg was built for it. auto takes the first device that can
    decode the video. Where a device cannot, a line says so and the processor decodes it. Folders of pictures and live
    sources are always decoded by the processor."""
    looks: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 12.5
    """In how many frames of each second the program looks for people and cuts them out. If a video has fewer, it looks
    at every frame. In the frames between, boxes are interpolated."""


@dataclass(frozen=True)
class ModelSettings:
    """What every stage with a model has."""

    name: str = "auto"
    """Which implementation is used. auto chooses by the order in `checkpoints/README.md`."""
    checkpoint: Path | None = None
    """The file or folder with the weights. None: the best one that is found."""


@dataclass(frozen=True)
class NetworkSettings(ModelSettings):
    """What a stage has whose network runs on a device."""

    device: Device = "auto"
    """Where the network runs. auto: on the fastest device that is there."""
    precision: Precision = "auto"
    """The kind of numbers the network computes with. auto: 8 bits if the network has an 8-bit version that is faster on
    this processor; half precision on other devices that have it; otherwise float32."""


@dataclass(frozen=True)
class DetectorSettings(NetworkSettings):
    """Finding people. `name` is ``auto`` or an implementation that ``python -m app models`` lists."""

    score: Share = 0.1
    """Detections with a lower score are dropped. ByteTrack uses weak detections too, so this should equal the tracker's
    `low_score`."""
    nms_iou: Share = 0.65
    """Of two boxes with a larger IoU (intersection over union), the weaker one is dropped. With ByteTrack's 0.7, second
    boxes on one person are left where people cross."""
    input_size: tuple[Side, Side] | None = None
    """Height and width in px that each frame is scaled to fit into. None: the checkpoint's own test size. A YOLOX that
    was exported without a fixed size, such as the network that comes with the program, then chooses a longer side of
    416 to 960 px: the smaller the people in the video are, the larger."""
    normalise: Literal["auto", "raw", "imagenet"] = "auto"
    """What a YOLOX network takes: raw BGR 0..255, or RGB normalised as for ImageNet. auto recognises ByteTrack's
    models, which take the latter."""
    person_class: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Which of the detector's classes is the person, counted from 0. None: the class called "person", otherwise the
    first, as in COCO and in networks of one class. If that is a guess, a warning says so."""
    precision: Precision = "auto"
    """The kind of numbers the network computes with. auto: 8 bits if the network has an 8-bit version that is faster on
    this processor; half precision on other devices that have it; otherwise float32. bfloat16 halves the time of torch
    networks on CPUs that support it; on these, auto chooses it for YOLOX-S and larger. On real clips bfloat16 moved
    YOLOX-nano's boxes by 0.2 to 0.9 px (median; 95 % by less than 3.1) and its scores by 0.003; no box was lost."""
    batch: Annotated[int, Field(ge=1, le=256)] = 8
    """How many frames the detector gets at once; fewer where they are large."""
    threads: Threads = 0
    """Threads the detector may use; 0 is one for each core. ONNX Runtime works on so many frames side by side."""


@dataclass(frozen=True)
class TrackSettings:
    """ByteTrack (Zhang et al. 2022). Times are in seconds, so any frame rate works."""

    high_score: Share = 0.5
    """Score from which a detection is strong. Strong detections are matched with the tracks first."""
    new_score: Share | None = None
    """Score from which a detection that matches no track starts a new one. None: what the detector's file says, else
    0.6, as published."""
    low_score: Share = 0.1
    """Score from which a detection is used at all. Weak detections only continue tracks."""
    match_iou: Share = 0.15
    """Smallest IoU with a strong detection, multiplied by its score (published: 0.2, as the cost 0.8)."""
    low_match_iou: Share = 0.5
    """Smallest IoU with a weak detection."""
    tentative_match_iou: Share = 0.3
    """Smallest IoU, multiplied by the score, that confirms a track which was seen only once."""
    lost_seconds: Amount = 1.0
    """For how long a person may be hidden without losing the track's number (published: 30 frames at 30 frames/s)."""
    hindsight: bool = True
    """Whether tracks are corrected afterwards, when it is known how everybody walked on: if two people had covered each
    other, and if somebody was hidden for up to 2 s. Tracks of live sources are never corrected."""


@dataclass(frozen=True)
class SegmenterSettings(NetworkSettings):
    """Cutting people out of crops."""

    threshold: Share | None = None
    """Probability from which a pixel counts as body; None is the model's own."""
    mirror: bool = False
    """Whether the network also sees the mirror image of each crop, if its file allows that. It takes twice the time and
    gives slightly better outlines."""
    threads: Threads = 0
    """Threads the segmenter may use; 0 is one for each core."""


@dataclass(frozen=True)
class PoseSettings(NetworkSettings):
    """Finding keypoints. A run loads a pose network only if something needs keypoints."""

    when: Literal["auto", "always", "never"] = "auto"
    """When keypoints are found. auto: if the gait model needs them or they are painted. always: also to write them with
    the embeddings."""
    paint: bool = False
    """Whether the painted videos show skeletons."""
    threads: Threads = 0
    """Threads the pose network may use; 0 is one for each core."""


@dataclass(frozen=True)
class ParserSettings(NetworkSettings):
    """Finding body parts. A run loads a parser only if something needs maps of body parts."""

    when: Literal["auto", "always"] = "auto"
    """When body parts are found. auto: if the gait model needs them. always: also to write them with the embeddings."""
    precision: Precision = "auto"
    """The kind of numbers the network computes with. auto: float32 on CPUs, half precision on other devices that have
    it."""
    threads: Threads = 0
    """Threads the parser may use; 0 is one for each core."""


@dataclass(frozen=True)
class BodySettings(ModelSettings):
    """Fitting a body in space to a walk."""

    name: str = "auto"
    """Which implementation is used. lift: a network turns the keypoints into a body. fit: this body is then optimised,
    so that it agrees better with the keypoints and its feet do not slip. auto: fit."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 60
    """Steps of the optimisation."""
    show: bool = False
    """Whether the report shows everybody's body in space, the angles of their joints and figures of how they walk. It
    needs keypoints."""


@dataclass(frozen=True)
class GaitSettings(NetworkSettings):
    """Turning a walk into an embedding."""

    input: Literal["silhouettes", "calibrated"] = "silhouettes"
    """What the network sees. silhouettes: those cut out of the video. calibrated: those of a body that is fitted to the
    walk (see `body`), seen from the side, without clothes and without the segmenter's errors. It needs keypoints."""

    config: Path | None = None
    """OpenGait's YAML of the network's training. It says what the checkpoint does not contain. None: the YAML of the
    same name beside the checkpoint, if there is one."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """The kind of numbers torch networks compute with. bfloat16 halves the time on CPUs that support it; it moved
    embeddings of GaitBase (random weights) by 0.4 % of their length."""
    max_frames: Annotated[int, Field(ge=8)] = 240
    """The most silhouettes of a walk that the network gets. Of a longer walk it gets an even selection, which limits
    time and memory."""


@dataclass(frozen=True)
class QualitySettings:
    """What a walk must have to be usable."""

    min_seconds: Amount = 1.0
    """How long a usable walk is at least, in s: about one gait cycle (Winter 1991: 1.0 to 1.2 s at natural cadence)."""
    min_frames: Annotated[int, Field(ge=1)] = 8
    """How many silhouettes a usable walk has at least. In videos with few frames a second, this asks for walks that are
    longer than `min_seconds`."""
    min_height: Amount = 32.0
    """How high a person must be in the picture, in px (the median of the boxes)."""
    border_margin: Amount = 2.0
    """A box closer than this to the edge of the frame, in px, counts as cut off."""
    max_occlusion: Share = 0.35
    """A frame is not used if a larger share of the person's box is hidden by somebody nearer to the camera."""
    min_motion: Amount = 0.25
    """Leg motion (see `app.walks.quality`) below which a person does not count as walking."""


@dataclass(frozen=True)
class MatchSettings:
    """Comparing walks."""

    metric: Literal["euclidean", "cosine"] = "euclidean"
    """The distance between two parts of embeddings. The distance between embeddings is its mean over the parts."""
    threshold: Amount | None = None
    """The largest distance at which a walk gets a person's name. None: the program derives it (see `match.far` and
    `app.recognise.calibration`)."""
    far: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.05
    """False accept rate: how large a share of the comparisons with strangers may end with a name. It sets the threshold
    if the network's distances were calibrated."""
    neighbours: Annotated[int, Field(ge=1)] = 3
    """The distance to a person is the mean of the distances to so many of their nearest walks in the gallery."""
    closed: bool = False
    """Whether everybody in the probe is in the gallery. Then every walk gets a name, and there is no threshold."""
    adapt: bool = True
    """Whether the program subtracts what the embeddings of all people of a video have in common, because that comes
    from the camera and the place. It works only if the network's distances were calibrated on videos of several
    people."""
    stature: bool = True
    """Whether distances depend on how tall people are compared with the others of their video, which silhouettes do not
    show. It works only if the network's distances were calibrated."""
    join_fragments: bool = True
    """Whether a track that broke off and the one that began again are joined as one person."""


Blur: TypeAlias = Literal["none", "faces", "unknown", "everyone"]


@dataclass(frozen=True)
class OutputSettings:
    """What is written, and where."""

    folder: Path = Path("output")
    """The folder into which everything is written, also the cache."""
    silhouettes: bool = True
    """Whether to write the silhouettes as PNG files."""
    features: bool = True
    """Whether to write the embeddings."""
    summary: bool = True
    """Whether to write `summary.gif`, which shows gallery and probe side by side for a short while."""
    report: bool = True
    """Whether to write `report.html`, a page with all results of the run."""
    embed_videos: bool = False
    """Whether `report.html` contains the painted videos, so that you can pass on this one file. Otherwise it plays the
    video files beside it."""
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"] = "superfast"
    """How much time the encoder of painted videos (x264) takes. The slower it is, the smaller the files are."""
    crf: Annotated[int, Field(ge=0, le=51)] = 22
    """The quality of painted videos, as x264's constant rate factor. A lower number means better and larger videos."""
    blur: Blur = "none"
    """Who is blurred in videos and pages. faces: everybody's head. unknown: the whole body of everybody who is not
    identified. everyone: the whole body of everybody. A person whom the detector misses is not blurred."""


Speed: TypeAlias = Literal["accurate", "balanced", "fast"]

PROFILES: Mapping[Speed, Mapping[str, Any]] = {
    "accurate": {
        "video.looks": 30.0,
        "detector.precision": "float32",
        "segmenter.precision": "float32",
        "segmenter.mirror": True,
        "output.preset": "superfast",
    },
    "balanced": {
        "video.looks": 12.5,
        "detector.precision": "auto",
        "segmenter.precision": "auto",
        "segmenter.mirror": False,
        "output.preset": "superfast",
    },
    "fast": {
        "video.looks": 10.0,
        "detector.precision": "auto",
        "segmenter.precision": "auto",
        "segmenter.mirror": False,
        "output.preset": "ultrafast",
    },
}
"""What each speed sets. The defaults are those of ``balanced``, and every other source of settings comes later."""


@dataclass(frozen=True)
class Settings:
    """All settings, by section."""

    detector: DetectorSettings = field(default_factory=DetectorSettings)
    track: TrackSettings = field(default_factory=TrackSettings)
    segmenter: SegmenterSettings = field(default_factory=SegmenterSettings)
    pose: PoseSettings = field(default_factory=PoseSettings)
    parser: ParserSettings = field(default_factory=ParserSettings)
    body: BodySettings = field(default_factory=BodySettings)
    gait: GaitSettings = field(default_factory=GaitSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)
    match: MatchSettings = field(default_factory=MatchSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    video: VideoSettings = field(default_factory=VideoSettings)
    checkpoints: Path = Path("checkpoints")
    """The folder with the weights of the models."""
    speed: Speed = "balanced"
    """How fast or accurate the program is: a set of other settings. accurate: it looks for people in up to 30 frames a
    second, cuts out each silhouette twice, and uses no network in 8 bits. balanced: it looks at 12.5 frames a second.
    fast: 10, and larger painted videos. You can still change each of these settings by itself."""

    @classmethod
    def load(
        cls,
        config: Path | None = None,
        assignments: Sequence[str] = (),
        named: Mapping[str, Any] | None = None,
        options: Mapping[str, str] = MappingProxyType({}),
    ) -> Settings:
        """Return the defaults, changed by a YAML file, then by ``section.key=value`` strings, then by `named` values.

        The profile that `speed` names comes before all of them (`PROFILES`). `options` says, for messages, with which
        option of the command line a named value was given.

        Raises:
            SettingsError: the file cannot be read, a setting is unknown (the nearest is suggested), or a value does not
                fit.
        """
        given: dict[str, tuple[Any, str]] = {}
        if config is not None:
            content = read_yaml(config, SettingsError)
            if content is not None and not isinstance(content, dict):
                raise SettingsError(f"The settings file {config} must hold sections, such as 'track:'.")
            given |= _flat(content or {}, str(config))
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise SettingsError(f"--set {assignment}: write it as section.key=value, e.g. track.high_score=0.4")
            shown = assignment if len(assignment) < _SHOWN else f"{assignment[:_SHOWN]} ..."
            value = parse_yaml(text, f"The value of --set {shown}", SettingsError)
            given |= _flat({key.strip(): value}, f"--set {shown}")
        for key, value in (named or {}).items():
            given |= _flat({key: value}, options.get(key, key))
        return _validated(_profile(given) | given)

    def changed(self, named: Mapping[str, Any]) -> Settings:
        """Return these settings with some of them changed, each named like ``match.far``.

        Where `speed` is among them, so is its whole profile.

        Raises:
            SettingsError: a setting is unknown (the nearest is suggested), or a value does not fit.
        """
        changes: dict[str, tuple[Any, str]] = {}
        for key, value in named.items():
            changes |= _flat({key: value}, key)
        return _validated(_flat(asdict(self), "") | _profile(changes) | changes)

    def anchored(self) -> Settings:
        """Return these settings with absolute paths, for a process that has another working folder."""
        anchored: Settings = _anchored(self)
        return anchored


def _anchored(section: Any) -> Any:
    changes: dict[str, Any] = {}
    for one in fields(section):
        value = getattr(section, one.name)
        if is_dataclass(value):
            changes[one.name] = _anchored(value)
        elif isinstance(value, Path) and not str(value).startswith("~"):  # which stands for the user's own folder
            changes[one.name] = value.absolute()
    return replace(section, **changes)


def _profile(given: Mapping[str, tuple[Any, str]]) -> dict[str, tuple[Any, str]]:
    """Return what the speed that is `given` sets; nothing where none is given, or one that does not exist."""
    speed, where = given.get("speed", (None, ""))
    return {key: (value, where) for name in PROFILES if name == speed for key, value in PROFILES[name].items()}


def _validated(given: Mapping[str, tuple[Any, str]]) -> Settings:
    """Make settings from `given`: by name, the value and where it was given."""
    values: dict[str, Any] = {}
    for name, (value, _) in given.items():
        section, _, key = name.rpartition(".")
        (values.setdefault(section, {}) if section else values)[key] = value
    try:
        return _adapter().validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][:2])
        allowed = _allowed(_known()[name]) or first["msg"]
        where = given[name][1]
        setting = f"The setting '{name}'" if where == name else f"{where}: the setting '{name}'"
        raise SettingsError(f"{setting} cannot be {reprlib.repr(first['input'])}: {allowed}.") from error


@cache
def _adapter() -> TypeAdapter[Settings]:
    """What validates settings; making it takes much longer than using it."""
    return TypeAdapter(Settings)


@cache
def _known() -> dict[str, Any]:
    """The type of every setting by its name, ``section.key``."""
    known: dict[str, Any] = {}
    for section, hint in get_type_hints(Settings).items():
        inner = get_type_hints(hint, include_extras=True) if is_dataclass(hint) else {}
        known |= {f"{section}.{key}": kind for key, kind in inner.items()} or {section: hint}
    return known


def _flat(changes: Mapping[str, Any], where: str) -> dict[str, tuple[Any, str]]:
    """Return each changed setting by its name, ``section.key``, with its value and `where` it was given.

    Raises:
        SettingsError: there is no such setting.
    """
    known = _known()
    sections = {name.partition(".")[0] for name in known if "." in name}
    flat: dict[str, Any] = {}
    for key, value in changes.items():
        if key in sections and not isinstance(value, Mapping):
            raise SettingsError(f"{where}: '{key}' is a section; give its keys, not {value!r}.")
        if isinstance(value, Mapping) and (value or key in sections) and key not in known:
            flat |= {f"{key}.{inner}": inner_value for inner, inner_value in value.items()}
        else:
            flat[str(key)] = value
    for name in flat:
        if name not in known:
            hint = nearest(name, known) or f" The sections are {', '.join(sorted(sections))}."
            raise SettingsError(f"{where}: there is no setting '{name}'.{hint}")
        if "\0" in str(flat[name]):
            raise SettingsError(f"{where}: the setting '{name}' cannot be {flat[name]!r}: no text may hold NUL.")
    return {name: (value, where) for name, value in flat.items()}


def _allowed(hint: Any) -> str:
    """Say which words or numbers a type allows; return an empty string where it sets no limits."""
    if get_origin(hint) is Literal:
        *others, last = map(repr, get_args(hint))
        return f"give {', '.join(others)} or {last}" if others else f"give {last}"
    if hint is bool:
        return "give true or false"
    if not hasattr(hint, "__metadata__"):
        return next((text for text in map(_allowed, get_args(hint)) if text), "")
    kind, about = get_args(hint)
    limits = {
        name: getattr(limit, name)
        for limit in about.metadata
        for name in ("ge", "gt", "le", "lt")
        if hasattr(limit, name)
    }
    low = f"above {limits['gt']}" if "gt" in limits else f"from {limits['ge']}"
    high = f" to {limits['le']}" if "le" in limits else f" and below {limits['lt']}" if "lt" in limits else ""
    return f"give {'a whole number' if kind is int else 'a number'} {low}{high}" + (
        "" if high or "gt" in limits else " on"
    )
