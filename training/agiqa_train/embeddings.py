"""Embeddings of many pictures, kept in a file for each picture: an interrupted run goes on where it stopped.

A file is named by everything that its numbers depend on: the encoder's graph, the views, Pillow, the
picture, and what was done to it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from PIL import Image
from tqdm import tqdm

from .digest import file_sha256
from .exported import ImageEncoder, image_graph
from .views import View

FORMAT = "agiqa-embeddings/1"


@dataclass(frozen=True)
class Job:
    """Pictures to embed: what they are, in words that are equal for equal pixels, and how to make them."""

    about: str
    pictures: Callable[[], list[Image.Image]]


class EmbeddingCache:
    """Embeds pictures by one encoder and a list of views; `workers` pictures at a time, each on one core."""

    def __init__(self, folder: Path, repository: Path, views: Sequence[View], workers: int = 2) -> None:
        self.folder, self.views, self.repository, self.workers = folder, tuple(views), repository, workers
        self.digest = file_sha256(image_graph(repository))
        self._encoder: ImageEncoder | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def select(self, embeddings: np.ndarray, views: Sequence[View]) -> np.ndarray:
        """Of embeddings [..., V, D] by the cache's views those of some views; raises ValueError for others."""
        missing = [str(view) for view in views if view not in self.views]
        if missing:
            raise ValueError(f"views {', '.join(missing)} were not embedded")
        return embeddings[..., [self.views.index(view) for view in views], :]

    def get(self, jobs: Sequence[Job], words: str) -> np.ndarray:
        """Embeddings float32 [jobs, N, V, D]; every job makes N pictures, and only where the cache has none."""
        missing = [job for job in jobs if not self._path(job).exists()]
        if missing and self._encoder is None:
            self._encoder = ImageEncoder(self.repository, threads=1)
        with ThreadPoolExecutor(self.workers) as pool:
            list(tqdm(pool.map(self._fill, missing), desc=words, total=len(missing), unit="picture", disable=None))
        return np.stack([np.load(self._path(job)) for job in jobs])

    def _path(self, job: Job) -> Path:
        key = [FORMAT, self.digest, ",".join(map(str, self.views)), f"Pillow {PIL.__version__}", job.about]
        return self.folder / f"{hashlib.sha256(chr(10).join(key).encode()).hexdigest()[:32]}.npy"

    def _fill(self, job: Job) -> None:
        # One picture at a time bounds memory. The encoder's scales are static: the batch changes nothing.
        rows = np.concatenate([self._encoder.embed_views([picture], self.views) for picture in job.pictures()])
        path = self._path(job)
        staged = path.with_name(f".{path.name}.{os.getpid()}")
        with staged.open("wb") as stream:
            np.save(stream, rows)
        staged.replace(path)
