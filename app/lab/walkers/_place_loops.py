"""The compiled loops that draw places. Only `app.lab.walkers.background` imports this.

Colours are tuples (blue, green, red); `blur` is how many m of a surface a pixel shows. A wall is a row of 12 numbers:
axis (0: across x, 1: across y), its place on that axis, start and end on the other one, bottom and top, kind, blue,
green, red, seed, option.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"

from __future__ import annotations

import numpy as np
from numba import njit

from app.lab.walkers._noise import hashed, noise, turbulence


@njit(cache=True, fastmath=True)
def _times(colour, factor):
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


@njit(cache=True, fastmath=True)
def _mixed(colour, other, share):
    keep = 1 - share
    return (
        colour[0] * keep + other[0] * share, colour[1] * keep + other[1] * share, colour[2] * keep + other[2] * share
    )  # fmt: skip


@njit(cache=True, fastmath=True)
def _joint(x, period, width, blur):
    """1 in the joints of a grid of `period`, softened by `blur`."""
    d = abs(x / period - np.floor(x / period + 0.5)) * period
    edge = max(blur, 0.004)
    return min(1.0, max(0.0, (width / 2 + edge / 2 - d) / edge)) * min(1.0, width / edge + 0.15)


@njit(cache=True, fastmath=True)
def _sharp(size, blur):
    """How much of a detail of `size` m is still to be seen, 0 to 1."""
    return min(1.0, size / max(blur, 0.01))


@njit(cache=True, fastmath=True, inline="always")
def _floor(floor, x, y, blur):
    """Colour of the floor at `x`, `y`: tiles indoors (kind 2), or slabs (0), or a way of slabs through grass (1)."""
    kind, colour, size = int(floor[0]), (floor[1], floor[2], floor[3]), floor[6]
    beside = abs(y - floor[4]) - floor[5]
    if kind == 1 and beside > 0:
        if beside < 0.12:  # the kerb
            return 0.62, 0.63, 0.64
        blades = noise(x * 16.0, y * 16.0) * _sharp(0.03, blur) + 0.5 * (1 - _sharp(0.03, blur))
        return _times((0.20, 0.44, 0.33), 0.62 + 0.35 * turbulence(x * 0.35, y * 0.35) + 0.30 * blades)
    row = np.floor(y / size)
    if kind == 2:  # polished tiles, in two tones
        joint = max(_joint(x, size, 0.012, blur), _joint(y, size, 0.012, blur))
        tone = 0.015 * ((np.floor(x / size) + row) % 2)
        return _times(colour, 0.99 + 0.04 * (noise(x * 2.0, y * 2.0) - 0.5) + tone - 0.20 * joint)
    tone = 0.90 + 0.16 * (turbulence(x * 0.55, y * 0.55) - 0.5)
    grain = (noise(x * 42.0, y * 42.0) - 0.5) * 0.13 * min(1.0, 0.016 / max(blur, 0.004))
    x += 0.5 * size * (row % 2)
    joint = max(_joint(y, size, 0.018, blur), _joint(x + size / 2, size, 0.018, blur))
    slab = (hashed(np.floor((x + size) / size), row) - 0.5) * 0.07
    return _times(colour, tone + grain + slab - 0.26 * joint)


@njit(cache=True, fastmath=True)
def _house(wall, u, z, height, length, blur):
    """A house front, of bricks or not, with a row of windows and doors on every floor."""
    if z > height - 0.28:
        return 0.66, 0.67, 0.68
    seed = wall[10]
    f = 0.94 + 0.10 * (turbulence(u * 0.4 + seed, z * 0.4) - 0.5)
    if wall[11] > 0.5:  # bricks
        course = np.floor(z / 0.085)
        across = u + 0.12 * (course % 2)
        joint = max(_joint(z, 0.085, 0.014, blur), _joint(across, 0.24, 0.014, blur))
        f += 0.16 * (hashed(np.floor(across / 0.24), course) - 0.5) * _sharp(0.05, blur)
        f -= 0.12 * (0.3 + 0.7 * joint) * _sharp(0.06, blur)
    colour = _times((wall[7], wall[8], wall[9]), f)
    bay, floor_height = np.floor(u / 2.6), np.floor(z / 3.1)
    du, dz = abs(u - bay * 2.6 - 1.3), z - floor_height * 3.1
    if z < height - 0.5 and bay >= 0 and (bay + 1) * 2.6 <= length:
        is_door = floor_height == 0 and hashed(bay + seed, 3) > 0.62
        low = 0.12 if is_door else 0.95
        if du < 0.72 and low - 0.08 < dz < 2.48:
            if dz < low:  # the sill
                colour = 0.62, 0.63, 0.63
            elif du > 0.64 or dz > 2.40 or du < 0.025:  # the frame
                colour = 0.86 * 0.98, 0.86, 0.86
            elif is_door:
                colour = (0.27, 0.33, 0.41) if 0.35 < dz < 2.1 and du < 0.45 else (0.22, 0.27, 0.33)
            else:
                s = 0.30 + 0.35 * noise(u * 0.6 + z * 0.25, z * 0.5 + seed) + 0.10 * (dz - 1.0)
                if hashed(bay, floor_height + seed) > 0.6 and du > 0.30:  # a curtain
                    s = 0.70 + 0.06 * np.sin(u * 55.0)
                colour = s * 1.02, s * 0.97, s * 0.90
    return _times(colour, 0.74) if z < 0.45 else colour


@njit(cache=True, fastmath=True)
def _indoor_wall(wall, u, z, height, length):
    """A wall with doors and pictures."""
    if z < 0.11:
        return 0.35, 0.37, 0.40
    seed = wall[10]
    f = 1.0 + 0.03 * (turbulence(u * 0.3 + seed, z * 0.5) - 0.5) - 0.10 * max(0.0, 0.6 - z) + 0.05 * (z / height)
    bay = np.floor(u / 4.2)
    du = u - bay * 4.2 - 2.1
    what = hashed(bay + seed, 7)
    if bay >= 0 and (bay + 1) * 4.2 <= length:
        if what < 0.42 and abs(du) < 0.55 and z < 2.16:
            if abs(du) >= 0.48 or z >= 2.09:
                return 0.46, 0.54, 0.62
            if abs(du - 0.40) < 0.03 and abs(z - 1.03) < 0.05:  # the handle
                return 0.75, 0.77, 0.78
            return _times((0.34, 0.46, 0.58), 0.98 - 0.05 * (abs(abs(du) - 0.25) < 0.012))
        if what < 0.8 and abs(du) < 0.62 and 1.2 < z < 2.1:
            if abs(du) >= 0.58 or z <= 1.24 or z >= 2.06:
                return 0.25, 0.26, 0.27
            c = turbulence(u * 1.3 + 31.0 * what, z * 1.7)
            d = turbulence(u * 0.9 + 77.0 * what, z * 1.1 + 5.0)
            return 0.45 + 0.4 * c, 0.35 + 0.5 * d, 0.40 + 0.5 * (1 - c)
    return _times((wall[7], wall[8], wall[9]), f)


@njit(cache=True, fastmath=True)
def _glass(seed, u, z, height):
    """A glass front with a hedge behind it."""
    post = u / 1.6 - np.floor(u / 1.6)
    if z < 0.25 or post < 0.045 or abs(z - 2.5) < 0.05 or z > height - 0.15:
        return 0.36, 0.36, 0.36
    if z < 1.4 + 0.8 * turbulence(u * 0.5 + seed, 3.0):
        return 0.50, 0.66, 0.60
    return _times((1.0, 0.98, 0.94), 0.80 + 0.18 * turbulence(u * 0.3 + seed, z * 0.4))


@njit(cache=True, fastmath=True)
def _wall(wall, u, z, blur):
    """Whether a wall is there, and its colour, `u` m along it and `z` m above its bottom."""
    height, length, kind = wall[5] - wall[4], wall[3] - wall[2], int(wall[6])
    colour, seed = (wall[7], wall[8], wall[9]), wall[10]
    if kind == 0:
        return True, _house(wall, u, z, height, length, blur)
    if kind == 4:
        return True, _indoor_wall(wall, u, z, height, length)
    if kind == 5:
        return True, _glass(seed, u, z, height)
    if kind == 3:  # a trunk or a post
        f = 0.75 + 0.35 * np.sin(np.pi * min(1.0, max(0.0, u / length))) + 0.15 * noise(u * 40.0 + seed, z * 3.0) - 0.1
        return True, _times(colour, f)
    leaf = turbulence(u * 3.1 + seed, z * 3.1)
    speck = noise(u * 15.0 + seed, z * 15.0)
    if kind == 1:  # a hedge
        f = 0.42 + 0.50 * leaf + 0.34 * speck * _sharp(0.05, blur) + 0.12 * z / height
        return z <= height - 0.35 * leaf - 0.1, _times(colour, f)
    # The crown of a tree.
    p, q = (u - length / 2) / (length / 2), (z - height * 0.5) / (height * 0.5)
    d = np.sqrt(p * p + q * q) + 0.75 * (turbulence(u * 1.1 + seed, z * 1.1) - 0.5) + 0.3 * (speck - 0.5)
    return d <= 0.88, _times(colour, 0.50 + 0.45 * leaf + 0.30 * speck + 0.25 * q - 0.10 * p)


@njit(cache=True, fastmath=True, inline="always")
def _sky(dx, dy, dz, sky):
    up = min(1.0, max(0.0, dz) * 1.8)
    cloud = 0.0
    if dz > 0:
        cloud = turbulence(dx / (dz + 0.35) * 1.6 + 3.0, dy / (dz + 0.35) * 2.4)
        cloud = min(1.0, max(0.0, (cloud - 0.47) * 3.2)) * min(1.0, dz * 6.0)
    b, g, r = _times(_mixed((sky[0, 0], sky[0, 1], sky[0, 2]), (sky[1, 0], sky[1, 1], sky[1, 2]), up), 1 - 0.6 * cloud)
    return b + 0.57 * cloud, g + 0.57 * cloud, r + 0.57 * cloud


@njit(cache=True, fastmath=True)
def _ceiling(x, y):
    """Panels with lamps."""
    if abs(x / 2.4 - np.floor(x / 2.4) - 0.5) < 0.13 and abs(y / 2.4 - np.floor(y / 2.4) - 0.5) < 0.30:
        return 0.98, 0.98, 0.98
    tone = 0.80 - 0.10 * max(_joint(x, 0.6, 0.02, 0.02), _joint(y, 0.6, 0.02, 0.02))
    return tone, tone, tone


@njit(cache=True, fastmath=True, inline="always")
def _hit(origin, way, focal, walls, floor, ceiling, sky, sun):
    """What a ray meets first: how far away, its colour, and whether it is the floor."""
    (ox, oy, oz), (dx, dy, dz) = origin, way
    on_floor = False
    if dz < -1e-5:
        best, on_floor = -oz / dz, True
        colour = _floor(floor, ox + best * dx, oy + best * dy, best / focal / max(0.12, -dz))
    elif ceiling > 0 and dz > 1e-5:
        best = (ceiling - oz) / dz
        colour = _ceiling(ox + best * dx, oy + best * dy)
    else:
        best, colour = 300.0, _sky(dx, dy, dz, sky)
    for w in range(len(walls)):
        wall = walls[w]
        across, start, along, slope = (dx, ox, oy, dy) if wall[0] < 0.5 else (dy, oy, ox, dx)
        if abs(across) < 1e-6:
            continue
        t = (wall[1] - start) / across
        along += t * slope
        z = oz + t * dz
        if t <= 0.05 or t >= best or along < wall[2] or along > wall[3] or z < wall[4] or z > wall[5]:
            continue
        is_there, surface = _wall(wall, along - wall[2], z - wall[4], t / focal)
        if is_there:
            best, on_floor = t, False
            colour = _times(surface, 0.86 + 0.22 * abs(sun[0] if wall[0] < 0.5 else sun[1]))
    return best, colour, on_floor


@njit(cache=True, fastmath=True, inline="always")
def _seen(origin, way, focal, walls, floor, ceiling, sky, sun):
    """Colour along a ray, with haze outdoors and, on a polished floor, one reflection."""
    total, weight, travelled = (0.0, 0.0, 0.0), 1.0, 0.0
    for bounce in range(2):
        distance, colour, on_floor = _hit(origin, way, focal, walls, floor, ceiling, sky, sun)
        if ceiling <= 0 and distance < 299:
            haze = 1.0 - np.exp(-(distance + travelled) / 240.0)
            colour = _mixed(colour, (sky[0, 0], sky[0, 1], sky[0, 2]), haze)
        dx, dy, dz = way
        shine = floor[7] * (0.35 + 0.65 * (1.0 + dz) ** 3) if on_floor and bounce == 0 else 0.0
        share = weight * (1 - shine)
        total = total[0] + share * colour[0], total[1] + share * colour[1], total[2] + share * colour[2]
        if shine <= 0.01:
            break
        weight *= shine
        travelled = distance
        x, y = origin[0] + distance * dx, origin[1] + distance * dy
        origin = x, y, 1e-3
        rough = 0.03  # the floor is not quite even
        way = (
            dx + rough * (noise(x * 90.0, y * 90.0) - 0.5), dy + rough * (noise(x * 90.0 + 40.0, y * 90.0) - 0.5), -dz
        )  # fmt: skip
    return total


@njit(cache=True, fastmath=True)
def backdrop(rotation, eye, focal, middle_x, middle_y, fine, walls, floor, ceiling, sky, sun, out):
    """Look along `fine` x `fine` rays for every pixel: floor, walls, ceiling or sky, whatever comes first.

    `walls` (W, 12). `floor` (8,): kind, blue, green, red, the way's middle y and half width, size of the tiles, gloss.
    `ceiling` is its height in m, or 0. `sky` (2, 3): horizon and zenith.
    """
    origin = eye[0], eye[1], eye[2]
    share = 1.0 / (fine * fine)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            b = g = r = 0.0
            for s in range(fine * fine):
                px = x + (s % fine + 0.5) / fine - middle_x
                py = y + (s // fine + 0.5) / fine - middle_y
                dx = rotation[0, 0] * px + rotation[1, 0] * py + rotation[2, 0] * focal
                dy = rotation[0, 1] * px + rotation[1, 1] * py + rotation[2, 1] * focal
                dz = rotation[0, 2] * px + rotation[1, 2] * py + rotation[2, 2] * focal
                way = _times((dx, dy, dz), 1.0 / np.sqrt(dx * dx + dy * dy + dz * dz))
                colour = _seen(origin, way, focal, walls, floor, ceiling, sky, sun)
                b, g, r = b + colour[0], g + colour[1], r + colour[2]
            out[y, x, 0] = min(1.0, b * share)
            out[y, x, 1] = min(1.0, g * share)
            out[y, x, 2] = min(1.0, r * share)
