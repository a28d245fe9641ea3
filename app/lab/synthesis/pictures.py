"""What cameras, compression and weather do to a picture: random degradations for training."""

from __future__ import annotations

import cv2
import numpy as np

from app.types import Floats, Image


def degrade(image: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """Return `image`, uint8 BGR (H, W, 3), of the same size with random light, colour, blur, noise and compression.

    `strength` scales how probable each degradation is; at 0 the picture stays as it is.
    """
    if rng.random() < 0.8 * strength:
        image = _light(image, rng)
    if rng.random() < 0.25 * strength:
        image = _coarse(image, rng)
    if rng.random() < 0.25 * strength:
        image = _blurred(image, rng)
    if rng.random() < 0.3 * strength:
        image = _noisy(image, rng)
    if rng.random() < 0.4 * strength:
        image = _compressed(image, rng)
    return image


def overlaid(image: Image, box: Floats, rng: np.random.Generator) -> Image:
    """Return `image`, uint8 BGR (H, W, 3), with what cameras and other programs draw into pictures.

    This is a frame around the person in `box` ((4,) px) or near it, with a word in a bar above, and sometimes the lines
    of another frame. A network must learn that a person's outline does not follow any of it.
    """
    drawn = image.copy()
    height, width = image.shape[:2]
    colour = _colour(rng)
    thickness = int(rng.choice([1, 1, 2, 2, 3]))
    if rng.random() < 0.8:
        reach = float(box[3] - box[1])
        left, top, right, bottom = (round(float(v)) for v in box + rng.normal(0, 0.02, 4) * reach)
        cv2.rectangle(drawn, (left, top), (right, bottom), colour, thickness, cv2.LINE_AA)
        if rng.random() < 0.6:
            word = "".join(rng.choice(list("0123456789abcdefgnoprstu-_:. "), int(rng.integers(1, 14))))
            scale = float(rng.uniform(0.25, 0.7))
            (across, down), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
            if rng.random() < 0.5:
                cv2.rectangle(drawn, (left, top - down - 4), (left + across, top), colour, cv2.FILLED)
                colour = _colour(rng)
            cv2.putText(drawn, word, (left, top - 2), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
    if rng.random() < 0.4:
        corner = rng.uniform(-0.5, 1, 2) * (width, height)
        size = rng.uniform(0.2, 1.2, 2) * (width, height)
        ends = np.round(np.concatenate([corner, corner + size])).astype(int).tolist()
        cv2.rectangle(drawn, ends[:2], ends[2:], _colour(rng), thickness, cv2.LINE_AA)
    return drawn


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """Draw a colour, half of the time a pure one, as programs choose."""
    blue, green, red = (rng.integers(0, 256, 3) if rng.random() < 0.5 else rng.choice([0, 255], 3)).tolist()
    return blue, green, red


def _light(image: Image, rng: np.random.Generator) -> Image:
    """Gamma, contrast, brightness and a colour cast, as one table per channel; sometimes less colour."""
    levels = np.arange(256, dtype=np.float32) / 255
    gamma, gain, lift = np.exp(rng.normal(0, 0.25)), np.exp(rng.normal(0, 0.2)), rng.normal(0, 0.08)
    cast = np.exp(rng.normal(0, 0.07, 3))
    table = np.stack([(levels**gamma - 0.5) * gain * tint + 0.5 + lift for tint in cast], axis=-1)
    changed = cv2.LUT(image, np.clip(table * 255, 0, 255).astype(np.uint8)[None])
    if rng.random() < 0.3:
        grey = cv2.cvtColor(cv2.cvtColor(changed, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        share = float(rng.uniform(0.2, 1.0))
        changed = cv2.addWeighted(grey, share, changed, 1 - share, 0)
    return np.asarray(changed, np.uint8)


def _coarse(image: Image, rng: np.random.Generator) -> Image:
    """A picture that was enlarged from fewer pixels."""
    height, width = image.shape[:2]
    scale = float(rng.uniform(0.35, 0.9))
    small = cv2.resize(image, (max(8, int(width * scale)), max(8, int(height * scale))), interpolation=cv2.INTER_AREA)
    method = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)[int(rng.choice(3, p=(0.6, 0.3, 0.1)))]
    return np.asarray(cv2.resize(small, (width, height), interpolation=method), np.uint8)


def _blurred(image: Image, rng: np.random.Generator) -> Image:
    """A picture out of focus, or of a moving camera."""
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.8))), np.uint8)
    length, angle = int(rng.integers(3, 8)), rng.uniform(0, np.pi)
    kernel = np.zeros((length, length), np.float32)
    middle, reach = (length - 1) / 2, (length - 1) / 2
    start = (round(middle - reach * np.cos(angle)), round(middle - reach * np.sin(angle)))
    end = (round(middle + reach * np.cos(angle)), round(middle + reach * np.sin(angle)))
    cv2.line(kernel, start, end, 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def _noisy(image: Image, rng: np.random.Generator) -> Image:
    """A sensor in the dark: noise that neighbouring pixels share in part."""
    noise = np.empty(image.shape, np.int16)
    cv2.setRNGSeed(int(rng.integers(2**31)))
    cv2.randn(noise, np.zeros(3), np.full(3, rng.uniform(2, 14)))
    if rng.random() < 0.5:
        noise = np.asarray(cv2.blur(noise, (2, 2)), np.int16)
    return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)


def _compressed(image: Image, rng: np.random.Generator) -> Image:
    """Blocks and smears of JPEG, which H.264 shares."""
    quality = int(rng.integers(18, 85))
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
