"""What the tests of the committed model folders share.

They need NumPy, ONNX Runtime and pytest alone: no torch, no Triton. A small fake stands in for
`triton_python_backend_utils`, which exists only inside Triton's Python stub.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

# The tests import the models where they lie: no bytecode beside them.
sys.dont_write_bytecode = True

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = ROOT / "model_repository"
BUNDLE = ROOT / "demo" / "checkpoints" / "demo"


class TritonError(Exception):
    """The codes that model.py uses, with Triton's numbers."""

    INVALID_ARG = 2
    CANCELLED = 8

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Tensor:
    """A named array."""

    name: str
    array: np.ndarray

    def as_numpy(self) -> np.ndarray:
        return self.array


@dataclass
class Response:
    """Outputs or an error."""

    output_tensors: list[Tensor]
    error: TritonError | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """The outputs by name."""
        return {tensor.name: tensor.array for tensor in self.output_tensors}


@dataclass
class Request:
    """Inputs by name, and whether the client went away."""

    inputs: dict[str, np.ndarray]
    cancelled: bool = False
    tensors: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.tensors = {name: Tensor(name, array) for name, array in self.inputs.items()}

    def is_cancelled(self) -> bool:
        return self.cancelled


def fake_backend() -> types.ModuleType:
    """The part of Triton's module that model.py touches."""
    module = types.ModuleType("triton_python_backend_utils")
    module.TritonError = TritonError
    module.Tensor = Tensor
    module.InferenceResponse = Response
    module.get_input_tensor_by_name = lambda request, name: request.tensors.get(name)
    return module


def config_json(encoder: dict, model: str) -> str:
    """The model's configuration as Triton hands it to `initialize` (numbers of dims as strings, 64-bit)."""
    size, width, length = encoder["image_size"], encoder["text_width"], encoder["context_length"]
    tensors = {
        "clip_image_encoder": ([("pixels", "TYPE_UINT8", [size, size, 3])], "image_embedding", 32),
        "clip_text_encoder": (
            [
                ("token_ids", "TYPE_INT32", [length]),
                ("context", "TYPE_FP32", [length, width]),
                ("context_mask", "TYPE_UINT8", [length]),
            ],
            "text_embedding",
            64,
        ),
    }
    inputs, output, largest = tensors[model]
    document = {
        "name": model,
        "max_batch_size": largest,
        "input": [{"name": n, "data_type": t, "dims": [str(d) for d in dims]} for n, t, dims in inputs],
        "output": [{"name": output, "data_type": "TYPE_FP32", "dims": [str(encoder["embedding_dim"])]}],
        "parameters": {"encoder_digest": {"string_value": encoder["digest"]}},
    }
    return json.dumps(document)


@pytest.fixture(scope="session")
def encoder() -> dict:
    """`encoder.json` of the committed repository."""
    return json.loads((REPOSITORY / "encoder.json").read_text())


def load_module(model: str) -> types.ModuleType:
    """A model folder's model.py, imported against the fake."""
    sys.modules["triton_python_backend_utils"] = fake_backend()
    spec = importlib.util.spec_from_file_location(f"{model}_model", REPOSITORY / model / "1" / "model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session", params=["clip_image_encoder", "clip_text_encoder"])
def served(request: pytest.FixtureRequest, encoder: dict) -> types.SimpleNamespace:
    """Each encoder in turn: its module, an initialised model, and a maker of valid inputs."""
    name = request.param
    module = load_module(name)
    model = module.TritonPythonModel()
    model.initialize({"model_config": config_json(encoder, name), "model_name": name})
    maker = pixels if name == "clip_image_encoder" else lambda rows, seed=0: prompts(encoder, rows, seed)
    output = "image_embedding" if name == "clip_image_encoder" else "text_embedding"
    return types.SimpleNamespace(name=name, module=module, model=model, inputs=maker, output=output)


def pixels(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random pixels."""
    shape = (rows, 224, 224, 3)
    return {"pixels": np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)}


def prompts(encoder: dict, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random prompts: start, 16 context places, a word, a full stop, end, zeros."""
    rng = np.random.default_rng(seed)
    length, width = encoder["context_length"], encoder["text_width"]
    ids = np.zeros((rows, length), np.int32)
    ids[:, 0], ids[:, 1:17], ids[:, 18], ids[:, 19] = 49406, 343, 269, 49407
    ids[:, 17] = rng.integers(300, 40_000, rows)
    mask = np.zeros((rows, length), np.uint8)
    mask[:, 1:17] = 1
    context = rng.normal(0, 0.1, (rows, length, width)).astype(np.float32)
    return {"token_ids": ids, "context": context, "context_mask": mask}
