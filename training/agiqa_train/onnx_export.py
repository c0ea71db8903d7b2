"""Writes the two encoder graphs and checks them against PyTorch.

Precision `fp32` stores weights as they are. `fp16` stores them as float16 and casts them back to
float32 in the graph: half the bytes, while every operation runs in float32 (ONNX Runtime folds the
casts when it loads the file; on weights that were published as float16, OpenAI's, nothing is lost).
Computing in float16 is another matter, and the business of the engine on a GPU. Opset 17, standard
operators only, the batch is the only dynamic axis.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from .clip import Clip, TextTower
from .preprocess import IMAGE_SIZE, MEAN, STD

OPSET = 17
# Smaller tensors (biases, norms) stay float32: they weigh little, and rounding them helps nobody.
HALF_FROM = 1024
Tower = TypeVar("Tower", bound=TextTower)
PRECISIONS = ("fp32", "fp16")
# What an export may differ from PyTorch before it is refused. The first is half of what
# docs/fidelity.md promises against other implementations.
MAX_DIFFERENCE = 5e-5
MIN_COSINE = 0.9999


class ImageGraph(nn.Module):
    """uint8 pixels [N, R, R, 3] (RGB) to unit vectors [N, D]; holds the normalisation constants."""

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        scaled = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255.0
        return self.clip.encode_image((scaled - self.mean) / self.std)


class TextGraph(nn.Module):
    """token_ids int32 [N, 77], context [N, 77, W], context_mask uint8 [N, 77] to unit vectors [N, D]."""

    def __init__(self, tower: TextTower) -> None:
        super().__init__()
        self.clip = tower  # the name is in the graph's tensors, and so in its digest

    def forward(self, token_ids: Tensor, context: Tensor, context_mask: Tensor) -> Tensor:
        return self.clip.encode_text(token_ids, context, context_mask)


@dataclass(frozen=True)
class Drift:
    """How far an exported graph is from PyTorch, on random inputs: largest absolute differences."""

    full: float  # against the float32 model: the cost of float16 storage
    rounded: float  # against the model with the weights that are stored: the cost of the export itself
    cosine: float  # smallest cosine with the float32 model's embedding

    def faults(self) -> str:
        """Why the graph may not be used, or nothing."""
        if self.rounded > MAX_DIFFERENCE:
            return f"differs by {self.rounded:.1e} from PyTorch, {MAX_DIFFERENCE:.0e} is allowed"
        if self.cosine < MIN_COSINE:
            return f"has cosine {self.cosine:.6f} with PyTorch's embeddings, {MIN_COSINE} is wanted"
        return ""


def rounded_copy(clip: Tower) -> Tower:
    """The model with the weights that the exported file holds."""
    twin = copy.deepcopy(clip)
    with torch.no_grad():
        for parameter in twin.parameters():
            if parameter.numel() >= HALF_FROM:
                parameter.copy_(parameter.half().float())
    return twin


def store_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Float32 initializers of some size become float16 with a Cast in front of their users."""
    graph = model.graph
    casts = []
    for i, tensor in enumerate(list(graph.initializer)):
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < HALF_FROM:
            continue
        name = tensor.name  # CopyFrom below changes `tensor` itself
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise ValueError(f"{name}: a weight of {np.abs(values).max():.3g} does not fit into float16: use fp32")
        graph.initializer[i].CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.f16"))
        casts.append(helper.make_node("Cast", [f"{name}.f16"], [name], f"cast {name}", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def constants_to_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Large Constant nodes (a folded mask, say) join the initializers, so that storage treats all alike."""
    graph = model.graph
    kept = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None and numpy_helper.to_array(value).size >= HALF_FROM:
            graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(value), node.output[0]))
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    return model


def export_graph(module: nn.Module, example: dict[str, Tensor], output: str, path: Path, precision: str) -> None:
    """Traces `module` on `example` and writes the graph."""
    names = list(example)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracer notes on lengths that are constant on purpose
        torch.onnx.export(
            module.eval(),
            tuple(example.values()),
            str(path),
            input_names=names,
            output_names=[output],
            dynamic_axes={name: {0: "batch"} for name in [*names, output]},
            opset_version=OPSET,
            dynamo=False,
        )
    model = constants_to_initializers(onnx.load(path))
    if precision == "fp16":
        store_half(model)
    # No names or file positions of the machine that exported it.
    for node in model.graph.node:
        node.doc_string = ""
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def image_example(batch: int, seed: int = 0) -> dict[str, Tensor]:
    """Random pixels of the right type and shape."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, IMAGE_SIZE, IMAGE_SIZE, 3)
    return {"pixels": torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)}


def text_example(tower: TextTower, batch: int, seed: int = 0) -> dict[str, Tensor]:
    """Random prompts: start, 16 context places, some tokens, end, zeros."""
    config = tower.text
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, config.vocab_size - 2, (batch, config.context_length), generator=generator)
    ids[:, 0], ids[:, 19], ids[:, 20:] = config.vocab_size - 2, config.vocab_size - 1, 0
    mask = torch.zeros(batch, config.context_length, dtype=torch.uint8)
    mask[:, 1:17] = 1
    context = torch.randn(batch, config.context_length, config.width, generator=generator) * 0.1
    return {"token_ids": ids.to(torch.int32), "context": context, "context_mask": mask}


def run_onnx(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """First output of the graph on the CPU."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def measure_drift(path: Path, module: nn.Module, twin: nn.Module, example: dict[str, Tensor]) -> Drift:
    """Compares the file with the float32 PyTorch module, and with its twin that has the stored weights."""
    got = run_onnx(path, {name: value.numpy() for name, value in example.items()})
    with torch.no_grad():
        full = module.eval()(*example.values()).numpy()
        rounded = full if twin is module else twin.eval()(*example.values()).numpy()
    cosine = (got.astype(np.float64) * full).sum(axis=1).min()
    return Drift(float(np.abs(got - full).max()), float(np.abs(got - rounded).max()), float(cosine))


def export_encoders(clip: Clip, image_path: Path, text_path: Path, precision: str = "fp16") -> dict[str, Drift]:
    """Writes both graphs; raises ValueError when one does not agree with PyTorch."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}: want one of {', '.join(PRECISIONS)}")
    clip = copy.deepcopy(clip).float().eval()
    image = ImageGraph(clip)
    twin = ImageGraph(rounded_copy(clip)) if precision == "fp16" else image
    export_graph(image, image_example(2), "image_embedding", image_path, precision)
    drift = measure_drift(image_path, image, twin, image_example(4, 1))
    _refuse("clip_image_encoder", drift)
    return {"clip_image_encoder": drift, "clip_text_encoder": export_text(clip, text_path, precision)}


def export_text(tower: TextTower, path: Path, precision: str = "fp16") -> Drift:
    """Writes the text graph; raises ValueError when it does not agree with PyTorch."""
    tower = copy.deepcopy(tower).float().eval()
    text = TextGraph(tower)
    twin = TextGraph(rounded_copy(tower)) if precision == "fp16" else text
    export_graph(text, text_example(tower, 2), "text_embedding", path, precision)
    drift = measure_drift(path, text, twin, text_example(tower, 6, 1))
    _refuse("clip_text_encoder", drift)
    return drift


def _refuse(name: str, drift: Drift) -> None:
    if drift.faults():
        raise ValueError(f"{name}: the exported graph {drift.faults()}")
