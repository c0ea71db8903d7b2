"""The demo's training pictures: a seeded split, and a cache of groups of clean and distorted versions.

A group is one clean crop and three distorted versions of it. Groups are made once, at up to the
source's own size, reduced by the test-time preprocessing, and kept as uint8 in a memory-mapped file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from PIL import Image
from tqdm import tqdm

from .digest import file_sha256
from .distort import KINDS, distort, draw_severities
from .drawn import drawn_image
from .preprocess import PILLOW12, RECIPE, to_pixels

GROUP = 4  # one clean, three distorted
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class CacheConfig:
    """What is in the cache; a change makes a new one."""

    groups: int = 7000
    drawn_share: float = 0.25
    stored_size: int = 256  # px; training cuts 224 out of it, so that no grid sits at a fixed place
    smallest: int = 224  # short side in px at which distortions are applied ...
    largest: int = 768  # ... and never above the source's own size
    crop_from: float = 0.55  # smallest side of a crop, as a share of the picture's
    held_out: int = 20
    seed: int = 20240827


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a folder in order of name; raises ValueError when there is no such folder."""
    if not folder.is_dir():
        raise ValueError(f"images: {folder} is not a folder")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


@dataclass(frozen=True)
class Source:
    """A clean picture: a file, or one that the program draws."""

    identity: str  # equal for equal pixels
    open: Callable[[], Image.Image]

    @staticmethod
    def file(path: Path) -> Source:
        """A file, known by its bytes."""
        return Source(f"sha256:{file_sha256(path)}", lambda: load_image(path))

    @staticmethod
    def drawing(size: int, seed: int, index: int) -> Source:
        """A drawn picture, known by what it is drawn from."""
        return Source(f"drawn {size} {seed} {index}", lambda: drawn_image(size, np.random.default_rng([seed, index])))


def split_images(folder: Path, held_out: int, seed: int) -> tuple[list[Path], list[Path]]:
    """Training and held-out files, by a seeded shuffle of the sorted names."""
    files = picture_files(folder)
    if len(files) <= held_out:
        raise ValueError(f"images: {folder} has {len(files)} pictures, more than {held_out} are needed")
    order = np.random.default_rng(seed).permutation(len(files))
    held = {int(i) for i in order[:held_out]}
    return [f for i, f in enumerate(files) if i not in held], [files[i] for i in sorted(held)]


@lru_cache(maxsize=128)
def load_image(path: Path) -> Image.Image:
    """A decoded picture, kept in memory."""
    return Image.open(path).convert("RGB")


def random_view(image: Image.Image, config: CacheConfig, rng: np.random.Generator) -> Image.Image:
    """A random crop, reduced to a random working size (a third of them keep their own size)."""
    share = float(rng.uniform(config.crop_from, 1.0))
    width, height = int(image.width * share), int(image.height * share)
    left = int(rng.integers(0, image.width - width + 1))
    top = int(rng.integers(0, image.height - height + 1))
    view = image.crop((left, top, left + width, top + height))
    short = min(view.size)
    if rng.random() < 0.35 or short <= config.smallest:
        return view
    largest = min(short, config.largest)
    target = float(np.exp(rng.uniform(np.log(config.smallest), np.log(largest))))
    ratio = target / short
    size = (max(1, round(view.width * ratio)), max(1, round(view.height * ratio)))
    return view.resize(size, Image.Resampling.LANCZOS)


def make_group(files: list[Path], config: CacheConfig, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Group `index`: uint8 [4, S, S, 3] and severities float32 [4, kinds]; row 0 is clean."""
    rng = np.random.default_rng([config.seed, index])
    if rng.random() < config.drawn_share:
        source = drawn_image(int(rng.integers(320, 640)), rng)
    else:
        source = load_image(files[int(rng.integers(len(files)))])
    if rng.random() < 0.5:
        source = source.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    view = random_view(source, config, rng)
    severities = np.stack([np.zeros(len(KINDS), np.float32), *(draw_severities(rng) for _ in range(GROUP - 1))])
    pictures = [distort(view, row, rng) for row in severities]
    return np.stack([to_pixels(p, config.stored_size) for p in pictures]), severities


def _make_chunk(files: list[Path], config: CacheConfig, indices: range) -> list[tuple[np.ndarray, np.ndarray]]:
    return [make_group(files, config, i) for i in indices]


@dataclass(frozen=True)
class Cache:
    """Pixels uint8 [G, 4, S, S, 3] (memory-mapped) and severities float32 [G, 4, kinds]."""

    pixels: np.ndarray
    severities: np.ndarray


def open_cache(folder: Path, files: list[Path], config: CacheConfig, workers: int = 2) -> Cache:
    """The cache in `folder`, made first unless a complete one for this configuration is there."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / "config.json"
    recipe = {} if RECIPE == PILLOW12 else {"recipe": RECIPE}
    wanted = json.dumps({**asdict(config), "files": [f.name for f in files], **recipe}, sort_keys=True)
    if not mark.exists() or mark.read_text() != wanted:
        _fill_cache(folder, files, config, workers)
        mark.write_text(wanted)  # last: its presence says that the cache is complete
    return read_cache(folder)


def read_cache(folder: Path) -> Cache:
    """The cache that `open_cache` has made."""
    return Cache(np.load(folder / "pixels.npy", mmap_mode="r"), np.load(folder / "severities.npy"))


def _fill_cache(folder: Path, files: list[Path], config: CacheConfig, workers: int) -> None:
    size = config.stored_size
    pixels = open_memmap(folder / "pixels.npy", "w+", np.uint8, (config.groups, GROUP, size, size, 3))
    severities = np.zeros((config.groups, GROUP, len(KINDS)), np.float32)
    chunks = [range(i, min(i + 20, config.groups)) for i in range(0, config.groups, 20)]
    with ProcessPoolExecutor(workers) as pool, tqdm(total=config.groups, unit="group", disable=None) as bar:
        jobs = pool.map(_make_chunk, [files] * len(chunks), [config] * len(chunks), chunks)
        for indices, groups in zip(chunks, jobs):
            for i, (group, severity) in zip(indices, groups):
                pixels[i], severities[i] = group, severity
            bar.update(len(indices))
    pixels.flush()
    np.save(folder / "severities.npy", severities)
