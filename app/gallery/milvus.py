"""Candidates of a large gallery from Milvus, a vector database, in place of the codes that each program has in memory.

A collection of Milvus holds the walks of one model and metric: the id of each embedding and its code
(`app.gallery.codes`), and nothing that tells whose it is. Milvus answers which codes are the nearest, approximately.
The distances that count are computed from what the gallery itself stores, so no distance is ever wrong.

Row 0 of a collection is no walk. It notes how far the collection has followed the gallery, so that it is caught up
where it lags behind, and made anew where it is lost.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.errors import GalleryError, needing
from app.files import expanded
from app.gallery.codes import AXES, CANDIDATES, Axes
from app.gallery.distances import Distances, Metric
from app.gallery.search import Exact, exact_distances
from app.types import Floats, Ints

Present: TypeAlias = Callable[[Ints], Ints]
"""Takes ids of embeddings (n,) and returns those that the gallery has."""

TOKEN = "GAITPRINT_MILVUS_TOKEN"
"""The environment variable with what Milvus asks for: a token, or USER:PASSWORD."""
_PATIENCE = 30.0  # s for an answer
_SETTLING = 600.0  # s for a large index to be made
_MOST = 16384  # rows of an answer, and values of a filter; Milvus gives no more
_QUERIES = 16  # that are asked at once
_MISSING = 100  # Milvus' code where there is no such collection
_NOT_LOADED = 101  # and where it is not in memory
_INDEXED = 1.0  # s between two looks at how much of an index is made
_GRACE = 10.0
"""s from which on Milvus' answers of bounded staleness have what was written before; by itself it allows 5 s."""
_TRUSTED = 60.0  # s for which a collection is taken to be as it was seen, where the gallery says nothing else
_CONNECTION = {"grpc.keepalive_time_ms": 300_000, "grpc.keepalive_permit_without_calls": False}
"""gRPC's. Servers may end a connection on which somebody asks whether they are alive every 10 s, pymilvus' default."""
_HNSW = {"M": 16, "efConstruction": 200}


class Followed(NamedTuple):
    """How far a collection has followed the gallery: to which embedding, and to which removal."""

    newest: int
    removals: int


class Seen(NamedTuple):
    """What a collection was seen to have, and when, in s of `time.monotonic`."""

    followed: Followed
    moment: float


def checked(address: str) -> str:
    """Return the address of a Milvus as it is kept: a server's as it is, a file's with its whole path.

    Raises:
        GalleryError: it is neither, or holds a password.
    """
    if "://" not in address:
        return str(expanded(Path(address), GalleryError).absolute())
    if not address.startswith(("http://", "https://")):
        raise GalleryError(f"{address} is no address of Milvus. Give http://HOST:19530, or the path of a file.")
    if "@" in address:
        raise GalleryError(
            "The gallery stores the address of Milvus, so it must not contain a password. Put the password into the "
            f"environment variable {TOKEN}."
        )
    return address


class Milvus:
    """A Milvus at an address. It is connected when it is first used."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.seen: dict[str, Seen] = {}
        """Collections that were looked at lately, by their names."""
        self._client: Any = None

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Yield pymilvus' client.

        Raises:
            GalleryError: Milvus cannot be reached, or refuses.
            MissingExtraError: pymilvus is not installed.
        """
        with needing('An index in Milvus needs pymilvus: pip install -e ".[milvus]"'):
            pymilvus = import_module("pymilvus")
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it prints errors that it also raises
        try:
            if self._client is None:
                token = os.environ.get(TOKEN, "")
                self._client = pymilvus.MilvusClient(
                    self.address, token=token, timeout=_PATIENCE, grpc_options=_CONNECTION
                )
            yield self._client
        except (pymilvus.MilvusException, import_module("grpc").RpcError) as error:
            self._client = None  # whatever is wrong with it, the next use connects anew
            self.seen.clear()
            if "://" in self.address:
                advice = "Check that it runs, and the variable " + TOKEN
            else:
                advice = "Only one program at a time can use a file: end the other one, or use a server"
            raise GalleryError(
                f"The gallery's index in Milvus at {self.address} cannot be used ({_reason(error)}). {advice}. "
                "To do without the index, run `python -m app gallery index none`; if the server is gone for good, add "
                "--lost."
            ) from error

    def drop(self, prefix: str) -> None:
        """Remove all collections whose names begin with `prefix`."""
        with self.client() as client:
            for name in client.list_collections(timeout=_PATIENCE):
                if name.startswith(prefix):
                    client.drop_collection(name, timeout=_PATIENCE)


