"""Synthetic forms of what goes wrong in generated pictures: melted detail, parts in wrong places, plastic surfaces.

Pure functions of an RGB picture, a severity in 0..1 and a random generator, as those of `distort.py`.
Lengths are stated for a picture with a short side of 512 and grow with the picture.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

Rng = np.random.Generator


def _scale(image: Image.Image) -> float:
    return min(image.size) / 512


def _field(image: Image.Image, cell: float, rng: Rng) -> np.ndarray:
    """A smooth random field float32 [H, W] of deviation about 1, with features of `cell` pixels."""
    shape = (max(2, int(np.ceil(image.height / cell)) + 1), max(2, int(np.ceil(image.width / cell)) + 1))
    coarse = Image.fromarray(rng.standard_normal(shape).astype(np.float32))
    return np.asarray(coarse.resize(image.size, Image.Resampling.BICUBIC))


def displace(image: Image.Image, dx: np.ndarray, dy: np.ndarray) -> Image.Image:
    """Each pixel [H, W] taken from dx, dy further on, bilinear; what lies outside repeats the border."""
    values = np.asarray(image, dtype=np.float32)
    height, width = values.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = np.clip(columns + dx, 0, width - 1.001), np.clip(rows + dy, 0, height - 1.001)
    left, top = x.astype(int), y.astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = values[top, left] * (1 - across) + values[top, right] * across
    lower = values[bottom, left] * (1 - across) + values[bottom, right] * across
    return Image.fromarray(np.clip(upper * (1 - down) + lower * down + 0.5, 0, 255).astype(np.uint8))


def melt(image: Image.Image, severity: float, rng: Rng) -> Image.Image:
    """Fine elastic displacement of 1 to 10 px, in cells of 10 to 40."""
    scale = _scale(image)
    cell, reach = rng.uniform(10, 40) * scale, (1 + 9 * severity) * scale
    return displace(image, reach * _field(image, cell, rng), reach * _field(image, cell, rng))


def swirl(image: Image.Image, severity: float, rng: Rng) -> Image.Image:
    """2 to 12 places turned about themselves, by up to 3 radians in the middle."""
    side = min(image.size)
    rows, columns = np.mgrid[0 : image.height, 0 : image.width].astype(np.float32)
    dx, dy = np.zeros_like(rows), np.zeros_like(rows)
    for _ in range(int(2 + 10 * severity)):
        x, y = columns - rng.uniform(0, image.width), rows - rng.uniform(0, image.height)
        distance = np.sqrt(x * x + y * y) / (rng.uniform(0.06, 0.2) * side)
        inside = distance < 1
        turn = rng.choice([-1, 1]) * (0.5 + 2.5 * severity) * (1 - distance) ** 2 * inside
        cosine, sine = np.cos(turn), np.sin(turn)
        dx += inside * (x * cosine - y * sine - x)
        dy += inside * (x * sine + y * cosine - y)
    return displace(image, dx, dy)


def shuffle(image: Image.Image, severity: float, rng: Rng) -> Image.Image:
    """2 to 24 patches copied to places nearby where they don't belong, with soft edges."""
    side, result = min(image.size), image.copy()
    for _ in range(int(2 + 22 * severity)):
        patch = int(rng.uniform(0.04, 0.14) * side) + 4
        limits = np.maximum(np.array(image.size) - patch, 0)
        source = rng.integers(0, np.maximum(limits, 1))
        target = np.clip(source + rng.uniform(-0.25, 0.25, 2) * side, 0, limits).astype(int)
        mask, rim = Image.new("L", (patch, patch), 0), patch // 6
        mask.paste(255, (rim, rim, patch - rim, patch - rim))
        box = (int(source[0]), int(source[1]), int(source[0]) + patch, int(source[1]) + patch)
        soft = mask.filter(ImageFilter.GaussianBlur(patch / 12))
        result.paste(image.crop(box), (int(target[0]), int(target[1])), soft)
    return result


def oil(image: Image.Image, severity: float, rng: Rng) -> Image.Image:
    """A median over 4 to 14 px: no texture, edges kept, the plastic look of generated skin."""
    reach = int(2 * round((1.5 + 5 * severity) * _scale(image)) + 1)
    # Pillow's median costs the square of its size: a large one runs on a reduced picture. It removes detail anyway.
    share = min(1.0, 9 / reach)
    small = image
    if share < 1:
        size = (max(8, int(image.width * share)), max(8, int(image.height * share)))
        small = image.resize(size, Image.Resampling.BICUBIC)
    small = small.filter(ImageFilter.MedianFilter(max(3, min(9, reach) | 1))).filter(ImageFilter.MedianFilter(3))
    return small.resize(image.size, Image.Resampling.BICUBIC)


def ghost(image: Image.Image, severity: float, rng: Rng) -> Image.Image:
    """The picture over a copy of itself that is 4 to 30 px off, seen through by 20 to 50 %."""
    distance = rng.uniform(4, 6 + 24 * severity) * _scale(image)
    angle = rng.uniform(0, 2 * np.pi)
    still = np.zeros((image.height, image.width), np.float32)
    copy = displace(image, still + distance * np.cos(angle), still + distance * np.sin(angle))
    return Image.blend(image, copy, 0.2 + 0.3 * severity)


def wrong_colour(image: Image.Image, severity: float, rng: Rng) -> Image.Image:
    """Saturation of up to 450 % or down to 10 %, or a cast of up to 55 %."""
    kind = int(rng.integers(3))
    if kind == 0:
        return ImageEnhance.Color(image).enhance(1 + 3.5 * severity)
    if kind == 1:
        return ImageEnhance.Color(image).enhance(1 - 0.9 * severity)
    gain = 1 + np.array([1, -1, 0.3])[rng.permutation(3)] * 0.55 * severity
    return Image.fromarray(np.clip(np.asarray(image, dtype=np.float32) * gain + 0.5, 0, 255).astype(np.uint8))
