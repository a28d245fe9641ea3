"""Damage as files come by it, and as somebody would do it who means harm."""

from __future__ import annotations

import struct
from random import Random

_NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 62, (1 << 64) - 1]
_HOSTILE = [
    *("-1", "0", "1e999", ".nan", "null", "[]", "{}", "~", "''", "!!python/object:os.system x", "2026-13-01", "true"),
    *("9" * 5000, "&a [*a]", "[" * 3000, "{a: " * 3000, '"\\0"', '"\\ud800"', "- " * 3000, "<<: *x", "\t", "%YAML 9.9"),
]


def mutated(content: bytes, random: Random) -> bytes:
    """Return `content` with one to four pieces of damage."""
    for _ in range(random.choice([1, 1, 2, 4])):
        content = random.choice([_flipped, _numbered, _noisy, _cut, _without, _repeated, _zeroed])(content, random)
    return content


def mutated_text(content: bytes, random: Random) -> bytes:
    """Return a text with values replaced, lines repeated or moved, or damaged bytes."""
    if random.random() < 0.3:
        return mutated(content, random)
    lines = content.decode().splitlines()
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(lines))
        key, colon, _ = lines[place].partition(":")
        match random.randrange(4):
            case 0:
                lines[place] = f"{key}{colon} {random.choice(_HOSTILE)}"
            case 1:
                lines[place] = random.choice(_HOSTILE)
            case 2:
                lines.insert(random.randrange(len(lines)), lines[place])
            case 3:
                lines[place] = lines[place].replace(key.strip() or "x", random.choice(_HOSTILE)[:40], 1)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _place(content: bytes, random: Random) -> int:
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
