"""Image embeddings: by the exported graph that the server runs, or by the PyTorch tower.

Without augmentation an image's embedding never changes, so all of them are computed once and kept
in a file that is named by what they depend on: the encoder, the preprocessing, and the bytes of
every picture in their order.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime as ort
import PIL
import torch
from PIL import Image
from tqdm import tqdm

from ..clip import Clip
from ..digest import file_sha256
from ..preprocess import MEAN, PILLOW12, RECIPE, STD, to_pixels
from ..triton_repository import IMAGE_MODEL

# preprocess.to_pixels; the first words are for Pillow up to 12.
PREPROCESS = "short side bicubic, centre crop" + ("" if RECIPE == PILLOW12 else f", {RECIPE}")
BATCH = 32
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class ImageEncoder(Protocol):
    """Turns uint8 pixels [N, R, R, 3] into unit vectors float32 [N, D]."""

    name: str  # everything that its output depends on
    resolution: int

    def embed(self, pixels: np.ndarray) -> np.ndarray: ...


class ExportedEncoder:
    """The ONNX graph of a model repository."""

    def __init__(self, repository: Path, digest: str, resolution: int) -> None:
        self.name, self.resolution = digest, resolution
        file = repository / IMAGE_MODEL / "1" / "model.onnx"
        wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        providers = [name for name in wanted if name in ort.get_available_providers()]
        self._session = ort.InferenceSession(str(file), providers=providers)

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Through ONNX Runtime."""
        return self._session.run(None, {"pixels": pixels})[0]


class TorchEncoder:
    """The image tower of a loaded CLIP."""

    def __init__(self, clip: Clip, weights: str, device: torch.device, precision: str) -> None:
        self.name, self.resolution = f"{weights} {precision}", clip.config.vision.resolution
        self._clip, self._device, self._precision = clip, device, precision
        self._mean = torch.tensor(MEAN, device=device).reshape(1, 3, 1, 1)
        self._std = torch.tensor(STD, device=device).reshape(1, 3, 1, 1)

    @torch.no_grad()
    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """In the precision of the run."""
        scaled = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2).float() / 255
        with autocast(self._device, self._precision):
            features = self._clip.encode_image((scaled - self._mean) / self._std)
        return features.float().cpu().numpy()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision where it is asked for; otherwise a context that changes nothing."""
    return torch.autocast(device.type, dtype=AUTOCAST.get(precision, torch.bfloat16), enabled=precision in AUTOCAST)


def embed_files(
    encoder: ImageEncoder, files: list[Path], workers: int, view: Callable[[int, Image.Image], np.ndarray] | None = None
) -> np.ndarray:
    """Embeddings [n, D] of all files; `view` makes pixels of picture i, None: as at test time."""
    parts = []

    def pixels(i: int) -> np.ndarray:
        with Image.open(files[i]) as image:
            return to_pixels(image, encoder.resolution) if view is None else view(i, image)

    with ThreadPoolExecutor(workers) as pool:
        bar = tqdm(range(0, len(files), BATCH), desc="embedding", unit="batch", disable=True if view else None, leave=False)
        for start in bar:
            chosen = range(start, min(start + BATCH, len(files)))
            parts.append(encoder.embed(np.stack(list(pool.map(pixels, chosen)))))
    return np.concatenate(parts)


def features_key(encoder: ImageEncoder, files: list[Path], workers: int) -> str:
    """Hex digest of the encoder, the preprocessing and the pictures' bytes."""
    with ThreadPoolExecutor(workers) as pool:
        digests = list(tqdm(pool.map(file_sha256, files), desc="hashing", total=len(files), disable=None, leave=False))
    about = ["agiqa-features/1", encoder.name, PREPROCESS, str(encoder.resolution), f"Pillow {PIL.__version__}"]
    return hashlib.sha256("\n".join([*about, *digests]).encode()).hexdigest()


def cached_features(encoder: ImageEncoder, files: list[Path], folder: Path, workers: int) -> np.ndarray:
    """Embeddings [n, D] at test time, from the cache when it has them."""
    path = folder / f"features-{features_key(encoder, files, workers)[:32]}.npy"
    if path.exists():
        return np.load(path)
    features = embed_files(encoder, files, workers)
    folder.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    with staged.open("wb") as stream:
        np.save(stream, features)
    staged.replace(path)
    return features
