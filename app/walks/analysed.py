"""What was found in a video: walks with embeddings, and where their silhouettes lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.types import Bytes, Embedding, Floats, GaitSequence, Track, VideoInfo


@dataclass(frozen=True, repr=False)
class AnalysedWalk:
    """One walk in a video: its track, its embedding if it can be used, and the reason if it cannot.

    `part_of` is the number of the archived track that this one was cut from, because that track goes over to somebody
    else; None for a whole track. `archive` is the file with the silhouettes.
    """

    track: Track
    embedding: Embedding | None
    reason: str | None
    archive: Path
    part_of: int | None = None

    def __repr__(self) -> str:
        """Say which walk it is, in a line: all that is in it would fill screens."""
        return (
            f"<AnalysedWalk of track {self.track.track_id}: {self.reason or f'{len(self.track.frame_indices)} frames'}>"
        )

    @property
    def sequence(self) -> GaitSequence | None:
        """The silhouettes and keypoints of the walk, read from the archive; None where nothing could be cut out."""
        from app.walks import archive  # late, as whoever only names walks needs nothing of what cuts them out

        return self.cut_from(archive.read_walk(self.archive, self.part_of or self.track.track_id).sequence)

    @property
    def silhouettes(self) -> Bytes | None:
        """The silhouettes, uint8 (T, 64, 64); None where nothing could be cut out. Each access reads the archive."""
        sequence = self.sequence
        return None if sequence is None else sequence.silhouettes

    @property
    def keypoints(self) -> Floats | None:
        """The keypoints, float32 (T, 17, 3) px and score; None where no pose network was used."""
        sequence = self.sequence
        return None if sequence is None else sequence.keypoints

    def cut_from(self, whole: GaitSequence | None) -> GaitSequence | None:
        """Return this walk's part of the silhouettes of the whole archived track; None where it has none."""
        if whole is None:
            return None
        first, last = self.track.frame_indices[0], self.track.frame_indices[-1]
        inside = (whole.frame_indices >= first) & (whole.frame_indices <= last)
        return whole.part(inside) if inside.any() else None


@dataclass(frozen=True)
class AnalysedVideo:
    """What later steps need to know about a video. Nothing in it grows with the size of the picture."""

    name: str
    info: VideoInfo
    frame_count: int
    warnings: tuple[str, ...]
    walks: tuple[AnalysedWalk, ...]
    archive: Path

    def usable(self) -> list[AnalysedWalk]:
        """Return the walks that have an embedding."""
        return [walk for walk in self.walks if walk.embedding is not None]

    def sequences(self) -> Iterator[tuple[AnalysedWalk, GaitSequence | None]]:
        """Yield every walk with its silhouettes. The archive is read once, one track at a time."""
        from app.walks import archive

        by_archived_track: dict[int, list[AnalysedWalk]] = {}
        for walk in self.walks:
            by_archived_track.setdefault(walk.part_of or walk.track.track_id, []).append(walk)
        for archived in archive.read_walks(self.archive):
            for walk in by_archived_track.get(archived.track.track_id, []):
                yield walk, walk.cut_from(archived.sequence)
