"""Lasting strangers: who is unknown gets a number and keeps it across cameras, days and restarts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock
from typing import Annotated, ClassVar

from pydantic import Field

from app.gallery.sql import GalleryStore
from app.gallery.store import NewWalk
from app.recognise.judge import Judge
from app.recognise.scores import find_scores
from app.settings import MatchSettings
from app.types import ModelCard, Track

MOST_WALKS = 10
"""So many walks of a stranger are kept; later ones only say that the stranger was seen."""

_REMEMBERED = 1000
"""So many strangers are remembered to tell who is in view at the same time."""


@dataclass(frozen=True)
class StrangerOptions:
    """How strangers are told apart, and for how long.

    `far` is the false accept rate of their own threshold, where scores say what a distance means (the smallest that
    they can tell, where that is larger); `threshold` is that threshold itself. Strangers are dropped `retain_days`
    after they were last seen. With `pictures`, each of their walks is kept with a picture.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    far: Annotated[float, Field(gt=0, lt=1)] = 0.001
    threshold: Annotated[float, Field(gt=0)] | None = None
    retain_days: Annotated[int, Field(ge=1, le=3650)] = 7
    pictures: bool = True


@dataclass(frozen=True)
class Met:
    """Which stranger a walk is of, how probably, and whether the number is new."""

    name: str
    probability: float | None
    is_new: bool


class StrangerJudge:
    """Tells strangers apart by the judge that names people. Several cameras may ask at once."""

    def __init__(self, store: GalleryStore, card: ModelCard, settings: MatchSettings, options: StrangerOptions) -> None:
        self._store, self._card, self._options = store, card, options
        scores = find_scores(card, settings.metric, store.path)
        far = max(options.far, scores.smallest_rate()) if scores is not None else options.far
        self._settings = replace(settings, far=far, threshold=options.threshold, closed=False)
        self._judge: Judge | None = None
        self._learnt_from = 0
        self._last: dict[tuple[str, str], float] = {}  # when each stranger was last in view of a camera, in s
        self._one_at_a_time = Lock()

    @property
    def pictures(self) -> bool:
        """Whether walks are to be kept with pictures."""
        return self._options.pictures

    def meet(self, walk: NewWalk, track: Track, since: float, until: float) -> Met:
        """Say which stranger an unknown walk is of, and keep the walk, whose `source` is the camera.

        `track` is where it was seen there, from the time `since` to `until`, in s.
        """
        with self._one_at_a_time:
            return self._meet(walk, track, since, until)

    def _meet(self, walk: NewWalk, track: Track, since: float, until: float) -> Met:
        name, probability = self._known(walk, track)
        overlaps = name is not None and self._last.get((walk.source, name), since - 1) > since
        is_new = name is None or overlaps  # two people in view at once are two strangers
        if name is None or overlaps:
            name = self._store.enrol_stranger([walk], retain_days=self._options.retain_days).name
            probability = None
        else:
            person = self._store.person(name)
            kept = [walk] if person.walks < MOST_WALKS else []
            self._store.keep(name, kept, retain_days=self._options.retain_days)
        self._last.pop((walk.source, name), None)
        self._last[walk.source, name] = until
        if len(self._last) > _REMEMBERED:  # those who left first are forgotten first
            del self._last[next(iter(self._last))]
        return Met(name, probability, is_new)

    def _known(self, walk: NewWalk, track: Track) -> tuple[str | None, float | None]:
        walks = self._store.model_ids().get(self._card.model_id, 0)
        if not walks:
            return None, None
        if self._judge is None or walks >= 2 * self._learnt_from:
            self._judge = Judge.of(self._store, self._card, self._settings)
            self._learnt_from = walks
        (decision,) = self._judge.decide([walk.embedding], [track])
        return decision.identity, decision.probability
