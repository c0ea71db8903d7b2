"""A linear head in the shape of CLIP-AGIQA's: ridge regression as a pair of ReLU units.

With u = relu(w.x + b) and v = relu(-(w.x + b)) the score mean + u - v is exactly mean + w.x + b, so the
server needs no other head. The columns of the text features are zero: the six texts are constants of a
checkpoint and could only move b.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RidgeConfig:
    """Strength of the regularisation, in the correlation form: 1 shrinks a direction of unit variance by half."""

    penalty: float = 1.0


@dataclass(frozen=True)
class Linear:
    """score = mean + weight.x + bias."""

    weight: np.ndarray  # float64 [D]
    bias: float
    mean: float

    def head(self, categories: int) -> dict[str, np.ndarray]:
        """The tensors of a head over [image, t1..tC]."""
        dim = len(self.weight)
        row = np.concatenate([self.weight, np.zeros(categories * dim)])
        return {
            "head.0.weight": np.stack([row, -row]).astype(np.float32),
            "head.0.bias": np.array([self.bias, -self.bias], np.float32),
            "head.1.weight": np.array([[1, -1]], np.float32),
            "head.1.bias": np.array([self.mean], np.float32),
        }


def fit_ridge(rows: np.ndarray, scores: np.ndarray, config: RidgeConfig) -> Linear:
    """Embeddings [N, D] and scores [N] to a linear head; each dimension is standardised first."""
    x, y = rows.astype(np.float64), scores.astype(np.float64)
    centre, deviation = x.mean(axis=0), x.std(axis=0)
    deviation[deviation == 0] = 1
    z = (x - centre) / deviation
    penalised = z.T @ z / len(z) + config.penalty * np.eye(z.shape[1])
    weight = np.linalg.solve(penalised, z.T @ (y - y.mean()) / len(z)) / deviation
    return Linear(weight, float(-weight @ centre), float(y.mean()))
