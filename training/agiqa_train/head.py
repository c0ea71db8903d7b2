"""The regression head: an image embedding and the category embeddings to one score."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Head(nn.Module):
    """concat [image, t1..tC] -> Dropout -> Linear(7D, H) -> ReLU -> Dropout -> Linear(H, 1).

    The layout is CLIP-AGIQA's. No similarity of image and text enters the score.
    """

    def __init__(self, embed_dim: int, hidden: int, categories: int = 6, dropout: float = 0.5) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear((1 + categories) * embed_dim, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )

    def forward(self, image: Tensor, texts: Tensor) -> Tensor:
        """Image [N, D] and category embeddings [C, D] to scores [N]."""
        constant = texts.reshape(1, -1).expand(image.shape[0], -1)
        return self.layers(torch.cat([image, constant], dim=1))[:, 0]

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


def score_numpy(tensors: dict[str, np.ndarray], image: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """The same head in float32 NumPy: image [N, D], texts [C, D] to [N]. Golden scores come from here."""
    features = np.concatenate([image, np.broadcast_to(texts.reshape(1, -1), (len(image), texts.size))], axis=1)
    hidden = np.maximum(features.astype(np.float32) @ tensors["head.0.weight"].T + tensors["head.0.bias"], 0)
    return (hidden @ tensors["head.1.weight"].T + tensors["head.1.bias"])[:, 0].astype(np.float32)
