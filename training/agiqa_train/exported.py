"""The exported encoders and a bundle, used as the server uses them: ONNX graphs and float32 NumPy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image
from safetensors.numpy import load_file
from tqdm import tqdm

from .head import score_numpy
from .meaning import Meaning
from .prompts import place_context, prompt_layout
from .tokenizer import CONTEXT_LENGTH, Tokenizer
from .triton_repository import ENCODER_FILE, IMAGE_MODEL, TEXT_MODEL
from .views import View, view_pixels

BATCH = 32


def image_graph(repository: Path) -> Path:
    """The image graph that a CPU runs: the one in 8 bits where there is one."""
    folder = repository / IMAGE_MODEL / "1"
    quantised = folder / "model.int8.onnx"
    return quantised if quantised.exists() else folder / "model.onnx"


def _session(graph: Path, threads: int = 0) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


class ImageEncoder:
    """The image encoder of a model repository, loaded once. `threads` 0: one for each core."""

    def __init__(self, repository: Path, threads: int = 0) -> None:
        self._session = _session(image_graph(repository), threads)

    def embed(self, pixels: np.ndarray, batch: int = BATCH) -> np.ndarray:
        """uint8 [N, 224, 224, 3] to unit vectors [N, D]."""
        starts = range(0, len(pixels), batch)
        return np.concatenate([self._session.run(None, {"pixels": pixels[i : i + batch]})[0] for i in starts])

    def embed_views(self, images: Sequence[Image.Image], views: Sequence[View]) -> np.ndarray:
        """Decoded pictures to the embeddings [N, V, D] of their views."""
        pixels = np.concatenate([view_pixels(image, views) for image in images])
        return self.embed(pixels).reshape(len(images), len(views), -1)


def embed_images(repository: Path, pixels: np.ndarray, batch: int = BATCH) -> np.ndarray:
    """uint8 [N, 224, 224, 3] to unit vectors [N, D]."""
    return ImageEncoder(repository).embed(pixels, batch)


def embed_prompts(repository: Path, context: np.ndarray, categories: tuple[str, ...], position: str) -> np.ndarray:
    """Learned context of a checkpoint to its category embeddings [C, D]."""
    layout = prompt_layout(Tokenizer(), categories, context.shape[-2], position)
    inputs = {
        "token_ids": layout.token_ids,
        "context": place_context(layout, context),
        "context_mask": layout.context_mask,
    }
    return _session(repository / TEXT_MODEL / "1" / "model.onnx").run(None, inputs)[0]


def embed_texts(repository: Path, texts: Sequence[str]) -> np.ndarray:
    """Texts without learned vectors, such as the prompts of pictures, to unit vectors [N, D].

    Raises ValueError for texts of more tokens than the server takes.
    """
    session = _session(repository / TEXT_MODEL / "1" / "model.onnx")
    width = next(value.shape[2] for value in session.get_inputs() if value.name == "context")
    ids = prompt_ids(texts)
    parts = []
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        inputs = {
            "token_ids": batch,
            "context": np.zeros((*batch.shape, width), np.float32),
            "context_mask": np.zeros(batch.shape, np.uint8),
        }
        parts.append(session.run(None, inputs)[0])
    return np.concatenate(parts)


def prompt_ids(texts: Sequence[str]) -> np.ndarray:
    """Token ids [N, 77] of prompts of pictures; raises ValueError where the server would refuse one."""
    tokenizer, room = Tokenizer(), CONTEXT_LENGTH - 2
    counts = [len(tokenizer.encode(text)) for text in texts]
    for fault, found in (
        (f"have more than {room} tokens", [t for t, n in zip(texts, counts) if n > room]),
        ("are empty", [t for t, n in zip(texts, counts) if n == 0]),
    ):
        if found:
            raise ValueError(f"{len(found)} prompts {fault}, which the server refuses; the first is {found[0][:60]!r}")
    return tokenizer(list(texts))


class Scorer:
    """Scores pictures with one checkpoint bundle, of format 1 or 2, by the views that it declares."""

    def __init__(self, repository: Path, bundle: Path) -> None:
        self.repository = repository
        manifest = json.loads((bundle / "manifest.json").read_text())
        encoder = json.loads((repository / ENCODER_FILE).read_text())
        if manifest["encoder"]["digest"] != encoder["digest"]:
            raise ValueError(f"bundle: {bundle} belongs to another encoder than the one in {repository}")
        self.name = manifest["name"]
        self.meaning = Meaning.of_manifest(manifest)
        if self.meaning.prompt:
            raise ValueError(f"bundle: {bundle} scores pictures with their prompts, which are not given here")
        self.tensors = load_file(bundle / "weights.safetensors")
        categories = tuple(manifest["categories"])
        self.texts = embed_prompts(repository, self.tensors["context"], categories, manifest["class_token_position"])
        self._encoder: ImageEncoder | None = None

    @property
    def encoder(self) -> ImageEncoder:
        """The image encoder, loaded when it is first needed."""
        if self._encoder is None:
            self._encoder = ImageEncoder(self.repository)
        return self._encoder

    def judge(self, embeddings: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Embeddings [N, D] of single views and category embeddings [C, D] to raw scores [N]."""
        return score_numpy(self.tensors, embeddings, texts)

    def judge_views(self, embeddings: np.ndarray) -> np.ndarray:
        """Embeddings [N, V, D] of the declared views to the raw scores [N] of the pictures."""
        rows = self.judge(embeddings.reshape(-1, embeddings.shape[-1]), self.texts)
        return rows.reshape(embeddings.shape[:2]).mean(axis=1)

    def view_scores(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Decoded pictures to the raw scores [N, V] of their views."""
        embeddings = self.encoder.embed_views(images, self.meaning.views)
        return self.judge(embeddings.reshape(-1, embeddings.shape[-1]), self.texts).reshape(embeddings.shape[:2])

    def combine(self, views: np.ndarray) -> np.ndarray:
        """Raw scores [N, V] of views to the scores [N] that the server answers with, cut where that is declared."""
        return self.meaning.score.cut(views.mean(axis=1))

    def score(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Decoded pictures to scores [N]."""
        return self.combine(self.view_scores(images))

    def view_scores_of_files(self, paths: Iterable[Path]) -> np.ndarray:
        """Picture files to the raw scores [N, V] of their views, a few pictures decoded at a time."""
        paths, count = list(paths), len(self.meaning.views)
        step = max(1, BATCH // count)
        parts = [np.zeros((0, count), np.float32)]
        with tqdm(total=len(paths), desc="scoring", unit="picture", disable=None, leave=False) as bar:
            for start in range(0, len(paths), step):
                images = [open_image(path) for path in paths[start : start + step]]
                parts.append(self.view_scores(images))
                bar.update(len(images))
        return np.concatenate(parts)

    def score_files(self, paths: Iterable[Path]) -> np.ndarray:
        """Picture files to scores [N]."""
        return self.combine(self.view_scores_of_files(paths))


def open_image(path: Path) -> Image.Image:
    """A file, decoded to RGB; raises ValueError that names a file that is no picture."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, Image.DecompressionBombError) as fault:
        raise ValueError(f"{path}: {fault}") from fault
