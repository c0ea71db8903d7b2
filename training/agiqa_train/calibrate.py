"""`agiqa-train calibrate`: what the 8-bit form of an image encoder needs to know of its activations.

For every MatMul with weights the command writes to a safetensors file

| tensor | what |
|---|---|
| `KEY.smooth` float32 [in] | balancing: activations are divided by it, rows of the weights multiplied |
| `KEY.input_scale` float32 [1], `KEY.input_zero_point` uint8 [1] | from the range of the balanced activations |

Balancing is that of SmoothQuant (arXiv 2211.10438).
KEY is the name of the weights in the graph without its last part: `layers.0.fc1.weight` gives `layers.0.fc1`.
The weights of one input may be cut into parts, `layers.11.qkv.query.weight` and `layers.11.qkv.rest.weight`:
they stay one multiplication here, `layers.11.qkv`.
Scales are static. A scale that is taken over a batch would make a picture's score depend on its neighbours.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from tqdm import tqdm

from .damage import DamageConfig, apply_versions
from .data import picture_files
from .distort import KIND_NAMES, KINDS
from .exported import open_image
from .views import View, grid, view_pixels

PARTS = (".query", ".rest")
LEAST = 1e-5  # of a channel's range: a dead one is not balanced away to nothing


@dataclass(frozen=True)
class CalibrationConfig:
    """Which pictures are looked at, and how far the load is moved from activations to weights."""

    alpha: float = 0.7
    unbalanced: tuple[str, ...] = ("proj",)  # keys whose activations nothing in front of them can divide
    left_out: tuple[str, ...] = ("patch",)  # keys whose input is the pixels, which are 8 bits already
    largest: float = 100.0  # and 1/largest: bounds of a balancing factor
    pictures: int = 80
    seed: int = 7
    batch: int = 4


@dataclass
class Range:
    """Least and largest value of each input channel of one MatMul, over all tokens of all pictures."""

    low: np.ndarray
    high: np.ndarray

    def add(self, values: np.ndarray) -> None:
        """Widens the range to activations [..., channels]."""
        rows = values.reshape(-1, values.shape[-1])
        self.low, self.high = np.minimum(self.low, rows.min(axis=0)), np.maximum(self.high, rows.max(axis=0))


@dataclass(frozen=True)
class WeightedMatMul:
    """A MatMul whose second input is a constant [in, out]; its parts may take several names of the same input."""

    key: str
    activations: tuple[str, ...]
    weight: np.ndarray


def weighted_matmuls(model: onnx.ModelProto, config: CalibrationConfig) -> list[WeightedMatMul]:
    """In the graph's order; raises ValueError when there are none."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, list[tuple[str, np.ndarray]]] = {}
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in constants:
            continue
        key = node.input[1].rpartition(".")[0]
        for part in PARTS:
            key = key.removesuffix(part)
        if key and key not in config.left_out:
            found.setdefault(key, []).append((node.input[0], numpy_helper.to_array(constants[node.input[1]])))
    if not found:
        raise ValueError("the graph has no MatMul with weights of a name of its own: give the encoder's float graph")
    return [
        WeightedMatMul(key, tuple(dict.fromkeys(name for name, _ in parts)), np.concatenate([w for _, w in parts], 1))
        for key, parts in found.items()
    ]


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """A copy of the graph that also returns the named values, after its first output."""
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    twin.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    return twin


def measure_ranges(
    model: onnx.ModelProto, batches: Iterable[np.ndarray], config: CalibrationConfig
) -> dict[str, Range]:
    """Batches of uint8 pixels [N, 224, 224, 3] through the graph; the range of each key's activations."""
    matmuls = weighted_matmuls(model, config)
    names = list(dict.fromkeys(name for matmul in matmuls for name in matmul.activations))
    session = ort.InferenceSession(with_outputs(model, names).SerializeToString(), providers=["CPUExecutionProvider"])
    ranges = {m.key: Range(np.full(len(m.weight), np.inf), np.full(len(m.weight), -np.inf)) for m in matmuls}
    for pixels in batches:
        values = dict(zip(names, session.run(names, {"pixels": pixels})))
        for matmul in matmuls:
            for name in matmul.activations:
                ranges[matmul.key].add(values[name])
    return ranges


