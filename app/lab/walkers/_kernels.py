"""The compiled loops of the renderer. Only `app.lab.walkers.renderer` and `app.lab.walkers.background` import this."""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, fastmath=True)
def skin(vertices, normals, bones, shares, transforms, out_vertices, out_normals):
    """Linear blend skinning; normals are turned by the blended matrix and made unit again."""
    for n in range(len(vertices)):
        a00 = a01 = a02 = a03 = a10 = a11 = a12 = a13 = a20 = a21 = a22 = a23 = np.float32(0.0)
        for k in range(4):
            w = shares[n, k]
            if w > 0:
                m = transforms[bones[n, k]]
                a00 += w * m[0, 0]
                a01 += w * m[0, 1]
                a02 += w * m[0, 2]
                a03 += w * m[0, 3]
                a10 += w * m[1, 0]
                a11 += w * m[1, 1]
                a12 += w * m[1, 2]
                a13 += w * m[1, 3]
                a20 += w * m[2, 0]
                a21 += w * m[2, 1]
                a22 += w * m[2, 2]
                a23 += w * m[2, 3]
        x, y, z = vertices[n, 0], vertices[n, 1], vertices[n, 2]
        out_vertices[n, 0] = a00 * x + a01 * y + a02 * z + a03
        out_vertices[n, 1] = a10 * x + a11 * y + a12 * z + a13
        out_vertices[n, 2] = a20 * x + a21 * y + a22 * z + a23
        x, y, z = normals[n, 0], normals[n, 1], normals[n, 2]
        p = a00 * x + a01 * y + a02 * z
        q = a10 * x + a11 * y + a12 * z
        r = a20 * x + a21 * y + a22 * z
        s = np.float32(1.0) / np.sqrt(p * p + q * q + r * r + np.float32(1e-12))
        out_normals[n, 0] = p * s
        out_normals[n, 1] = q * s
        out_normals[n, 2] = r * s


@njit(cache=True, fastmath=True)
def _hash(i, j):
    h = (i * np.int64(374761393) + j * np.int64(668265263)) & np.int64(0xFFFFFFFF)
    h = ((h ^ (h >> np.int64(13))) * np.int64(1274126177)) & np.int64(0xFFFFFFFF)
    return ((h ^ (h >> np.int64(16))) & np.int64(0xFFFF)) / 65535.0


@njit(cache=True, fastmath=True)
def noise(x, y):
    """Smooth value noise, 0 to 1, one bump per unit."""
    i, j = np.int64(np.floor(x)), np.int64(np.floor(y))
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    bottom = _hash(i, j) * (1 - u) + _hash(i + 1, j) * u
    top = _hash(i, j + 1) * (1 - u) + _hash(i + 1, j + 1) * u
    return bottom * (1 - v) + top * v


@njit(cache=True, fastmath=True)
def _second_share(row, u, v):
    """How much of the material's second colour shows at `u`, `v`."""
    pattern, period, duty = int(row[6]), row[7], row[8]
    if pattern == 1:
        return 1.0 if (v / period) % 1.0 < duty else 0.0
    if pattern == 2:
        return 1.0 if (u / period) % 1.0 < duty else 0.0
    if pattern == 3:
        a = 0.5 if (v / period) % 1.0 < duty else 0.0
        return a + (0.5 if (u / period) % 1.0 < duty else 0.0)
    if pattern == 4:  # hair
        return noise(u * 160.0, v * 14.0)
    if pattern == 5:  # denim: worn where it bends, grainy
        return 0.55 * noise(u * 9.0, v * 4.0) + 0.25 * noise(u * 220.0, v * 160.0)
    if pattern == 6:  # skin: a little red here and there
        return 0.5 * noise(u * 28.0, v * 28.0)
    return 0.0


