"""Damage as files come by it, and as somebody would do it who means harm.

Bytes can be damaged anywhere. Where a checksum or a packing would hide the damage from the program, the file is taken
apart, damaged inside, and put together again.
"""

from __future__ import annotations

import gzip
import io
import json
import pickletools
import re
import sqlite3
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

_NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 62, (1 << 64) - 1]
_HOSTILE = [
    *("-1", "0", "1e999", ".nan", "null", "[]", "{}", "~", "''", "!!python/object:os.system x", "2026-13-01", "true"),
    *("9" * 5000, "&a [*a]", "[" * 3000, "{a: " * 3000, '"\\0"', '"\\ud800"', "- " * 3000, "<<: *x", "\t", "%YAML 9.9"),
    *("!!binary x", "!!set {a}", "? a", "&a {a: *a}", "0o17", "12:30:45", "=", "!!timestamp 9", "@x", "`x", "|2-\n x"),
]
_HUGE = "a number of five thousand digits"
_VALUES: list[Any] = [
    *(None, True, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 2**64, 0.5, -0.0, 1e308, float("nan"), float("inf"), 1e-320),
    *("", "x", "0", "nan", "\x00", "\ud800", "é" * 300, "../../x", "/dev/null", "2026-13-01", "0001-01-01T00:00:00Z"),
    *([], {}, [[]], [None] * 50, {"": {}}, {"name": []}, _HUGE, "x" * 70_000, "=1+1", "\x1b[31m", "AAAA"),
]
_KINDS = ["|O", "|S999999999", "<U300000000", "<f8", ">f4", "<c16", "<M8[ns]", "|V9", "<f2", "|b1", "<i8", "x", "<u1"]
_SHAPES = ["()", "(0,)", "(-1, 3)", "(99999999999, 64, 64)", "(4, 64)", "(2, 64, 64, 1)", "(1, 17, 3)", "(True,)", "3"]
_OPCODES = [
    *(b"cposix\nsystem\n(Vtouch ran\ntR", b"r\xff\xff\xff\x7f", b"\x8e" + struct.pack("<Q", 1 << 40), b"(", b".", b"0"),
    *(b"\x95" + struct.pack("<Q", 1 << 40), b"\x8b\xff\xff\xff\x7f", b"}", b"]", b"a", b"b", b"R", b"\x81", b"2", b"t"),
    *(
        b"cnumpy\nndarray\n",
        b"cbuiltins\neval\n",
        b"I" + b"9" * 9999 + b"\n",
        b"h\xff",
        b"\x94",
        b"N",
        b"\x93",
        b"Pb\n",
    ),
]


def mutated(content: bytes, random: Random) -> bytes:
    """Return `content` with one to four pieces of damage."""
    for _ in range(random.choice([1, 1, 2, 4])):
        content = random.choice([_flipped, _numbered, _noisy, _cut, _without, _repeated, _zeroed])(content, random)
    return content


def mutated_text(content: bytes, random: Random) -> bytes:
    """Return a text with values replaced, lines repeated, moved or indented, or damaged bytes."""
    if random.random() < 0.2:
        return mutated(content, random)
    lines = content.decode().splitlines()
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(lines))
        key, colon, _ = lines[place].partition(":")
        match random.randrange(6):
            case 0 | 1:
                lines[place] = f"{key}{colon} {random.choice(_HOSTILE)}"
            case 2:
                lines[place] = random.choice(_HOSTILE)
            case 3:
                lines.insert(random.randrange(len(lines)), lines[place])
            case 4:
                lines[place] = lines[place].replace(key.strip() or "x", random.choice(_HOSTILE)[:40], 1)
            case 5:
                lines[place] = f"{' ' * random.randrange(5)}{lines[place].strip()}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def mutated_json(content: bytes, random: Random) -> bytes:
    """Return JSON with values, keys and lists changed; sometimes with damaged bytes instead."""
    try:
        if random.random() < 0.15:
            return mutated_text(content, random)
        root = [json.loads(content)]
    except ValueError:
        return mutated(content, random)
    for _ in range(random.choice([1, 1, 2, 3])):
        _change_in(root, random)
    text = json.dumps(root[0]).replace(f'"{_HUGE}"', "9" * 5000)
    return (random.choice(["", "", "", "\ufeff"]) + text).encode()