class MilvusIndex:
    """Walks of one gait model and metric in a collection of Milvus."""

    def __init__(self, milvus: Milvus, name: str, shape: tuple[int, int], axes: Axes, metric: Metric) -> None:
        self.shape = shape
        self._milvus, self._name, self._axes, self._metric = milvus, name, axes, metric

    @property
    def trusted(self) -> Followed | None:
        """How far the collection had followed the gallery when it was last seen; None where that is too long ago.

        Milvus answers at once what it has had for a while, but what it has this very moment only after a fifth of a
        second or more. So it is not asked before each search.
        """
        seen = self._milvus.seen.get(self._name)
        return seen.followed if seen is not None and time.monotonic() - seen.moment < _TRUSTED else None

    def followed(self) -> Followed | None:
        """Ask how far the collection has followed the gallery; None where there is no collection."""
        self._milvus.seen.pop(self._name, None)
        with self._milvus.client() as client:
            ask = partial(
                client.get,
                self._name,
                [0],
                output_fields=["newest", "removals"],
                consistency_level="Strong",
                timeout=_PATIENCE,
            )
            try:
                rows = ask()
            except Exception as error:
                code = getattr(error, "code", None)
                if code == _MISSING:
                    return None
                if code != _NOT_LOADED:
                    raise
                client.load_collection(self._name, timeout=_PATIENCE)  # Milvus was started again
                rows = ask()
        if not rows:
            return None
        found = Followed(int(rows[0]["newest"]), int(rows[0]["removals"]))
        self._milvus.seen[self._name] = Seen(found, time.monotonic())
        return found

    def begin(self) -> None:
        """Make the collection, empty, in place of the one that there is."""
        with self._milvus.client() as client:
            client.drop_collection(self._name, timeout=_PATIENCE)
            types = import_module("pymilvus").DataType
            schema = client.create_schema(auto_id=False, enable_dynamic_field=True)
            schema.add_field("id", types.INT64, is_primary=True)
            schema.add_field("code", types.FLOAT_VECTOR, dim=AXES)
            index = client.prepare_index_params()
            index.add_index("code", index_type="HNSW", metric_type="L2", params=_HNSW)
            client.create_collection(
                self._name, schema=schema, index_params=index, consistency_level="Strong", timeout=_PATIENCE
            )

    def add(self, ids: Ints, codes: NDArray[np.int8]) -> None:
        """Add walks by their codes (n, AXES); one that is there already is replaced."""
        rows = [
            {"id": number, "code": code} for number, code in zip(ids.tolist(), codes.astype(np.float32), strict=True)
        ]
        with self._milvus.client() as client:
            client.upsert(self._name, rows, timeout=_PATIENCE)

    def remove(self, ids: Ints) -> None:
        """Remove walks; ids that it does not have are passed over."""
        with self._milvus.client() as client:
            for start in range(0, len(ids), _MOST):
                client.delete(self._name, ids=ids[start : start + _MOST].tolist(), timeout=_PATIENCE)

    def note(self, followed: Followed) -> None:
        """Note how far the collection has followed the gallery."""
        row = {"id": 0, "code": np.zeros(AXES, np.float32), **followed._asdict()}
        with self._milvus.client() as client:
            client.upsert(self._name, [row], timeout=_PATIENCE)
        self._milvus.seen[self._name] = Seen(followed, time.monotonic())

    def settle(self, *, wait: bool) -> None:
        """Let Milvus put many new walks into its index now; until then it compares them one by one.

        With `wait`, return when that is done.
        """
        with self._milvus.client() as client:
            client.flush(self._name, timeout=_SETTLING)
            end = time.monotonic() + _SETTLING
            while wait and time.monotonic() < end:
                (index,) = client.list_indexes(self._name)
                if not client.describe_index(self._name, index).get("pending_index_rows"):
                    break
                time.sleep(_INDEXED)

    def search(self, queries: Floats, k: int, exact: Exact, present: Present) -> list[tuple[Ints, Distances]] | None:
        """Find about the `k` nearest walks of each query, as `app.gallery.codes.CodeIndex.search` does.

        `present` leaves out ids of walks that are gone from the gallery. None is returned where the collection is gone
        or not in Milvus' memory.

        Raises:
            GalleryError: Milvus cannot be used, or gives no such number of walks.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if k >= _MOST:
            raise GalleryError(
                f"Milvus finds at most {_MOST - 1} walks at once, and {k} were asked for. To do without it, run "
                "`python -m app gallery index none`."
            )
        most = min(max(CANDIDATES, 4 * k) + 1, _MOST)  # one may be row 0
        numbers = self._axes.numbers(queries, self._metric)
        answers: list[Any] = []
        seen = self._milvus.seen.get(self._name)
        old = seen is not None and time.monotonic() - seen.moment > _GRACE
        with self._milvus.client() as client:
            for start in range(0, len(numbers), _QUERIES):
                try:
                    answers += client.search(
                        self._name,
                        data=list(numbers[start : start + _QUERIES]),
                        limit=most,
                        search_params={"metric_type": "L2", "params": {"ef": 2 * most}},
                        consistency_level="Bounded" if old else "Strong",
                        timeout=_PATIENCE,
                    )
                except Exception as error:
                    if getattr(error, "code", None) not in (_MISSING, _NOT_LOADED):
                        raise
                    self._milvus.seen.pop(self._name, None)
                    return None
        found: list[tuple[Ints, Distances]] = []
        for query, answer in zip(queries, answers, strict=True):
            ids = present(np.sort(np.array([one["id"] for one in answer], np.int64)))
            distances = exact_distances(query, ids, self._metric, exact)
            order = np.lexsort((ids, distances))[:k]
            found.append((ids[order], distances[order]))
        return found


def _reason(error: Any) -> str:
    """Return what is wrong, in one line: an answer that is too late has no message of Milvus' own."""
    return str(error.details() if hasattr(error, "details") and callable(error.details) else error.message)
