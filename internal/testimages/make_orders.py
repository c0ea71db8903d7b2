#!/usr/bin/env python3
"""Writes what one version of Pillow makes of pictures for which the order of the resize's passes matters.

    for v in 12.3.0 13.0.0; do
        python3 -m venv venv-$v && venv-$v/bin/pip install pillow==$v numpy==2.4.6
        venv-$v/bin/python internal/testimages/make_orders.py
    done

It writes orders/pillow-<version>.json with

    cells    [width, height, size, sha256]: the cells of 224x224, row by row, of a
             drawn picture after Resize(size, bicubic) and CenterCrop(size)
    orders   [width, height, new width, new height, "horizontal" or "vertical"]:
             which pass Image.resize begins with, told by its pixels; only those
             where the two orders differ

Pillow up to 12 begins with the horizontal pass, whatever the sizes. The pictures
are those of testimages.Order.
"""

import hashlib
import json
import pathlib
import random

import numpy as np
from PIL import Image
from PIL import __version__ as version

SIDE = 224
BICUBIC = Image.Resampling.BICUBIC


def draw(w, h):
    y, x = np.mgrid[0:h, 0:w]
    channels = [x * 7 + y * 3, x * y // 5, (x // 3) ^ (y // 2)]
    return Image.fromarray(np.stack([c & 255 for c in channels], axis=-1).astype(np.uint8))


def cells(image, size):
    w, h = image.size
    short = min(w, h)
    scaled = (size * w // short, size * h // short)
    image = image.resize(scaled, BICUBIC)
    left, top = round((scaled[0] - size) / 2), round((scaled[1] - size) / 2)
    square = np.asarray(image.crop((left, top, left + size, top + size)))
    n = size // SIDE
    parts = square.reshape(n, SIDE, n, SIDE, 3).swapaxes(1, 2)
    return hashlib.sha256(np.ascontiguousarray(parts).tobytes()).hexdigest()


def first_pass(w, h, new_w, new_h):
    """Which pass comes first, or None where one cannot tell."""
    image = draw(w, h)
    whole = image.resize((new_w, new_h), BICUBIC).tobytes()
    horizontal = image.resize((new_w, h), BICUBIC).resize((new_w, new_h), BICUBIC).tobytes()
    vertical = image.resize((w, new_h), BICUBIC).resize((new_w, new_h), BICUBIC).tobytes()
    if horizontal == vertical:
        return None
    return {horizontal: "horizontal", vertical: "vertical"}[whole]


def sizes():
    """Pictures around every edge of the rule, and others."""
    for w in (223, 224, 225, 226, 300, 447, 448, 449):
        for h in (2 * w - 1, 2 * w, 2 * w + 1, 2 * w + 2, 2 * w + 9):
            yield w, h, 224
    for w in (447, 448, 449, 460):
        for h in (2 * w - 1, 2 * w, 2 * w + 1, 2 * w + 3):
            yield w, h, 448
    yield from [(1121, 2243, 1120), (1119, 2300, 1120), (700, 300, 224), (150, 500, 224), (225, 3000, 224),
                (1000, 2500, 224), (1000, 2500, 448), (2300, 1121, 1120)]  # fmt: skip
    rng = random.Random(1)
    for _ in range(40):
        w = rng.randint(225, 420)
        yield w, rng.randint(2 * w - 40, 4 * w), 224


def four_sizes():
    """Resizes of any shape, also those that no crop asks for."""
    yield from [(500, 999, 400, 300), (500, 1001, 600, 300), (100, 1000, 99, 100), (500, 1001, 499, 2000)]
    rng = random.Random(2)
    for _ in range(300):
        yield tuple(rng.randint(5, 400) for _ in range(4))


found = {"pillow": version, "cells": [], "orders": []}
for w, h, size in sizes():
    found["cells"].append([w, h, size, cells(draw(w, h), size)])
for shape in four_sizes():
    if order := first_pass(*shape):
        found["orders"].append([*shape, order])
out = pathlib.Path(__file__).parent / "orders" / f"pillow-{version}.json"
rows = {name: ",\n".join("  " + json.dumps(row) for row in found[name]) for name in ("cells", "orders")}
out.write_text(
    f'{{"pillow": "{version}",\n "cells": [\n{rows["cells"]}\n ],\n "orders": [\n{rows["orders"]}\n ]}}\n'
)
print(out, len(found["cells"]), "pictures,", len(found["orders"]), "orders")
