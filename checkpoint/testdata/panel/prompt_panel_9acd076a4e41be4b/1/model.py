"""Serves a panel, `panel.safetensors` beside this file, through Triton's Python backend.

A panel is several prompt heads that judge the same embedding in one call. This is the `embedded`
way to run, for a server without the onnxruntime backend; it needs NumPy and nothing else. The
master of this file lies in `checkpoint/model/`; change it there.

    score[k] = W1[k] relu(W0[k] image + B0[k]) + B1[k],   category_similarity[k] = image . texts[k]

What the texts of a checkpoint add to its first layer is part of B0 already. The arithmetic is in
float64, so that a score does not depend on the batch it was computed in, nor on whether a panel or
the checkpoint's own head computed it: `panel.0.rest` is what B0 lost when it became float32. Heads
share no sum, so that one that computes no number spoils no other's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The F32 tensors of a safetensors file that package checkpoint wrote, as float64."""
    raw = path.read_bytes()
    data = 8 + int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, entry in json.loads(raw[8:data]).items():
        begin, end = (data + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(raw[begin:end], "<f4").reshape(entry["shape"]).astype(np.float64)
    return tensors


class Panel:
    """The heads' numbers, side by side."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        weight = tensors["panel.0.weight"]  # [K, H, D]
        self.heads, self.hidden, self.dim = weight.shape
        self.weight = np.ascontiguousarray(weight.reshape(-1, self.dim).T)  # [D, K*H]
        self.bias = (tensors["panel.0.bias"] + tensors["panel.0.rest"]).reshape(-1)  # [K*H]
        self.last_weight = tensors["panel.1.weight"]  # [K, H]
        self.last_bias = tensors["panel.1.bias"]  # [K]
        texts = tensors["panel.texts"]  # [K, 6, D]
        self.categories = texts.shape[1]
        self.texts = np.ascontiguousarray(texts.reshape(-1, self.dim).T)  # [D, K*6]

    def judge(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """images [N, D] to score [N, K] and category_similarity [N, K, 6]."""
        wide = images.astype(np.float64)
        hidden = np.maximum(wide @ self.weight + self.bias, 0).reshape(-1, self.heads, self.hidden)
        score = np.einsum("nkh,kh->nk", hidden, self.last_weight) + self.last_bias
        similarity = (wide @ self.texts).reshape(-1, self.heads, self.categories)
        with np.errstate(over="ignore"):  # what is beyond float32 is infinite, as it is by the head
            return score.astype(np.float32), similarity.astype(np.float32)


def find_fault(images: np.ndarray | None, dim: int) -> str | None:
    """What is wrong with one request's input, or None."""
    if images is None:
        return "input image_embedding: is missing"
    if images.dtype != np.float32:
        return f"input image_embedding: has type {images.dtype}, float32 is wanted"
    if images.ndim != 2 or images.shape[1] != dim or len(images) < 1:
        return f"input image_embedding: has shape {'x'.join(str(d) for d in images.shape)}, Nx{dim} is wanted"
    return None


class TritonPythonModel:
    """The class that Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the panel."""
        self.panel = Panel(read_tensors(Path(__file__).with_name("panel.safetensors")))

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order; all good requests share one matrix product."""
        responses: list[Any] = [None] * len(requests)
        accepted: list[int] = []
        inputs: list[np.ndarray] = []
        for i, request in enumerate(requests):
            if request.is_cancelled():
                responses[i] = error_response("the request was cancelled", pb_utils.TritonError.CANCELLED)
                continue
            images = read_tensor(request, "image_embedding")
            fault = find_fault(images, self.panel.dim)
            if fault is not None:
                responses[i] = error_response(fault, pb_utils.TritonError.INVALID_ARG)
                continue
            accepted.append(i)
            inputs.append(images)
        if accepted:
            scores, similarities = self.panel.judge(np.concatenate(inputs))
            edges = np.cumsum([len(images) for images in inputs])[:-1]
            for i, score, similarity in zip(accepted, np.split(scores, edges), np.split(similarities, edges)):
                responses[i] = pb_utils.InferenceResponse(
                    output_tensors=[
                        pb_utils.Tensor("score", score),
                        pb_utils.Tensor("category_similarity", similarity),
                    ]
                )
        return responses


def read_tensor(request: Any, name: str) -> np.ndarray | None:
    """The named input as an array, None when the request has none."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def error_response(message: str, code: Any) -> Any:
    """A response that carries an error alone."""
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(message, code))