@njit(cache=True, fastmath=True)
def paint(screen, vertices, normals, uv, faces, material, materials, eye, sun, direct, ambient, depth, colour):
    """Fill `depth` and `colour` with the nearest surface; both sides of a face are seen."""
    rows, columns = depth.shape
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if screen[a, 2] < 0.1 or screen[b, 2] < 0.1 or screen[c, 2] < 0.1:
            continue
        ax, ay, bx, by, cx, cy = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        x0 = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        x1 = min(columns - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        y0 = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        y1 = min(rows - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        if x1 < x0 or y1 < y0:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        inverse = 1.0 / area
        row = materials[material[f]]
        for y in range(y0, y1 + 1):
            py = y + 0.5
            for x in range(x0, x1 + 1):
                px = x + 0.5
                wb = ((px - ax) * (cy - ay) - (py - ay) * (cx - ax)) * inverse
                wc = ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) * inverse
                wa = 1.0 - wb - wc
                if wa < 0 or wb < 0 or wc < 0:
                    continue
                z = wa * screen[a, 2] + wb * screen[b, 2] + wc * screen[c, 2]
                if z >= depth[y, x]:
                    continue
                depth[y, x] = z
                u = wa * uv[a, 0] + wb * uv[b, 0] + wc * uv[c, 0]
                v = wa * uv[a, 1] + wb * uv[b, 1] + wc * uv[c, 1]
                nx = wa * normals[a, 0] + wb * normals[b, 0] + wc * normals[c, 0]
                ny = wa * normals[a, 1] + wb * normals[b, 1] + wc * normals[c, 1]
                nz = wa * normals[a, 2] + wb * normals[b, 2] + wc * normals[c, 2]
                wx = eye[0] - (wa * vertices[a, 0] + wb * vertices[b, 0] + wc * vertices[c, 0])
                wy = eye[1] - (wa * vertices[a, 1] + wb * vertices[b, 1] + wc * vertices[c, 1])
                wz = eye[2] - (wa * vertices[a, 2] + wb * vertices[b, 2] + wc * vertices[c, 2])
                height = eye[2] - wz
                if nx * wx + ny * wy + nz * wz < 0:  # the inside of a sleeve or skirt
                    nx, ny, nz = -nx, -ny, -nz
                fold = row[9]
                if fold > 0.0:
                    # Creases: the normal leans along a stretched noise, mostly across the limb.
                    e = 0.012
                    g = noise(u * 11.0, v * 26.0) + 0.6 * noise(u * 25.0 + 7.0, v * 52.0)
                    gu = noise((u + e) * 11.0, v * 26.0) + 0.6 * noise((u + e) * 25.0 + 7.0, v * 52.0) - g
                    gv = noise(u * 11.0, (v + e) * 26.0) + 0.6 * noise(u * 25.0 + 7.0, (v + e) * 52.0) - g
                    nz += fold * gv
                    nx += fold * gu * 0.7
                    ny += fold * gu * 0.7
                norm = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-9)
                nx, ny, nz = nx * norm, ny * norm, nz * norm
                lambert = nx * sun[0] + ny * sun[1] + nz * sun[2]
                # Half of the wrap of a big soft lamp; open ground lights from below, less near the floor.
                soft = max(0.0, (lambert + 0.25) / 1.25)
                below = 0.72 + 0.28 * nz - 0.10 * max(0.0, 0.5 - height)
                shade = ambient * below + direct * soft
                if row[10] > 0.0:
                    wn = 1.0 / np.sqrt(wx * wx + wy * wy + wz * wz + 1e-9)
                    hx, hy, hz = sun[0] + wx * wn, sun[1] + wy * wn, sun[2] + wz * wn
                    hn = 1.0 / np.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
                    spark = max(0.0, (nx * hx + ny * hy + nz * hz) * hn)
                    spark = row[10] * direct * spark**24
                else:
                    spark = 0.0
                share = _second_share(row, u, v)
                for channel in range(3):
                    base = row[channel] * (1 - share) + row[3 + channel] * share
                    colour[y, x, channel] = min(1.0, base * shade + spark)


@njit(cache=True, fastmath=True)
def shrink(depth, colour, fine, empty, coverage, small_colour, small_depth):
    """Mean of `fine` x `fine` samples: share covered, colour times that share, nearest depth."""
    rows, columns = coverage.shape
    weight = np.float32(1.0 / (fine * fine))
    for y in range(rows):
        for x in range(columns):
            count = 0
            b = g = r = np.float32(0.0)
            near = empty
            for j in range(y * fine, (y + 1) * fine):
                for i in range(x * fine, (x + 1) * fine):
                    if depth[j, i] < empty:
                        count += 1
                        b += colour[j, i, 0]
                        g += colour[j, i, 1]
                        r += colour[j, i, 2]
                        near = min(near, depth[j, i])
            coverage[y, x] = count * weight
            small_colour[y, x, 0] = b * weight
            small_colour[y, x, 1] = g * weight
            small_colour[y, x, 2] = r * weight
            small_depth[y, x] = near


