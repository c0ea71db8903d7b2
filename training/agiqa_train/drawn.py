"""Pictures that the project draws itself: gradients, shapes, stripes and strokes."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    return tuple(int(v) for v in rng.integers(0, 256, 3))


def background(size: int, rng: np.random.Generator) -> Image.Image:
    """A two-colour gradient with some slow waves."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    angle = rng.uniform(0, 2 * np.pi)
    t = 0.5 + 0.5 * np.cos(angle) * (x - 0.5) + 0.5 * np.sin(angle) * (y - 0.5)
    for _ in range(int(rng.integers(0, 4))):
        fx, fy, phase = rng.uniform(-30, 30), rng.uniform(-30, 30), rng.uniform(0, 6.28)
        t = t + rng.uniform(0.03, 0.15) * np.sin(fx * x + fy * y + phase)
    t = np.clip(t, 0, 1)[:, :, None]
    first, second = np.array(_colour(rng)), np.array(_colour(rng))
    return Image.fromarray((first * (1 - t) + second * t).astype(np.uint8))


def shape(draw: ImageDraw.ImageDraw, size: int, rng: np.random.Generator) -> None:
    """One ellipse, rectangle, polygon, arc, bundle of stripes or word-like row of strokes."""
    x, y = rng.uniform(-0.1, 1.0, 2) * size
    reach = float(size * 10 ** rng.uniform(-1.6, -0.3))
    box = [x, y, x + reach, y + reach * rng.uniform(0.3, 1.5)]
    fill, outline, width = _colour(rng), _colour(rng), int(rng.integers(1, 2 + size // 100))
    kind = int(rng.integers(6))
    if kind == 0:
        draw.ellipse(box, fill=fill, outline=outline, width=width)
    elif kind == 1:
        draw.rectangle(box, fill=fill, outline=outline, width=width)
    elif kind == 2:
        points = [(x + reach * rng.uniform(), y + reach * rng.uniform()) for _ in range(int(rng.integers(3, 8)))]
        draw.polygon(points, fill=fill, outline=outline)
    elif kind == 3:
        draw.arc(box, float(rng.uniform(0, 180)), float(rng.uniform(180, 360)), fill=fill, width=width)
    elif kind == 4:
        step = max(3.0, reach / rng.uniform(4, 20))
        for i in range(int(reach / step)):
            draw.line([x + i * step, y, x + i * step, y + reach], fill=fill, width=max(1, int(step / 2.5)))
    else:
        height = reach * 0.15 + 3
        for i in range(12):
            left = x + i * height * 0.8
            draw.line([left, y, left + height * rng.uniform(-0.4, 0.6), y + height], fill=fill, width=width)
            draw.line([left, y + height * rng.uniform(), left + height * 0.5, y], fill=fill, width=width)


def drawn_image(size: int, rng: np.random.Generator) -> Image.Image:
    """A clean picture of `size` x `size`, drawn at twice the size so that its edges are smooth."""
    large = background(size * 2, rng)
    draw = ImageDraw.Draw(large)
    for _ in range(int(rng.integers(8, 60))):
        shape(draw, size * 2, rng)
    image = large.resize((size, size), Image.Resampling.BOX)
    if rng.random() < 0.4:  # some surface: faint correlated texture, as paper or canvas has
        coarse = max(8, int(size / rng.uniform(1.5, 5)))
        grain = rng.standard_normal((coarse, coarse)).astype(np.float32) * rng.uniform(2, 8)
        soft = Image.fromarray(grain).resize((size, size), Image.Resampling.BICUBIC)
        image = Image.fromarray(np.clip(np.asarray(image) + np.asarray(soft)[:, :, None], 0, 255).astype(np.uint8))
    return image