def balance(activation: Range, weight: np.ndarray, config: CalibrationConfig) -> np.ndarray:
    """Factors float32 [in] of geometric mean 1: largest activation ^ alpha / largest weight ^ (1 - alpha)."""
    largest = np.maximum(np.maximum(np.abs(activation.low), np.abs(activation.high)), LEAST)
    heaviest = np.maximum(np.abs(weight).max(axis=1), LEAST)
    factors = largest**config.alpha / heaviest ** (1 - config.alpha)
    factors /= np.exp(np.mean(np.log(factors)))
    return np.clip(factors, 1 / config.largest, config.largest).astype(np.float32)


def quantisation(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Scale and zero point of unsigned 8-bit values that cover low..high and hold 0 exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255) if high > low else np.float32(1)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))


def calibration(model: onnx.ModelProto, ranges: dict[str, Range], config: CalibrationConfig) -> dict[str, np.ndarray]:
    """The tensors of the file."""
    tensors: dict[str, np.ndarray] = {}
    for matmul in weighted_matmuls(model, config):
        found = ranges[matmul.key]
        low, high = found.low, found.high
        if matmul.key not in config.unbalanced:
            factors = balance(found, matmul.weight, config)
            tensors[f"{matmul.key}.smooth"] = factors
            low, high = low / factors, high / factors
        scale, zero = quantisation(float(low.min()), float(high.max()))
        tensors[f"{matmul.key}.input_scale"] = np.array([scale])
        tensors[f"{matmul.key}.input_zero_point"] = np.array([zero])
    return tensors


def calibration_pixels(files: list[Path], config: CalibrationConfig) -> Iterable[np.ndarray]:
    """Batches of uint8 pixels: of each picture the 224 crop, a cell at 448, and a cell of a damaged version."""
    cells, rows = grid(448), []
    for i, file in enumerate(files[: config.pictures]):
        image = open_image(file)
        severities = np.zeros((1, len(KINDS)), np.float32)
        severities[0, i % len(KIND_NAMES)] = np.random.default_rng([config.seed, i]).uniform(0.3, 1.0)
        (damaged,) = apply_versions(image, severities, DamageConfig(seed=config.seed), i)
        rows += [*view_pixels(image, (View(), cells[i % 4])), *view_pixels(damaged, (cells[(i + 1) % 4],))]
        while len(rows) >= config.batch:
            yield np.stack(rows[: config.batch])
            rows = rows[config.batch :]
    if rows:
        yield np.stack(rows)


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its flags."""
    defaults = CalibrationConfig()
    command = commands.add_parser("calibrate", help="measure the activation ranges that an 8-bit image encoder needs")
    command.add_argument("--graph", type=Path, required=True, help="float ONNX graph of the image encoder")
    command.add_argument("--images", type=Path, required=True, help="folder of pictures")
    command.add_argument("--out", type=Path, required=True, help="calibration file, safetensors")
    command.add_argument("--alpha", type=float, default=defaults.alpha, help="balancing, 0 to 1 (default: %(default)s)")
    command.add_argument("--pictures", type=int, default=defaults.pictures, help="most pictures (default: %(default)s)")
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> dict:
    """The command; returns what it prints."""
    config = CalibrationConfig(alpha=args.alpha, pictures=args.pictures)
    if not 0 <= config.alpha <= 1:
        raise ValueError(f"--alpha {config.alpha:g} is not between 0 and 1")
    files = picture_files(args.images)[: config.pictures]
    if not files:
        raise ValueError(f"--images {args.images} has no pictures")
    model = onnx.load(args.graph)
    count = -(-3 * len(files) // config.batch)
    batches = tqdm(calibration_pixels(files, config), total=count, desc="calibrating", unit="batch", disable=None)
    tensors = calibration(model, measure_ranges(model, batches, config), config)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    staged = args.out.with_name(f".{args.out.name}.new")
    save_file(tensors, staged)
    staged.replace(args.out)
    return {
        "out": str(args.out),
        "pictures": len(files),
        "alpha": config.alpha,
        "matmuls": len(weighted_matmuls(model, config)),
    }
