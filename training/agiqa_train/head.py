"""The regression head: an image embedding and the category embeddings to one score."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Head(nn.Module):
    """concat [image, t1..tC] -> Dropout -> Linear(7D, H) -> ReLU -> Dropout -> Linear(H, 1).

    The layout is CLIP-AGIQA's. No similarity of image and text enters the score. With `prompt` the head
    also reads the picture's prompt: concat [image, t1..tC, prompt, image * prompt], 9D of them.
    """

    def __init__(
        self, embed_dim: int, hidden: int, categories: int = 6, dropout: float = 0.5, prompt: bool = False
    ) -> None:
        super().__init__()
        self.prompt = prompt
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear((1 + categories + 2 * prompt) * embed_dim, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )

    def forward(self, image: Tensor, texts: Tensor) -> Tensor:
        """Image [N, D] and category embeddings [C, D] to scores [N]; with `prompt`, image and prompt [N, 2D]."""
        constant = texts.reshape(1, -1).expand(image.shape[0], -1)
        parts = [image, constant]
        if self.prompt:
            image, prompt = image.chunk(2, dim=1)
            parts = [image, constant, prompt, image * prompt]
        return self.layers(torch.cat(parts, dim=1))[:, 0]

    def tensors(self) -> dict[str, np.ndarray]:
        """The four tensors under the names a bundle gives them, float32."""
        first, second = self.layers[1], self.layers[4]
        named = {
            "head.0.weight": first.weight,
            "head.0.bias": first.bias,
            "head.1.weight": second.weight,
            "head.1.bias": second.bias,
        }
        return {name: value.detach().cpu().numpy().astype(np.float32) for name, value in named.items()}


def score_numpy(
    tensors: dict[str, np.ndarray], image: np.ndarray, texts: np.ndarray, prompts: np.ndarray | None = None
) -> np.ndarray:
    """The same head in float32 NumPy: image [N, D], texts [C, D] to [N]. Golden scores come from here.

    `prompts` [N, D] are those of the pictures, for a head that reads them.
    """
    parts = [image, np.broadcast_to(texts.reshape(1, -1), (len(image), texts.size))]
    if prompts is not None:
        parts += [prompts, image * prompts]
    features = np.concatenate(parts, axis=1)
    hidden = np.maximum(features.astype(np.float32) @ tensors["head.0.weight"].T + tensors["head.0.bias"], 0)
    return (hidden @ tensors["head.1.weight"].T + tensors["head.1.bias"])[:, 0].astype(np.float32)
