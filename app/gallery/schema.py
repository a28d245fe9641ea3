"""The tables of a gallery, and how older galleries are brought up to date.

Each migration is a list of statements, in SQLite's dialect, that run in one transaction; `app.gallery.postgres`
translates them. The database counts the migrations that it has had. A migration that was released is never changed; a
new one is added instead.
"""

from __future__ import annotations

from app.errors import GalleryError

APPLICATION_ID = 0x47414954  # "GAIT"; it distinguishes a gallery from the database of another program

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"PRAGMA application_id = {APPLICATION_ID}",
        """
        CREATE TABLE person (
            person_id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            consent TEXT NOT NULL,
            enrolled TEXT NOT NULL,
            expires TEXT
        )
        """,
        # Names that a person had before a rename or a merge, because the log may still contain them.
        """
        CREATE TABLE former_name (
            person_id INTEGER NOT NULL REFERENCES person ON DELETE CASCADE,
            name TEXT NOT NULL,
            PRIMARY KEY (person_id, name)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE walk (
            walk_id INTEGER PRIMARY KEY AUTOINCREMENT,
            person_id INTEGER NOT NULL REFERENCES person ON DELETE CASCADE,
            source TEXT NOT NULL,
            track_id INTEGER,
            view TEXT NOT NULL,
            seconds REAL NOT NULL,
            added TEXT NOT NULL
        )
        """,
        "CREATE INDEX walk_person ON walk (person_id)",
        # A walk that is embedded again gets a new row: an id always stands for one embedding; searching relies on that.
        """
        CREATE TABLE embedding (
            embedding_id INTEGER PRIMARY KEY AUTOINCREMENT,
            walk_id INTEGER NOT NULL UNIQUE REFERENCES walk ON DELETE CASCADE,
            model_id TEXT NOT NULL,
            frames INTEGER NOT NULL,
            parts INTEGER NOT NULL,
            channels INTEGER NOT NULL,
            vector BLOB NOT NULL CHECK (length(vector) = 4 * parts * channels)
        )
        """,
        "CREATE INDEX embedding_model ON embedding (model_id)",
        """
        CREATE TABLE silhouettes (
            walk_id INTEGER PRIMARY KEY REFERENCES walk ON DELETE CASCADE,
            fps REAL NOT NULL,
            frame_indices BLOB NOT NULL,
            pictures BLOB NOT NULL,
            keypoints BLOB
        )
        """,
        """
        CREATE TABLE thumbnail (
            walk_id INTEGER PRIMARY KEY REFERENCES walk ON DELETE CASCADE,
            jpeg BLOB NOT NULL
        )
        """,
        """
        CREATE TABLE event (
            event_id INTEGER PRIMARY KEY AUTOINCREMENT,
            time TEXT NOT NULL,
            event TEXT NOT NULL,
            details TEXT NOT NULL
        )
        """,
        # Has a row while removed data may still be in free pages of the file.
        "CREATE TABLE purge (due INTEGER PRIMARY KEY)",
    ),
    (
        # The ids of embeddings that are gone, for programs that keep walks in memory.
        """
        CREATE TABLE removed_embedding (
            removal_id INTEGER PRIMARY KEY AUTOINCREMENT,
            embedding_id INTEGER NOT NULL
        )
        """,
    ),
    (
        # Short codes of walks, by which large galleries are searched (`app.gallery.codes`). Walks up to the embedding
        # `newest` have one.
        """
        CREATE TABLE axes (
            axes_id INTEGER PRIMARY KEY AUTOINCREMENT,
            model_id TEXT NOT NULL,
            metric TEXT NOT NULL,
            middle BLOB NOT NULL,
            directions BLOB NOT NULL,
            scale REAL NOT NULL,
            newest INTEGER NOT NULL,
            UNIQUE (model_id, metric)
        )
        """,
        """
        CREATE TABLE code (
            embedding_id INTEGER NOT NULL REFERENCES embedding ON DELETE CASCADE,
            axes_id INTEGER NOT NULL REFERENCES axes ON DELETE CASCADE,
            code BLOB NOT NULL,
            PRIMARY KEY (embedding_id, axes_id)
        ) WITHOUT ROWID
        """,
    ),
    ("CREATE INDEX walk_source ON walk (source)",),
    (
        # Walks of which somebody said that they are not this person's. The walks themselves need not be in the gallery.
        """
        CREATE TABLE denial (
            denial_id INTEGER PRIMARY KEY AUTOINCREMENT,
            person_id INTEGER NOT NULL REFERENCES person ON DELETE CASCADE,
            model_id TEXT NOT NULL,
            frames INTEGER NOT NULL,
            parts INTEGER NOT NULL,
            channels INTEGER NOT NULL,
            vector BLOB NOT NULL CHECK (length(vector) = 4 * parts * channels),
            source TEXT NOT NULL,
            track_id INTEGER,
            added TEXT NOT NULL
        )
        """,
        "CREATE INDEX denial_person ON denial (person_id)",
        "CREATE INDEX denial_model ON denial (model_id)",
    ),
    # What was measured of a walk, as JSON: a list of `app.types.Measure`.
    ("ALTER TABLE walk ADD COLUMN measures TEXT NOT NULL DEFAULT '[]'",),
    (
        # Where the index of candidates is, if it is not in memory (`app.gallery.milvus`): one row or none. The names of
        # its collections begin with `name`. It has removed what the gallery removed, up to the removal `removals`.
        """
        CREATE TABLE candidates (
            candidates_id INTEGER PRIMARY KEY AUTOINCREMENT,
            address TEXT NOT NULL,
            name TEXT NOT NULL,
            removals INTEGER NOT NULL
        )
        """,
    ),
    # The views of a walk that has several (`app.types.Embedding.views`), side by side, as `vector` is.
    ("ALTER TABLE embedding ADD COLUMN pieces BLOB",),
)


def need_known(version: int, name: str) -> None:
    """Raise `GalleryError` if a newer program has made the gallery `name`, whose tables have the format `version`."""
    if version > len(MIGRATIONS):
        raise GalleryError(
            f"{name} was made by a newer Gaitprint: it has format {version}, and this program reads up to "
            f"{len(MIGRATIONS)}. Update the program."
        )
