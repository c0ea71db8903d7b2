"""The exported encoders and a bundle, used as the server uses them: ONNX graphs and float32 NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
from safetensors.numpy import load_file

from .head import score_numpy
from .prompts import place_context, prompt_layout
from .tokenizer import Tokenizer
from .triton_repository import IMAGE_MODEL, TEXT_MODEL


def _session(repository: Path, model: str) -> ort.InferenceSession:
    return ort.InferenceSession(str(repository / model / "1" / "model.onnx"), providers=["CPUExecutionProvider"])


def embed_images(repository: Path, pixels: np.ndarray, batch: int = 32) -> np.ndarray:
    """uint8 [N, 224, 224, 3] to unit vectors [N, D]."""
    session = _session(repository, IMAGE_MODEL)
    parts = [session.run(None, {"pixels": pixels[i : i + batch]})[0] for i in range(0, len(pixels), batch)]
    return np.concatenate(parts)


def embed_prompts(repository: Path, context: np.ndarray, categories: tuple[str, ...], position: str) -> np.ndarray:
    """Learned context of a checkpoint to its category embeddings [C, D]."""
    layout = prompt_layout(Tokenizer(), categories, context.shape[-2], position)
    inputs = {
        "token_ids": layout.token_ids,
        "context": place_context(layout, context),
        "context_mask": layout.context_mask,
    }
    return _session(repository, TEXT_MODEL).run(None, inputs)[0]


class Scorer:
    """Scores pixels with one checkpoint bundle."""

    def __init__(self, repository: Path, bundle: Path) -> None:
        self.repository = repository
        manifest = json.loads((bundle / "manifest.json").read_text())
        encoder = json.loads((repository / "encoder.json").read_text())
        if manifest["encoder"]["digest"] != encoder["digest"]:
            raise ValueError(f"bundle: {bundle} belongs to another encoder than the one in {repository}")
        self.tensors = load_file(bundle / "weights.safetensors")
        categories = tuple(manifest["categories"])
        self.texts = embed_prompts(repository, self.tensors["context"], categories, manifest["class_token_position"])

    def score(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [N, 224, 224, 3] to scores [N]."""
        return self.judge(embed_images(self.repository, pixels), self.texts)

    def judge(self, embeddings: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Embeddings [N, D] and category embeddings [C, D] to scores [N]."""
        return score_numpy(self.tensors, embeddings, texts)
