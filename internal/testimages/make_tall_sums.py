"""Prints the SHA-256 of Resize(224, bicubic) and CenterCrop(224) of drawn pictures.

    pip install pillow==12.3.0 numpy && python make_tall_sums.py

Pillow 13 shrinks pictures that are taller than twice their width vertically
first, and so rounds differently. TestTallPictures in imageprep has the sums of
both generations.
"""

import hashlib

import numpy
import PIL
from PIL import Image

SIDE = 224


def draw(w: int, h: int) -> Image.Image:
    y, x = numpy.mgrid[0:h, 0:w]
    channels = [x * 7 + y * 3, x * y // 5, (x // 3) ^ (y // 2)]
    return Image.fromarray(numpy.stack([c & 255 for c in channels], axis=-1).astype(numpy.uint8))


def prepare(image: Image.Image) -> Image.Image:
    w, h = image.size
    short = min(w, h)
    size = (SIDE * w // short, SIDE * h // short)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = round((size[0] - SIDE) / 2), round((size[1] - SIDE) / 2)
    return image.crop((left, top, left + SIDE, top + SIDE))


print("Pillow", PIL.__version__)
for w, h in [(448, 896), (448, 897), (300, 700), (481, 1003), (225, 3000), (1000, 2500), (224, 600), (150, 500), (700, 300)]:
    digest = hashlib.sha256(prepare(draw(w, h)).tobytes()).hexdigest()
    print(f'{{{w}, {h}, "{digest}"}},')
