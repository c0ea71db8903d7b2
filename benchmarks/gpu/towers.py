"""CLIP's image towers with random weights from a seed, and ways to run them. Needs PyTorch alone.

What a tower costs depends on the shape of its numbers, not on what they say.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "training"))
from agiqa_train.clip import VisionConfig, VisionTower, l2_normalize  # noqa: E402

SEED = 20261130
SIZE = 224
# Of training/agiqa_train/preprocess.py, which needs Pillow.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

# Name to sizes and the dimension of an embedding. The tiny ones stand in for the others where only the program is
# on trial.
TOWERS: dict[str, tuple[VisionConfig, int]] = {
    "vit-b-16": (VisionConfig(width=768, layers=12, heads=12, patch=16), 512),
    "vit-l-14": (VisionConfig(width=1024, layers=24, heads=16, patch=14), 768),
    "tiny-16": (VisionConfig(width=64, layers=2, heads=2, patch=32), 128),
    "tiny-14": (VisionConfig(width=96, layers=2, heads=2, patch=28), 128),
}
MODES = ("eager", "graph", "compile")


class Encoder(nn.Module):
    """uint8 pixels [N, 224, 224, 3] to unit vectors [N, D] in float32, as the served graph."""

    def __init__(self, config: VisionConfig, dim: int) -> None:
        super().__init__()
        self.tower = VisionTower(config, dim, "quick_gelu")
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        scaled = pixels.permute(0, 3, 1, 2).to(self.mean.dtype) / 255.0
        return l2_normalize(self.tower((scaled - self.mean) / self.std).float())


def build(name: str, device: str, dim: int | None = None) -> Encoder:
    """A tower ready to run: in half precision on a GPU, in single on a CPU, which has no fast half."""
    config, own = TOWERS[name]
    torch.manual_seed(SEED)
    encoder = Encoder(config, dim or own).eval().requires_grad_(False)
    return encoder.to(device, torch.float16 if device == "cuda" else torch.float32)


def flops(name: str) -> float:
    """Operations for one image, two for each multiply-add: convolution, projections, attention."""
    config, _ = TOWERS[name]
    width, patches, length = config.width, config.patches, config.patches + 1
    layer = 12 * width**2 * length + 2 * length**2 * width
    return 2.0 * (patches * 3 * config.patch**2 * width + config.layers * layer)


def images(n: int, device: str) -> Tensor:
    """Random pixels."""
    return torch.randint(0, 256, (n, SIZE, SIZE, 3), dtype=torch.uint8, device=device)


class Runner:
    """An encoder at fixed batch sizes: `run(batch)` embeds what is in `pixels(batch)`.

    eager runs kernel by kernel, graph replays a CUDA graph, compile does so with the kernels of torch.compile. Where
    there is no GPU a graph is the plain call.
    """

    def __init__(self, encoder: Encoder, device: str, mode: str) -> None:
        assert mode in MODES, mode
        self.device, self.mode = device, mode
        self.call = torch.compile(encoder, dynamic=False) if mode == "compile" else encoder
        self.ready: dict[int, tuple[Tensor, Tensor | None, torch.cuda.CUDAGraph | None]] = {}

    def pixels(self, batch: int) -> Tensor:
        """The input of a batch size, made ready at the first call."""
        if batch not in self.ready:
            self.ready[batch] = self._prepare(batch)
        return self.ready[batch][0]

    @torch.inference_mode()
    def _prepare(self, batch: int) -> tuple[Tensor, Tensor | None, torch.cuda.CUDAGraph | None]:
        pixels = images(batch, self.device)
        if self.device != "cuda" or self.mode == "eager":
            self.call(pixels)
            return pixels, None, None
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.call(pixels)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = self.call(pixels)
        return pixels, out, graph

    @torch.inference_mode()
    def run(self, batch: int) -> Tensor:
        """Embeddings of what `pixels(batch)` holds."""
        pixels = self.pixels(batch)
        _, out, graph = self.ready[batch]
        if graph is None or out is None:
            return self.call(pixels)
        graph.replay()
        return out


def synchronize(device: str) -> None:
    """Waits for what was asked of the device."""
    if device == "cuda":
        torch.cuda.synchronize()