@njit(cache=True, fastmath=True)
def fill(screen, faces, mask):
    """Set the pixels of `mask` whose centres lie in a projected face to 255."""
    rows, columns = mask.shape
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if screen[a, 2] < 0.1 or screen[b, 2] < 0.1 or screen[c, 2] < 0.1:
            continue
        ax, ay, bx, by, cx, cy = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        x0 = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        x1 = min(columns - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        if x1 < x0:
            continue
        y0 = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        y1 = min(rows - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        if y1 < y0:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area < 0:
            bx, by, cx, cy = cx, cy, bx, by
        for y in range(y0, y1 + 1):
            py = y + 0.5
            for x in range(x0, x1 + 1):
                if mask[y, x]:
                    continue
                px = x + 0.5
                if (
                    (bx - ax) * (py - ay) - (by - ay) * (px - ax) >= 0
                    and (cx - bx) * (py - by) - (cy - by) * (px - bx) >= 0
                    and (ax - cx) * (py - cy) - (ay - cy) * (px - cx) >= 0
                ):
                    mask[y, x] = 255


@njit(cache=True, fastmath=True)
def _turbulence(x, y):
    return 0.5 * noise(x, y) + 0.3 * noise(x * 2.1 + 5.0, y * 2.1) + 0.2 * noise(x * 4.3, y * 4.3 + 9.0)


@njit(cache=True, fastmath=True)
def _joint(x, period, width, blur):
    """1 in the joints of a grid of `period`, softened by `blur` m (how much of the floor a pixel sees)."""
    d = abs(x / period - np.floor(x / period + 0.5)) * period
    edge = max(blur, 0.004)
    return min(1.0, max(0.0, (width / 2 + edge / 2 - d) / edge)) * min(1.0, width / edge + 0.15)


@njit(cache=True, fastmath=True)
def _floor(kind, x, y, blur, base, second, out):
    """Colour of the floor at `x`, `y`."""
    if kind == 1 and abs(y - second[3]) > second[4]:  # beside the way: grass
        t = _turbulence(x * 0.35, y * 0.35)
        g = noise(x * 16.0, y * 16.0) * min(1.0, 0.03 / max(blur, 0.01)) + 0.5 * (1 - min(1.0, 0.03 / max(blur, 0.01)))
        f = 0.62 + 0.35 * t + 0.30 * g
        out[0], out[1], out[2] = 0.20 * f, 0.44 * f, 0.33 * f
        edge = abs(y - second[3]) - second[4]
        if edge < 0.12:  # the kerb
            out[0], out[1], out[2] = 0.62, 0.63, 0.64
        return
    tone = 0.90 + 0.16 * (_turbulence(x * 0.55, y * 0.55) - 0.5)
    fine = (noise(x * 42.0, y * 42.0) - 0.5) * 0.13 * min(1.0, 0.016 / max(blur, 0.004))
    if kind == 0 or kind == 1:  # slabs
        size = second[5]
        row = np.floor(y / size)
        shift = 0.5 * size * (row % 2)
        j = max(_joint(y, size, 0.018, blur), _joint(x + shift + size / 2, size, 0.018, blur))
        slab = (_hash(np.int64(np.floor((x + shift + size / 2 + size / 2) / size)), np.int64(row)) - 0.5) * 0.07
        f = tone + fine + slab - 0.26 * j
        for k in range(3):
            out[k] = base[k] * f
    elif kind == 2:  # polished tiles, in two tones
        size = second[5]
        a = (np.floor(x / size) + np.floor(y / size)) % 2
        j = max(_joint(x, size, 0.012, blur), _joint(y, size, 0.012, blur))
        f = 0.99 + 0.04 * (noise(x * 2.0, y * 2.0) - 0.5) + 0.015 * a - 0.20 * j
        for k in range(3):
            out[k] = base[k] * f
    else:  # asphalt
        patch = 1.0 - 0.06 * (noise(x * 0.3 + 11.0, y * 0.9) > 0.66)
        for k in range(3):
            out[k] = base[k] * (tone + 1.3 * fine) * patch


@njit(cache=True, fastmath=True)
def _wall(kind, u, z, height, length, blur, row, out):
    """Colour and opacity of a wall `u` m along it and `z` m high."""
    b, g, r, seed = row[8], row[9], row[10], row[11]
    if kind == 0:  # a house front
        f = 0.94 + 0.10 * (_turbulence(u * 0.4 + seed, z * 0.4) - 0.5)
        if row[12] > 0.5:  # bricks
            course = np.floor(z / 0.085)
            j = max(_joint(z, 0.085, 0.014, blur), _joint(u + 0.12 * (course % 2), 0.24, 0.014, blur))
            k = _hash(np.int64(np.floor((u + 0.12 * (course % 2)) / 0.24)), np.int64(course)) - 0.5
            f += 0.16 * k * min(1.0, 0.05 / max(blur, 0.01)) - 0.12 * (0.3 + 0.7 * j) * min(1.0, 0.06 / max(blur, 0.01))
        out[0], out[1], out[2] = b * f, g * f, r * f
        bay, floor_height = 2.6, 3.1
        iu, iz = np.floor(u / bay), np.floor(z / floor_height)
        du, dz = u - iu * bay - bay / 2, z - iz * floor_height
        if z < height - 0.5 and iu >= 0 and (iu + 1) * bay <= length:
            ground = iz == 0
            low = 0.12 if ground and _hash(np.int64(iu + seed), np.int64(3)) > 0.62 else 0.95
            if abs(du) < 0.72 and low - 0.08 < dz < 2.48:
                if abs(du) > 0.64 or dz < low or dz > 2.40 or abs(du) < 0.025:
                    w = 0.86
                    out[0], out[1], out[2] = w * 0.98, w, w
                    if dz < low:
                        out[0], out[1], out[2] = 0.62, 0.63, 0.63
                elif low < 0.5:
                    out[0], out[1], out[2] = 0.22, 0.27, 0.33
                    if 0.35 < dz < 2.1 and abs(du) < 0.45:
                        out[0], out[1], out[2] = 0.27, 0.33, 0.41
                else:
                    s = 0.30 + 0.35 * noise(u * 0.6 + z * 0.25, z * 0.5 + seed) + 0.10 * (dz - 1.0)
                    c = _hash(np.int64(iu), np.int64(iz + seed))
                    if c > 0.6 and abs(du) > 0.30:  # a curtain
                        s = 0.70 + 0.06 * np.sin(u * 55.0)
                    out[0], out[1], out[2] = s * 1.02, s * 0.97, s * 0.90
        if z < 0.45:
            out[0], out[1], out[2] = out[0] * 0.74, out[1] * 0.74, out[2] * 0.74
        if z > height - 0.28:
            out[0], out[1], out[2] = 0.66, 0.67, 0.68
        return 1.0
    if kind == 1 or kind == 2:  # a hedge, or the crown of a tree
        leaf = _turbulence(u * 3.1 + seed, z * 3.1)
        speck = noise(u * 15.0 + seed, z * 15.0)
        if kind == 1:
            if z > height - 0.35 * leaf - 0.1:
                return 0.0
            f = 0.42 + 0.50 * leaf + 0.34 * speck * min(1.0, 0.05 / max(blur, 0.01)) + 0.12 * z / height
        else:
            p, q = (u - length / 2) / (length / 2), (z - height * 0.5) / (height * 0.5)
            d = np.sqrt(p * p + q * q) + 0.75 * (_turbulence(u * 1.1 + seed, z * 1.1) - 0.5) + 0.3 * (speck - 0.5)
            if d > 0.88:
                return 0.0
            f = 0.50 + 0.45 * leaf + 0.30 * speck + 0.25 * q - 0.10 * p
        out[0], out[1], out[2] = b * f, g * f, r * f
        return 1.0
    if kind == 3:  # a trunk or a post
        f = 0.75 + 0.35 * np.sin(np.pi * min(1.0, max(0.0, u / length))) + 0.15 * noise(u * 40.0 + seed, z * 3.0) - 0.1
        out[0], out[1], out[2] = b * f, g * f, r * f
        return 1.0
    if kind == 4:  # a wall indoors, with doors and pictures
        f = 1.0 + 0.03 * (_turbulence(u * 0.3 + seed, z * 0.5) - 0.5) - 0.10 * max(0.0, 0.6 - z) + 0.05 * (z / height)
        out[0], out[1], out[2] = b * f, g * f, r * f
        bay = 4.2
        iu = np.floor(u / bay)
        du = u - iu * bay - bay / 2
        what = _hash(np.int64(iu + seed), np.int64(7))
        if iu >= 0 and (iu + 1) * bay <= length:
            if what < 0.42 and abs(du) < 0.55 and z < 2.16:
                out[0], out[1], out[2] = 0.46, 0.54, 0.62
                if abs(du) < 0.48 and z < 2.09:
                    f = 0.98 - 0.05 * (abs(abs(du) - 0.25) < 0.012)
                    out[0], out[1], out[2] = 0.34 * f, 0.46 * f, 0.58 * f
                    if abs(du - 0.40) < 0.03 and abs(z - 1.03) < 0.05:
                        out[0], out[1], out[2] = 0.75, 0.77, 0.78
            elif what < 0.8 and abs(du) < 0.62 and 1.2 < z < 2.1:
                out[0], out[1], out[2] = 0.25, 0.26, 0.27
                if abs(du) < 0.58 and 1.24 < z < 2.06:
                    c = _turbulence(u * 1.3 + 31.0 * what, z * 1.7)
                    d = _turbulence(u * 0.9 + 77.0 * what, z * 1.1 + 5.0)
                    out[0], out[1], out[2] = 0.45 + 0.4 * c, 0.35 + 0.5 * d, 0.40 + 0.5 * (1 - c)
        if z < 0.11:
            out[0], out[1], out[2] = 0.35, 0.37, 0.40
        return 1.0
    # A glass front.
    iu = u / 1.6 - np.floor(u / 1.6)
    if z < 0.25 or iu < 0.045 or abs(z - 2.5) < 0.05 or z > height - 0.15:
        out[0], out[1], out[2] = 0.36, 0.36, 0.36
        return 1.0
    s = 0.80 + 0.18 * _turbulence(u * 0.3 + seed, z * 0.4)
    out[0], out[1], out[2] = s, s * 0.98, s * 0.94
    if z < 1.4 + 0.8 * _turbulence(u * 0.5 + seed, 3.0):
        out[0], out[1], out[2] = 0.50, 0.66, 0.60
    return 1.0


@njit(cache=True, fastmath=True)
def backdrop(rotation, eye, focal, middle_x, middle_y, fine, walls, floor, ceiling, sky, sun, out):
    """Look along a ray for every sample: floor, walls, ceiling or sky, whatever comes first.

    `walls` (W, 13): axis, place, start, end, bottom, top, kind, opaque, b, g, r, seed, option. `floor` (10,): kind,
    b, g, r, way's middle y, way's half width, tile size, gloss, 0, 0. `ceiling` height or 0. `sky` (2, 3) horizon
    and zenith.
    """
    rows, columns = out.shape[0], out.shape[1]
    colour = np.zeros(3)
    hit_colour = np.zeros(3)
    base = np.array([floor[1], floor[2], floor[3]])
    second = np.array([0.0, 0.0, 0.0, floor[4], floor[5], floor[6]])
    for y in range(rows):
        for x in range(columns):
            total0 = total1 = total2 = 0.0
            for s in range(fine * fine):
                px = x + (s % fine + 0.5) / fine - middle_x
                py = y + (s // fine + 0.5) / fine - middle_y
                dx = rotation[0, 0] * px + rotation[1, 0] * py + rotation[2, 0] * focal
                dy = rotation[0, 1] * px + rotation[1, 1] * py + rotation[2, 1] * focal
                dz = rotation[0, 2] * px + rotation[1, 2] * py + rotation[2, 2] * focal
                n = 1.0 / np.sqrt(dx * dx + dy * dy + dz * dz)
                dx, dy, dz = dx * n, dy * n, dz * n
                ox, oy, oz = eye[0], eye[1], eye[2]
                weight = 1.0
                far = 0.0
                for bounce in range(2):
                    best = 1e9
                    what = 0
                    if dz < -1e-5:
                        best, what = -oz / dz, 1
                    elif ceiling > 0 and dz > 1e-5:
                        best, what = (ceiling - oz) / dz, 2
                    if what == 0:
                        up = min(1.0, max(0.0, dz) * 1.8)
                        cloud = _turbulence(dx / (dz + 0.35) * 1.6 + 3.0, dy / (dz + 0.35) * 2.4)
                        cloud = min(1.0, max(0.0, (cloud - 0.47) * 3.2)) * min(1.0, dz * 6.0) if dz > 0 else 0.0
                        for k in range(3):
                            colour[k] = (sky[0, k] * (1 - up) + sky[1, k] * up) * (1 - 0.6 * cloud) + 0.57 * cloud
                        best = 300.0
                    elif what == 2:
                        cx, cy = ox + best * dx, oy + best * dy
                        lamp = (
                            abs(cx / 2.4 - np.floor(cx / 2.4) - 0.5) < 0.13
                            and abs(cy / 2.4 - np.floor(cy / 2.4) - 0.5) < 0.30
                        )
                        line = max(_joint(cx, 0.6, 0.02, 0.02), _joint(cy, 0.6, 0.02, 0.02))
                        for k in range(3):
                            colour[k] = 0.98 if lamp else 0.80 - 0.10 * line
                    else:
                        blur = best / focal / max(0.12, -dz)
                        _floor(int(floor[0]), ox + best * dx, oy + best * dy, blur, base, second, colour)
                    wall_hit = False
                    for w in range(len(walls)):
                        row = walls[w]
                        if row[0] < 0.5:
                            if abs(dx) < 1e-6:
                                continue
                            t = (row[1] - ox) / dx
                            along = oy + t * dy
                        else:
                            if abs(dy) < 1e-6:
                                continue
                            t = (row[1] - oy) / dy
                            along = ox + t * dx
                        if t <= 0.05 or t >= best or along < row[2] or along > row[3]:
                            continue
                        z = oz + t * dz
                        if z < row[4] or z > row[5]:
                            continue
                        if (
                            _wall(
                                int(row[6]),
                                along - row[2],
                                z - row[4],
                                row[5] - row[4],
                                row[3] - row[2],
                                t / focal,
                                row,
                                hit_colour,
                            )
                            > 0.5
                        ):
                            best = t
                            wall_hit = True
                            side = 0.86 + 0.22 * abs(sun[0] if row[0] < 0.5 else sun[1])
                            for k in range(3):
                                colour[k] = hit_colour[k] * side
                    if ceiling <= 0 and best < 299:
                        haze = 1.0 - np.exp(-(best + far) / 240.0)
                        for k in range(3):
                            colour[k] = colour[k] * (1 - haze) + sky[0, k] * haze
                    shine = floor[7] if (what == 1 and not wall_hit and bounce == 0) else 0.0
                    shine *= 0.35 + 0.65 * (1.0 + dz) ** 3
                    total0 += weight * (1 - shine) * colour[0]
                    total1 += weight * (1 - shine) * colour[1]
                    total2 += weight * (1 - shine) * colour[2]
                    if shine <= 0.01:
                        break
                    weight *= shine
                    far = best
                    ox, oy, oz = ox + best * dx, oy + best * dy, 1e-3
                    dz = -dz
                    rough = 0.03
                    dx += rough * (noise(ox * 90.0, oy * 90.0) - 0.5)
                    dy += rough * (noise(ox * 90.0 + 40.0, oy * 90.0) - 0.5)
            scale = 1.0 / (fine * fine)
            out[y, x, 0] = min(1.0, total0 * scale)
            out[y, x, 1] = min(1.0, total1 * scale)
            out[y, x, 2] = min(1.0, total2 * scale)


@njit(cache=True, fastmath=True)
def window(vertices, rotation, eye, side, columns, screen):
    """Project a figure seen from `eye` into a window `side` rows high and `columns` wide, centred in it.

    Returns the pixels that one unit of the image plane (at focal length 1) takes, and the image-plane coordinates of
    the window's origin, so that keypoints can be placed alike.
    """
    low_x = low_y = 1e9
    high_x = high_y = -1e9
    for n in range(len(vertices)):
        x, y, z = vertices[n, 0] - eye[0], vertices[n, 1] - eye[1], vertices[n, 2] - eye[2]
        depth = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z
        u = (rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z) / depth
        v = (rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z) / depth
        screen[n, 0], screen[n, 1], screen[n, 2] = u, v, depth
        low_x, high_x = min(low_x, u), max(high_x, u)
        low_y, high_y = min(low_y, v), max(high_y, v)
    scale = side / (high_y - low_y)
    left = (low_x + high_x) / 2 - columns / 2 / scale
    top = low_y
    for n in range(len(vertices)):
        screen[n, 0] = (screen[n, 0] - left) * scale
        screen[n, 1] = (screen[n, 1] - top) * scale
    return scale, left, top