def mutated_lines(content: bytes, random: Random) -> bytes:
    """Return packed lines of JSON with damage in some, or lines repeated, moved or left out."""
    if random.random() < 0.3:
        return mutated(content, random)
    lines = gzip.decompress(content).splitlines()
    for _ in range(random.choice([1, 1, 2])):
        place = random.randrange(len(lines))
        match random.randrange(8):
            case 0:
                lines.insert(random.randrange(len(lines)), lines[place])
            case 1:
                if len(lines) > 1:
                    del lines[place]
            case 2:
                lines[place] = mutated(lines[place], random)
            case _:
                lines[place] = mutated_json(lines[place], random)
    return gzip.compress(b"\n".join(lines) + b"\n", 1)


def mutated_zip(content: bytes, random: Random) -> bytes:
    """Return a zip file with damage inside of its members, under right checksums, or in the list of them."""
    if random.random() < 0.25:
        return mutated(content, random)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:
        return mutated(content, random)
    for _ in range(random.choice([1, 1, 2])):
        place = random.randrange(len(members)) if members else None
        if place is None:
            break
        name, inner = members[place]
        match random.randrange(9):
            case 0:
                del members[place]
            case 1:
                members.append(members[place])
            case 2:
                other = random.choice(["x", "/", "../x", "a" * 300, "1/walk.json", "archive/data.pkl", "0.npy", "\x01"])
                members[place] = (other, inner)
            case 3:
                other_place = random.randrange(len(members))
                members[place] = (name, members[other_place][1])
            case _:
                members[place] = (name, _damage_of(name)(inner, random))
    packed = io.BytesIO()
    kind = random.choice([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
    with zipfile.ZipFile(packed, "w", kind) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two members of one name
        for name, inner in members:
            entry = zipfile.ZipInfo(name)  # without the time of day, which `writestr` would take for a name
            archive.writestr(entry, inner, compress_type=archive.compression)
    return packed.getvalue()


def mutated_npy(content: bytes, random: Random) -> bytes:
    """Return an array file whose header claims another type or shape, or with damaged bytes."""
    if random.random() < 0.3 or content[:6] != b"\x93NUMPY":
        return mutated(content, random)
    length = struct.unpack("<H", content[8:10])[0]
    header, rest = content[10 : 10 + length].decode("latin-1"), content[10 + length :]
    if random.random() < 0.5:
        header = re.sub(r"'descr': '[^']*'", lambda _: f"'descr': '{random.choice(_KINDS)}'", header)
    if random.random() < 0.6:
        header = re.sub(r"'shape': \([^)]*\)", lambda _: f"'shape': {random.choice(_SHAPES)}", header)
    if random.random() < 0.2:
        header = header.replace("False", "True")
    if random.random() < 0.1:
        rest = mutated(rest, random)
    header = header.rstrip() + "\n"
    return content[:8] + struct.pack("<H", len(header)) + header.encode() + rest


def mutated_pickle(content: bytes, random: Random) -> bytes:
    """Return a pickle with opcodes replaced, repeated, left out or put in, or with damaged bytes."""
    if random.random() < 0.3:
        return mutated(content, random)
    try:
        places = [place for _, _, place in pickletools.genops(content) if place is not None]
    except Exception:
        return mutated(content, random)
    for _ in range(random.choice([1, 1, 2, 3])):
        number = random.randrange(len(places))
        start, end = places[number], ([*places, len(content)])[number + 1]
        piece = content[start:end]
        new = random.choice([random.choice(_OPCODES), random.choice(_OPCODES) + piece, piece * 2, b"", piece[:1]])
        if len(piece) > 1 and random.random() < 0.4:
            new = piece[:1] + _numbered(piece[1:], random)
        content = content[:start] + new + content[end:]
        shift = len(new) - len(piece)
        places = [place if place <= start else place + shift for place in places]
    return content


def mutated_tensors(content: bytes, random: Random) -> bytes:
    """Return a file of safetensors with damage in its header, of the right length, or with damaged bytes."""
    if random.random() < 0.4:
        return mutated(content, random)
    length = struct.unpack("<Q", content[:8])[0]
    header = mutated_json(content[8 : 8 + length], random)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def mutated_graph(content: bytes, random: Random) -> bytes:
    """Return an ONNX file with fields of its messages changed, or with damaged bytes."""
    import onnx

    if random.random() < 0.3:
        return mutated(content, random)
    model = onnx.load_from_string(content)
    for _ in range(random.choice([1, 1, 2, 4])):
        message, field = random.choice(list(_fields_of(model)))
        with suppress(ValueError, TypeError):  # some values do not fit the type of the field
            _change_field(message, field, random)
    try:
        return bytes(model.SerializeToString())
    except Exception:
        return mutated(content, random)


def damage_database(path: Path, random: Random) -> None:
    """Damage a SQLite file: its bytes, its values, its tables, what it says of itself, or the files beside it."""
    if random.random() < 0.3:
        path.write_bytes(mutated(path.read_bytes(), random))
        return
    with closing(sqlite3.connect(path, isolation_level=None)) as db, suppress(sqlite3.Error):
        for pragma in ("ignore_check_constraints = ON", "foreign_keys = OFF", "journal_mode = DELETE"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        for _ in range(random.choice([1, 1, 2, 3])):
            with suppress(sqlite3.Error, IndexError, UnicodeError):  # damaged before, empty, or no text for SQLite
                _damage_tables(db, random)
    if random.random() < 0.1:
        end = random.choice(["-wal", "-shm", "-journal"])
        path.with_name(path.name + end).write_bytes(random.randbytes(random.choice([0, 10, 4096])))


def _damage_tables(db: sqlite3.Connection, random: Random) -> None:
    tables = [
        row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 's%'")
    ]
    table = random.choice([*tables, "silhouettes"])
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    column, rows = random.choice(columns), [row[0] for row in db.execute(f"SELECT rowid FROM {table}")]
    match random.randrange(12):
        case 0:
            db.execute(f"PRAGMA {random.choice(['user_version', 'application_id'])} = {random.choice([-1, 0, 2, 999])}")
        case 1:
            db.execute(f"DELETE FROM {table} WHERE rowid = ?", (random.choice(rows),))
        case 2:
            change = random.choice([f"RENAME TO x{table}", f"RENAME COLUMN {column} TO x", f"DROP COLUMN {column}"])
            db.execute(random.choice([f"DROP TABLE {table}", f"ALTER TABLE {table} {change}"]))
        case 3:
            action = random.choice(["SELECT raise(ABORT, 'no')", f"DELETE FROM {table}", "UPDATE person SET name = 1"])
            event = random.choice(["INSERT", "UPDATE", "DELETE"])
            db.execute(f"CREATE TRIGGER t AFTER {event} ON {table} BEGIN {action}; END")
        case 4:
            db.execute(f"CREATE UNIQUE INDEX i ON {table} ({column})")
        case _:
            sizes = f"SELECT {column} FROM {table} WHERE rowid = ?"
            row = random.choice(rows)
            old = db.execute(sizes, (row,)).fetchone()[0]
            new = random.choice([*_VALUES, 7, 10**12, b"", b"\xff" * 40, zlib.compress(bytes(1 << 24)), "malformed"])
            if isinstance(old, bytes) and random.random() < 0.6:
                new = random.choice([mutated(old, random), zlib.compress(mutated(b"\0" * 999, random)), old[::2]])
            if isinstance(old, str) and random.random() < 0.5:
                new = mutated_json(old.encode(), random)
                new = new if random.random() < 0.3 else new.decode("utf-8", "replace")
            if isinstance(new, int) and not isinstance(new, bool) and new.bit_length() > 63:
                new = float(new)
            new = json.dumps(new) if isinstance(new, list | dict) else new
            db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new, row))


def _damage_of(name: str) -> Callable[[bytes, Random], bytes]:
    """Return how a member of an archive is damaged, by its name."""
    ends = {".npy": mutated_npy, ".json": mutated_json, ".pkl": mutated_pickle}
    return next((damage for end, damage in ends.items() if name.endswith(end)), mutated)


def _change_in(root: list[Any], random: Random) -> None:
    """Change one thing in a tree of JSON, as often near its root as deep inside."""
    holders = [root, *(node for node in _nodes(root[0]) if isinstance(node, list | dict) and node)]
    holder: Any = random.choice(holders)
    key = random.randrange(len(holder)) if isinstance(holder, list) else random.choice(list(holder))
    match random.randrange(8):
        case 0 if holder is not root:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[str(random.choice(_VALUES))[:50]] = holder.pop(key)
        case 2 if isinstance(holder, list) and holder is not root:
            holder.insert(key, deepcopy(holder[key]))
        case 3:
            value: Any = 0
            for _ in range(random.choice([3, 200])):
                value = [value] if random.random() < 0.5 else {"a": value}
            holder[key] = value
        case 4 if isinstance(holder[key], str):
            holder[key] = mutated(holder[key].encode("utf-8", "surrogatepass"), random).decode("utf-8", "replace")
        case 5 if isinstance(holder[key], int | float):
            holder[key] = random.choice([-holder[key], holder[key] + 1, holder[key] * 1000, str(holder[key])])
        case _:
            holder[key] = deepcopy(random.choice(_VALUES))  # it may be changed itself


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    if isinstance(node, list | dict):
        for inner in node if isinstance(node, list) else node.values():
            yield from _nodes(inner)


def _fields_of(message: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every field that is set in a protobuf message and in those inside of it."""
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is not None:
            for inner in value if hasattr(value, "__len__") else [value]:
                if hasattr(inner, "ListFields"):
                    yield from _fields_of(inner)


def _change_field(message: Any, field: Any, random: Random) -> None:
    value = getattr(message, field.name)
    if random.random() < 0.15:
        message.ClearField(field.name)
    elif field.message_type is not None:
        if not hasattr(value, "add"):
            message.ClearField(field.name)
            return
        place, chance = random.randrange(len(value)), random.random()
        if chance < 0.3:
            del value[place]
        elif chance < 0.6:
            value.add().CopyFrom(value[place])
        else:
            value[place].CopyFrom(value[random.randrange(len(value))])
    elif hasattr(value, "append"):
        place = random.randrange(len(value))
        if random.random() < 0.2:
            value.append(value[place])
        else:
            value[place] = _other(value[place], random)
    else:
        setattr(message, field.name, _other(value, random))


def _other(value: Any, random: Random) -> Any:
    """Return another value of the same type, for a field of a message."""
    if isinstance(value, bytes):
        return mutated(value, random)
    if isinstance(value, str):
        return random.choice(["", "x", "é" * 200, "Loop", "If", "MatMul", "Expand", "\x00", "y", "..", value * 2])
    if isinstance(value, float):
        return random.choice([0.0, -1.0, 1e30, float("nan"), float("inf")])
    return random.choice([0, 1, -1, 2, 7, 100_000, 2**31 - 1, 2**40, value + 1])


def _place(content: bytes | bytearray, random: Random) -> int:
    """Return a place, as often near the beginning or end, where headers and indices are, as anywhere."""
    last = max(0, len(content) - 1)
    near = min(last, 512)
    return random.choice([random.randint(0, last), random.randint(0, near), last - random.randint(0, near)])


def _flipped(content: bytes, random: Random) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(random.choice([1, 1, 8, 64])):
        changed[_place(changed, random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def _numbered(content: bytes, random: Random) -> bytes:
    place, size = _place(content, random), random.choice("BHIQ")
    number = random.choice(_NUMBERS) % (1 << 8 * struct.calcsize(size))
    written = struct.pack(random.choice("<>") + size, number)
    return content[:place] + written + content[place + len(written) :]


def _noisy(content: bytes, random: Random) -> bytes:
    place, length = _place(content, random), random.choice([4, 64, 1024])
    return content[:place] + random.randbytes(length) + content[place + length :]


def _cut(content: bytes, random: Random) -> bytes:
    return content[: _place(content, random)]


def _without(content: bytes, random: Random) -> bytes:
    place = _place(content, random)
    return content[:place] + content[place + random.choice([1, 16, 4096]) :]


def _repeated(content: bytes, random: Random) -> bytes:
    place, length = _place(content, random), random.choice([1, 64, 4096])
    return content[:place] + content[place : place + length] * random.choice([2, 9]) + content[place + length :]


def _zeroed(content: bytes, random: Random) -> bytes:
    place, length = _place(content, random), random.choice([8, 512])
    return content[:place] + bytes(length) + content[place + length :]
