"""The search of a gallery in an SQL database: in memory, by codes that the database keeps, or by an index in Milvus."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, repeat
from threading import Lock
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from app.errors import GaitprintError, GalleryError, IncompatibleEmbeddingsError
from app.gallery import tables
from app.gallery.codes import KEPT, LARGE, Axes, CodeIndex
from app.gallery.database import Connection, Database, MalformedError
from app.gallery.distances import Distances, Metric
from app.gallery.milvus import Followed, Milvus, MilvusIndex, checked
from app.gallery.search import ROWS, WalkIndex
from app.gallery.store import Neighbour
from app.types import Embedding, Floats, Ints

_CODES = 1 << 16  # codes that are read at once
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Searched:
    """The walks of one model in memory: those up to the embedding id `newest`, without those removed by `removals`.

    Many walks are kept as codes along the axes `axes_id`, few as they are.
    """

    index: WalkIndex | CodeIndex
    axes_id: int | None = None
    newest: int = 0
    removals: int = 0


@dataclass(frozen=True, slots=True)
class _StoredAxes:
    """Axes of the database; walks up to the embedding id `newest` have codes along them."""

    axes_id: int
    newest: int
    axes: Axes


class Candidates:
    """Finds the walks of a gallery, which messages call `name`, that are nearest to others.

    Few walks are kept in memory with 2 bytes for each number, many (`LARGE`) as codes, which the database keeps too.
    What is in memory follows what this and other programs write to the database.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._searched: dict[tuple[str, Metric], _Searched] = {}
        self._known_axes: dict[int, Axes] = {}
        self._without_codes: set[tuple[str, Metric]] = set()
        self._lock = Lock()
        self._warned: set[str] = set()
        self._milvus: Milvus | None = None

    def close(self) -> None:
        """End the connection to Milvus."""
        if self._milvus is not None:
            self._milvus.close()

    def take_over(self, other: Candidates) -> None:
        """Go on with what `other` has in memory: it was of this very gallery."""
        self._searched, self._lock = other._searched, other._lock
        self._known_axes, self._without_codes = other._known_axes, other._without_codes

    def search(self, queries: Sequence[Embedding], k: int, metric: Metric = "euclidean") -> list[list[Neighbour]]:
        """Return the `k` nearest walks of each query; see `GalleryStore.search`."""
        if not queries:
            return []
        kinds = sorted({(query.model_id, query.parts.shape) for query in queries})
        model_id = queries[0].model_id
        if len(kinds) > 1:
            raise IncompatibleEmbeddingsError(f"Queries of several models cannot be searched together: {kinds}.")
        with self._lock:
            self._keep_codes(model_id, metric)
            for _ in range(2):  # once more where Milvus has lost its index meanwhile
                self._follow_in_index(model_id, metric)
                with self._database.reading() as db:
                    found = self._found(db, queries, k, metric)
                if found is not None:
                    return found
        raise GalleryError(f"The index of {self._name} in Milvus was lost while it was searched. Search again.")

    def _found(
        self, db: Connection, queries: Sequence[Embedding], k: int, metric: Metric
    ) -> list[list[Neighbour]] | None:
        model_id, shape = queries[0].model_id, queries[0].parts.shape
        index = self._synchronised(db, model_id, metric)
        others: dict[str, int] = {}
        if model_id not in self._warned and self._several_models(db, model_id):
            others = {name: walks for name, walks in tables.model_ids(db).items() if name != model_id}
        if index is None:
            if others:
                raise GalleryError(
                    f"The walks in {self._name} were embedded with {', '.join(others)}, not with {model_id}, and "
                    "walks of different models cannot be compared. Use that model, or embed the walks again: "
                    "python -m app gallery re-embed."
                )
            return [[] for _ in queries]
        if index.shape != shape:
            raise IncompatibleEmbeddingsError(
                f"'{model_id}' gives embeddings of shape {shape}, but those in {self._name} have {index.shape}."
            )
        if others:
            self._warned.add(model_id)
            _logger.warning(
                "%d of the walks in %s were embedded with another model than %s and are not compared. To change that: "
                "python -m app gallery re-embed", sum(others.values()), self._name, model_id
            )  # fmt: skip
        stack = np.stack([query.parts for query in queries])
        exact = partial(self._vectors, db)
        if isinstance(index, MilvusIndex):
            in_milvus = index.search(stack, k, exact, partial(self._present, db, model_id))
            if in_milvus is None:
                return None
            nearest_ids = in_milvus
        elif isinstance(index, CodeIndex):
            nearest_ids = index.search(stack, k, exact)
        else:
            nearest_ids = index.search(stack, k, metric, exact)
        return self._neighbours(db, nearest_ids)

    def place(self) -> str | None:
        """Return the address of the index; None where it is in memory."""
        with self._database.reading() as db:
            row = db.execute("SELECT address FROM candidates").fetchone()
        return str(row[0]) if row else None

    def move(self, address: str | None, *, lost: bool = False) -> None:
        """Keep the index at another address from now on; see `GalleryStore.place_index`."""
        address = checked(address) if address is not None else None
        if address is not None and (
            not self._database.lasting or (self._database.path is None and "://" not in address)
        ):
            raise GalleryError(
                "Programs on other machines must reach the index of this gallery. Give http://HOST:PORT."
            )
        with self._lock:
            if address is not None:
                with Milvus(address).client() as client:
                    client.list_collections()
            with self._database.writing() as db:
                row = db.execute("SELECT address, name FROM candidates").fetchone()
                if row and not lost:
                    self._milvus_at(row[0]).drop(row[1])
                db.execute("DELETE FROM candidates")
                if address is not None:
                    db.insert(
                        "candidates", address=address, name=f"gaitprint_{uuid4().hex}", removals=self._removals(db)
                    )
                tables.log(db, "index", address=address)
                kinds = db.execute("SELECT model_id, metric FROM axes").fetchall() if address is not None else []
            for model_id, metric in kinds:
                self._follow_in_index(model_id, metric, wait=True)

    def _milvus_at(self, address: str) -> Milvus:
        if self._milvus is None or self._milvus.address != address:
            self._milvus = Milvus(address)
        return self._milvus

    def _index(self, db: Connection, model_id: str, metric: Metric) -> MilvusIndex | None:
        """Return the index of a model's walks in Milvus; None where they are searched without it."""
        if self._database.read_only:  # nobody could bring the index up to date
            return None
        row = db.execute("SELECT address, name FROM candidates").fetchone()
        axes = self._axes(db, model_id, metric) if row else None
        if axes is None:
            return None
        shape = _shape(db, model_id) or (0, 0)
        return MilvusIndex(self._milvus_at(row[0]), f"{row[1]}_{axes.axes_id}", shape, axes.axes, metric)

    def _follow_in_index(self, model_id: str, metric: Metric, *, wait: bool = False) -> None:
        """Bring the index in Milvus up to date with the gallery; with `wait`, until all of it is made.

        Whoever adds to it holds the gallery's lock for writing. So nobody brings back what another program removes.
        """
        with self._database.reading() as db:
            index = self._index(db, model_id, metric)
            if index is None or ((trusted := index.trusted) and not self._behind(db, trusted)):
                return
            followed = index.followed()
            if followed and not self._behind(db, followed):
                return
        rounds, more = 0, True
        while more:
            rounds += 1
            with self._database.writing() as db:
                index = self._index(db, model_id, metric)
                more = index is not None and self._follow(db, index, model_id, metric)
        if index is not None and rounds > 1:
            index.settle(wait=wait)

    def _behind(self, db: Connection, followed: Followed) -> bool:
        newest = _newest(db, "embedding")
        return newest > followed.newest or self._removals(db) != followed.removals or self._ahead(db, followed)

    def _ahead(self, db: Connection, followed: Followed) -> bool:
        """Whether the index knows of what this gallery never had: an older copy of the gallery is in its place."""
        newest = _newest(db, "embedding")
        if newest < followed.newest:
            newest = _newest(db, "removed_embedding")
        return newest < followed.newest or self._removals(db) < followed.removals

    def _removals(self, db: Connection) -> int:
        return int(db.execute("SELECT max(removal_id) FROM removed_embedding").fetchone()[0] or 0)

    def _follow(self, db: Connection, index: MilvusIndex, model_id: str, metric: Metric) -> bool:
        """Let the index follow the gallery by up to `ROWS` walks, and return whether there may be more."""
        axes, followed = self._axes(db, model_id, metric), index.followed()
        assert axes is not None
        newest = _newest(db, "embedding")
        if followed is None or self._ahead(db, followed):
            _logger.info("The index of the walks of %s in Milvus is made.", model_id)
            index.begin()
            followed = Followed(0, self._removals(db))  # what is gone is not added
        self._remove_since(db, index, followed.removals)
        reached = max(followed.newest, newest)
        stored = next(self._codes(db, axes.axes_id, followed.newest, ROWS), None)
        if stored is not None:
            index.add(*stored)
            reached = int(stored[0][-1])
        else:
            after = max(followed.newest, axes.newest)
            new = next(self._newer(db, model_id, index.shape, after, newest), None)
            if new is not None:
                index.add(new[0], axes.axes.codes(new[1], metric))
                reached = int(new[0][-1]) if len(new[0]) == ROWS else reached
        index.note(Followed(reached, self._removals(db)))
        return reached < newest

    def _remove_since(self, db: Connection, index: WalkIndex | CodeIndex | MilvusIndex, removals: int) -> None:
        gone = db.execute("SELECT embedding_id FROM removed_embedding WHERE removal_id > ?", (removals,))
        index.remove(np.array([row[0] for row in gone], np.int64))

    def remove_gone(self) -> None:
        """Remove from the index in Milvus what was removed from the gallery since this was last done."""
        if self._database.read_only:
            return
        with self._database.reading() as db:
            due = "SELECT 1 FROM candidates WHERE removals < (SELECT max(removal_id) FROM removed_embedding)"
            if not db.execute(due).fetchone():
                return
        try:
            with self._database.writing() as db:
                for model_id, metric in db.execute("SELECT model_id, metric FROM axes").fetchall():
                    index = self._index(db, model_id, metric)
                    followed = index.followed() if index is not None else None
                    if index is not None and followed is not None and not self._ahead(db, followed):
                        self._remove_since(db, index, followed.removals)
                        index.note(Followed(followed.newest, self._removals(db)))
                db.execute("UPDATE candidates SET removals = ?", (self._removals(db),))
        except GaitprintError as error:
            raise GalleryError(
                f"What was removed from {self._database.name} may still be in its index. {error} The next command that "
                "opens the gallery tries again."
            ) from error

    def _present(self, db: Connection, model_id: str, embedding_ids: Ints) -> Ints:
        query = "SELECT embedding_id, model_id FROM embedding WHERE embedding_id IN"
        return np.array(
            [row[0] for row in tables.rows_of(db, query, embedding_ids.tolist()) if row[1] == model_id], np.int64
        )

    def _several_models(self, db: Connection, model_id: str) -> bool:
        """Whether there are walks of another model; counting them all would take longer."""
        names = db.execute("SELECT (SELECT min(model_id) FROM embedding), (SELECT max(model_id) FROM embedding)")
        return set(names.fetchone()) - {model_id, None} != set()

    def _synchronised(
        self, db: Connection, model_id: str, metric: Metric
    ) -> WalkIndex | CodeIndex | MilvusIndex | None:
        """Bring the copy of a model's walks in memory up to date with this transaction; None where there are none.

        Where Milvus has the index, there is no copy.
        """
        shape = _shape(db, model_id)
        axes = self._axes(db, model_id, metric)
        # The copy is taken out while it changes, so that one whose update was interrupted is loaded again.
        known = self._searched.pop((model_id, metric), None)
        if shape is None:
            return None
        if (index := self._index(db, model_id, metric)) is not None:
            return index
        if known is None or known.index.shape != shape or known.axes_id != (axes.axes_id if axes else None):
            known = _Searched(WalkIndex(*shape))
            if axes is not None:
                known = _Searched(CodeIndex(shape, axes.axes, metric), axes.axes_id)
        newest = _newest(db, "embedding")
        removals = self._removals(db)
        if known.removals != removals:
            self._remove_since(db, known.index, known.removals)
            known.removals = removals
        # An id always stands for the same embedding, and ids only grow: larger ids are new.
        if axes is not None and isinstance(known.index, CodeIndex):
            for ids, codes in self._codes(db, axes.axes_id, known.newest):
                known.index.add(ids, codes)
            known.newest = max(known.newest, axes.newest)
        for ids, vectors in self._newer(db, model_id, shape, known.newest, newest):
            if axes is not None and isinstance(known.index, CodeIndex):
                known.index.add(ids, axes.axes.codes(vectors, metric))
            elif isinstance(known.index, WalkIndex):
                known.index.add(ids, vectors)
        known.newest = max(known.newest, newest)
        self._searched[model_id, metric] = known
        return known.index

    def _newer(
        self, db: Connection, model_id: str, shape: tuple[int, int], after: int, newest: int
    ) -> Iterator[tuple[Ints, Floats]]:
        """Yield the embeddings of a model with ids above `after`, in the order of their ids, float32 (n, P, C)."""
        newer = (
            "SELECT embedding_id, vector FROM embedding WHERE model_id = ? AND embedding_id > ? ORDER BY embedding_id"
        )
        while after < newest:
            rows = db.execute(f"{newer} LIMIT {ROWS}", (model_id, after)).fetchall()
            if rows:
                yield (
                    np.array([row[0] for row in rows], np.int64),
                    np.stack([tables.vectors((row[0], *shape, row[1])) for row in rows]),
                )
            after = rows[-1][0] if len(rows) == ROWS else newest

    def _codes(
        self, db: Connection, axes_id: int, after: int, at_once: int = _CODES
    ) -> Iterator[tuple[Ints, NDArray[np.int8]]]:
        """Yield the ids and the codes of embeddings with ids above `after`."""
        newer = "SELECT embedding_id, code FROM code WHERE axes_id = ? AND embedding_id > ? ORDER BY embedding_id"
        rows: list[Any] = [(after,)]
        while rows:
            rows = db.execute(f"{newer} LIMIT {at_once}", (axes_id, rows[-1][0])).fetchall()
            if rows:
                yield np.array([row[0] for row in rows], np.int64), tables.codes(rows)

    def _axes(self, db: Connection, model_id: str, metric: Metric) -> _StoredAxes | None:
        """Return the axes of the codes of a model's walks; None where there are none."""
        row = db.execute(
            "SELECT axes_id, newest FROM axes WHERE model_id = ? AND metric = ?", (model_id, metric)
        ).fetchone()
        if row is None:
            return None
        axes_id, newest = row
        if axes_id not in self._known_axes:  # they never change
            query = "SELECT axes_id, middle, directions, scale FROM axes WHERE axes_id = ?"
            self._known_axes[axes_id] = tables.axes(db.execute(query, (axes_id,)).fetchone())
        return _StoredAxes(axes_id, newest, self._known_axes[axes_id])

    def _keep_codes(self, model_id: str, metric: Metric) -> None:
        """Store the codes of a large gallery's walks, so that the next program need not make them."""
        if (model_id, metric) in self._without_codes:
            return
        with self._database.reading() as db:
            axes = self._axes(db, model_id, metric)
            query = (
                "SELECT count(*) FROM (SELECT 1 FROM embedding WHERE model_id = ? AND embedding_id > ? LIMIT ?) AS few"
            )
            enough = LARGE if axes is None else ROWS
            if db.execute(query, (model_id, axes.newest if axes else 0, enough)).fetchone()[0] < enough:
                return
        try:
            while self._add_codes(model_id, metric):
                pass
        except GalleryError as error:  # e.g. no right to write: then codes are made in memory each time
            _logger.info("The codes of walks are not stored: %s", error)

    def _add_codes(self, model_id: str, metric: Metric) -> bool:
        """Store the codes of up to `ROWS` walks, and return whether there may be more to store."""
        with self._database.writing() as db:
            shape, newest = _shape(db, model_id), _newest(db, "embedding")
            if shape is None:
                return False
            axes = self._axes(db, model_id, metric)
            if axes is None:
                _logger.info("Short codes of the walks of %s are made once, because there are many.", model_id)
                some = islice(self._newer(db, model_id, shape, 0, newest), LARGE // ROWS)
                made = Axes.of(np.concatenate([vectors for _, vectors in some]), metric)
                if made.kept < KEPT:
                    _logger.info("They would tell too little: the axes keep %.2f of the variance.", made.kept)
                    self._without_codes.add((model_id, metric))
                    return False
                db.insert(
                    "axes",
                    model_id=model_id,
                    metric=metric,
                    middle=made.middle.astype("<f4").tobytes(),
                    directions=made.directions.astype("<f4").tobytes(),
                    scale=made.scale,
                    newest=0,
                )
                return True
            new = next(self._newer(db, model_id, shape, axes.newest, newest), None)
            if new is None:
                return False
            ids, vectors = new
            codes = axes.axes.codes(vectors, metric)
            rows = zip(ids.tolist(), repeat(axes.axes_id), map(bytes, codes), strict=False)
            db.executemany("INSERT INTO code (embedding_id, axes_id, code) VALUES (?, ?, ?)", rows)
            db.execute("UPDATE axes SET newest = ? WHERE axes_id = ?", (int(ids[-1]), axes.axes_id))
            return len(ids) == ROWS

    def _vectors(self, db: Connection, embedding_ids: Ints) -> Floats:
        query = "SELECT embedding_id, parts, channels, vector FROM embedding WHERE embedding_id IN"
        ids = embedding_ids.tolist()
        vectors = {row[0]: tables.vectors(row) for row in tables.rows_of(db, query, ids)}
        return np.stack([vectors[embedding_id] for embedding_id in ids])

    def _neighbours(self, db: Connection, found: Sequence[tuple[Ints, Distances]]) -> list[list[Neighbour]]:
        """Return whose walks these embeddings are, given their ids and distances for each query."""
        query = "SELECT embedding_id, walk_id, person_id FROM embedding JOIN walk USING (walk_id) WHERE embedding_id IN"
        every = sorted({embedding_id for ids, _ in found for embedding_id in ids.tolist()})
        owners = {row[0]: (row[1], row[2]) for row in tables.rows_of(db, query, every)}
        lost = [embedding_id for embedding_id in every if embedding_id not in owners]
        if lost:  # foreign keys prevent this in a file that is not damaged
            raise MalformedError(f"malformed embedding {lost[0]}: it has no walk")
        return [
            [Neighbour(*owners[one], distance) for one, distance in zip(ids.tolist(), distances.tolist(), strict=True)]
            for ids, distances in found
        ]


def _shape(db: Connection, model_id: str) -> tuple[int, int] | None:
    """Return how many parts and channels the embeddings of a model have; None where there are none."""
    row = db.execute("SELECT parts, channels FROM embedding WHERE model_id = ? LIMIT 1", (model_id,)).fetchone()
    return tables.shape(row) if row else None


def _newest(db: Connection, table: str) -> int:
    """Return the largest embedding id in a table; 0 where there is none."""
    return int(db.execute(f"SELECT max(embedding_id) FROM {table}").fetchone()[0] or 0)
