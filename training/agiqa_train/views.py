"""Views: the 224 x 224 squares of a picture that a checkpoint looks at.

`224` is what CLIP was trained on: short side to 224, centre crop. `S/rRcC` is a cell of a grid at a
higher resolution: short side to S, centre crop to S x S, and of that the square in row R, column C.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .preprocess import IMAGE_SIZE, center_crop, resize_short_side

LARGEST = 1120
CELL = re.compile(r"([1-9][0-9]{2,3})/r(0|[1-9])c(0|[1-9])")


@dataclass(frozen=True, order=True)
class View:
    """One view; `str` gives its name."""

    size: int = IMAGE_SIZE
    row: int = 0
    column: int = 0

    @staticmethod
    def parse(text: str) -> View:
        """A view by its name; raises ValueError."""
        if text == str(IMAGE_SIZE):
            return View()
        match = CELL.fullmatch(text)
        if match is None:
            raise ValueError(f"view {text!r}: want 224 or S/rRcC, such as 448/r0c1")
        size, row, column = (int(part) for part in match.groups())
        cells = size // IMAGE_SIZE
        if size % IMAGE_SIZE or not IMAGE_SIZE < size <= LARGEST:
            raise ValueError(f"view {text!r}: size {size} is not a multiple of {IMAGE_SIZE} from 448 to {LARGEST}")
        if row >= cells or column >= cells:
            raise ValueError(f"view {text!r}: rows and columns of {size} are 0 to {cells - 1}")
        return View(size, row, column)

    def __str__(self) -> str:
        return str(self.size) if self.size == IMAGE_SIZE else f"{self.size}/r{self.row}c{self.column}"


DEFAULT_VIEWS = (View(),)


def grid(size: int) -> tuple[View, ...]:
    """Every cell at a size, row by row."""
    cells = size // IMAGE_SIZE
    return tuple(View(size, row, column) for row in range(cells) for column in range(cells))


def parse_views(text: str) -> tuple[View, ...]:
    """Comma-separated views; raises ValueError."""
    return tuple(View.parse(part.strip()) for part in text.split(","))


def view_pixels(image: Image.Image, views: Sequence[View]) -> np.ndarray:
    """A decoded picture to uint8 [V, 224, 224, 3], RGB. Views of one size share one resize."""
    image = image.convert("RGB")
    squares = {
        size: np.asarray(center_crop(resize_short_side(image, size), size)) for size in {view.size for view in views}
    }
    side = IMAGE_SIZE
    return np.stack(
        [squares[v.size][v.row * side : (v.row + 1) * side, v.column * side : (v.column + 1) * side] for v in views]
    )
