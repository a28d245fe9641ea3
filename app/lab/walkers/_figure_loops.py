"""The compiled loops that draw figures. Only `app.lab.walkers.renderer` imports this."""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"

from __future__ import annotations

import numpy as np
from numba import njit

from app.lab.walkers._noise import noise


@njit(cache=True, fastmath=True)
def skin(vertices, normals, bones, shares, transforms, out_vertices, out_normals):
    """Linear blend skinning; normals are turned by the blended matrix and made unit again.

    The sums are written out because loops over the rows took half as long again.
    """
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
    for n in range(len(vertices)):
        screen[n, 0] = (screen[n, 0] - left) * scale
        screen[n, 1] = (screen[n, 1] - low_y) * scale
    return scale, left, low_y


@njit(cache=True, fastmath=True, inline="always")
def _centres(first, second, third, count):
    """First and last of `count` pixels whose centres lie between the smallest and the largest of three numbers."""
    low, high = min(first, second, third) - 0.5, max(first, second, third) - 0.5
    return max(0, int(np.ceil(low))), min(count - 1, int(np.floor(high)))


@njit(cache=True, fastmath=True, inline="always")
def _second_share(row, u, v):
    """How much of the material's second colour shows at `u`, `v`; the numbers of the patterns are the renderer's."""
    pattern, period, duty = int(row[6]), row[7], row[8]
    if pattern == 0:
        return 0.0
    if pattern <= 3:  # rows, columns, and both
        across = 1.0 if pattern != 2 and (v / period) % 1.0 < duty else 0.0
        along = 1.0 if pattern != 1 and (u / period) % 1.0 < duty else 0.0
        return 0.5 * (across + along) if pattern == 3 else across + along
    if pattern == 4:  # hair
        return noise(u * 160.0, v * 14.0)
    if pattern == 5:  # denim: worn where it bends, grainy
        return 0.55 * noise(u * 9.0, v * 4.0) + 0.25 * noise(u * 220.0, v * 160.0)
    return 0.5 * noise(u * 28.0, v * 28.0)  # skin: a little red here and there


@njit(cache=True, fastmath=True, inline="always")
def _creases(u, v):
    return noise(u * 11.0, v * 26.0) + 0.6 * noise(u * 25.0 + 7.0, v * 52.0)


@njit(cache=True, fastmath=True, inline="always")
def _light(row, u, v, nx, ny, nz, wx, wy, wz, height, sun, direct, ambient):
    """Brightness and gloss of a material at `u`, `v`, with the normal n and the way w to the eye, `height` m up."""
    if nx * wx + ny * wy + nz * wz < 0:  # the inside of a sleeve or skirt
        nx, ny, nz = -nx, -ny, -nz
    fold = row[9]
    if fold > 0.0:  # the normal leans along a stretched noise, mostly across the limb
        here = _creases(u, v)
        across, along = _creases(u + 0.012, v) - here, _creases(u, v + 0.012) - here
        nz += fold * along
        nx += fold * across * 0.7
        ny += fold * across * 0.7
    norm = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-9)
    nx, ny, nz = nx * norm, ny * norm, nz * norm
    # Half of the wrap of a big soft lamp; open ground lights from below, less near the floor.
    soft = max(0.0, (nx * sun[0] + ny * sun[1] + nz * sun[2] + 0.25) / 1.25)
    below = 0.72 + 0.28 * nz - 0.10 * max(0.0, 0.5 - height)
    shade = ambient * below + direct * soft
    if row[10] <= 0.0:
        return shade, 0.0
    wn = 1.0 / np.sqrt(wx * wx + wy * wy + wz * wz + 1e-9)
    hx, hy, hz = sun[0] + wx * wn, sun[1] + wy * wn, sun[2] + wz * wn
    hn = 1.0 / np.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
    return shade, row[10] * direct * max(0.0, (nx * hx + ny * hy + nz * hz) * hn) ** 24


@njit(cache=True, fastmath=True)
def paint(screen, vertices, normals, uv, faces, material, materials, eye, sun, direct, ambient, depth, colour):
    """Fill `depth` and `colour` with the nearest surface; both sides of a face are seen."""
    rows, columns = depth.shape
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if screen[a, 2] < 0.1 or screen[b, 2] < 0.1 or screen[c, 2] < 0.1:
            continue
        ax, ay, bx, by, cx, cy = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        x0, x1 = _centres(ax, bx, cx, columns)
        y0, y1 = _centres(ay, by, cy, rows)
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
                shade, spark = _light(row, u, v, nx, ny, nz, wx, wy, wz, eye[2] - wz, sun, direct, ambient)
                share = _second_share(row, u, v)
                for channel in range(3):
                    base = row[channel] * (1 - share) + row[3 + channel] * share
                    colour[y, x, channel] = min(1.0, base * shade + spark)


@njit(cache=True, fastmath=True)
def label(screen, faces, parts, depth, labels):
    """Fill `depth` and `labels` with the part of the nearest surface at the pixels' centres."""
    rows, columns = depth.shape
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if screen[a, 2] < 0.1 or screen[b, 2] < 0.1 or screen[c, 2] < 0.1:
            continue
        ax, ay, bx, by, cx, cy = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        inverse = 1.0 / area
        x0, x1 = _centres(ax, bx, cx, columns)
        y0, y1 = _centres(ay, by, cy, rows)
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
                if z < depth[y, x]:
                    depth[y, x] = z
                    labels[y, x] = parts[f]


@njit(cache=True, fastmath=True)
def fill(screen, faces, mask):
    """Set the pixels of `mask` whose centres lie in a projected face to 255."""
    rows, columns = mask.shape
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if screen[a, 2] < 0.1 or screen[b, 2] < 0.1 or screen[c, 2] < 0.1:
            continue
        ax, ay, bx, by, cx, cy = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        x0, x1 = _centres(ax, bx, cx, columns)
        y0, y1 = _centres(ay, by, cy, rows)
        if x1 < x0 or y1 < y0:
            continue
        if (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) < 0:
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
