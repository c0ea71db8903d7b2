"""Serves the head of a prompt-aware checkpoint, `head.safetensors` beside this file, through Triton's Python backend.

It is `model.py` for heads that also read the embedding of the prompt that a picture was made from. The
master of this file lies in `checkpoint/model/`; change it there.

    score = W1 relu(W0 [image, t1..t6, prompt, image * prompt] + B0) + B1
    category_similarity = image . t1..t6

The arithmetic is in float64, so that a score does not depend on the batch it was computed in. The
texts' share of the first layer is a constant of a checkpoint: it is kept from call to call, and computed
anew when the texts change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

CATEGORIES = 6
PARTS = 3 + CATEGORIES  # embeddings in a row of the first layer: image, texts, prompt, image * prompt


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The F32 tensors of a safetensors file that package checkpoint wrote, as float64."""
    raw = path.read_bytes()
    data = 8 + int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, entry in json.loads(raw[8:data]).items():
        begin, end = (data + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(raw[begin:end], "<f4").reshape(entry["shape"]).astype(np.float64)
    return tensors


class Head:
    """The head's numbers and the texts' share of its first layer."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        weight = tensors["head.0.weight"]
        self.dim = dim = weight.shape[1] // PARTS
        edges = (dim, (1 + CATEGORIES) * dim, (2 + CATEGORIES) * dim)
        blocks = (np.ascontiguousarray(block.T) for block in np.split(weight, edges, axis=1))
        self.image_weight, self.text_weight, self.prompt_weight, self.product_weight = blocks  # [D or 6D, H]
        self.bias = tensors["head.0.bias"]
        self.last_weight = tensors["head.1.weight"].T  # [H, 1]
        self.last_bias = tensors["head.1.bias"]
        self.known_text: np.ndarray | None = None  # [6D]
        self.known_share: np.ndarray | None = None  # [H]

    def text_share(self, texts: np.ndarray) -> np.ndarray:
        """texts [N, 6D] to [N, H], or to [H] when all rows are the texts of the call before."""
        if self.known_text is None or not (texts == self.known_text).all():
            if not (texts == texts[0]).all():
                return texts.astype(np.float64) @ self.text_weight + self.bias
            self.known_share = texts[0].astype(np.float64) @ self.text_weight + self.bias
            self.known_text = texts[0].copy()
        return self.known_share

    def score(self, images: np.ndarray, texts: np.ndarray, prompts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """images and prompts [N, D], texts [N, 6, D] to score [N, 1] and category_similarity [N, 6]."""
        wide, wide_prompts = images.astype(np.float64), prompts.astype(np.float64)
        hidden = wide @ self.image_weight + self.text_share(texts.reshape(len(texts), -1))
        hidden += wide_prompts @ self.prompt_weight
        # Rounded as the graph and training round it, before it is weighted.
        hidden += (images * prompts).astype(np.float64) @ self.product_weight
        score = np.maximum(hidden, 0) @ self.last_weight + self.last_bias
        similarity = np.einsum("nd,ncd->nc", wide, texts)
        return score.astype(np.float32), similarity.astype(np.float32)


INPUTS = ("image_embedding", "text_embeddings", "prompt_embedding")


def find_fault(arrays: tuple[np.ndarray | None, ...], dim: int) -> str | None:
    """What is wrong with one request's inputs, in the order of INPUTS, or None."""
    for name, array, dims in zip(INPUTS, arrays, ((dim,), (CATEGORIES, dim), (dim,))):
        if array is None:
            return f"input {name}: is missing"
        if array.dtype != np.float32:
            return f"input {name}: has type {array.dtype}, float32 is wanted"
        if array.ndim != 1 + len(dims) or array.shape[1:] != dims or len(array) < 1:
            want = "x".join(str(d) for d in ("N", *dims))
            got = "x".join(str(d) for d in array.shape)
            return f"input {name}: has shape {got}, {want} is wanted"
        if len(array) != len(arrays[0]):
            return f"input {name}: has {len(array)} rows where image_embedding has {len(arrays[0])}"
    return None


class TritonPythonModel:
    """The class that Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the head."""
        self.head = Head(read_tensors(Path(__file__).with_name("head.safetensors")))

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order; all good requests share one matrix product."""
        responses: list[Any] = [None] * len(requests)
        accepted: list[int] = []
        inputs: list[tuple[np.ndarray, ...]] = []
        for i, request in enumerate(requests):
            if request.is_cancelled():
                responses[i] = error_response("the request was cancelled", pb_utils.TritonError.CANCELLED)
                continue
            arrays = tuple(read_tensor(request, name) for name in INPUTS)
            fault = find_fault(arrays, self.head.dim)
            if fault is not None:
                responses[i] = error_response(fault, pb_utils.TritonError.INVALID_ARG)
                continue
            accepted.append(i)
            inputs.append(arrays)
        if accepted:
            scores, similarities = self.head.score(*(np.concatenate(arrays) for arrays in zip(*inputs)))
            edges = np.cumsum([len(arrays[0]) for arrays in inputs])[:-1]
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
