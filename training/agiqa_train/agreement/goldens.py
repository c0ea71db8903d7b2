"""Writes the cases that hold `evaluation/` in Go to this package.

    python -m agiqa_train.agreement.goldens evaluation/testdata/agreement.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from .bootstrap import BootstrapConfig
from .report import evaluate


def samples() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name to scores and opinions, from a fixed seed; few decimals, so that the file stays small."""
    rng = np.random.default_rng(20240827)

    def noise(n: int) -> np.ndarray:
        return rng.normal(size=n)

    spread = noise(300)
    rising = 2.5 + 1.2 * np.tanh(spread) + 0.3 * noise(300)
    line = np.linspace(0, 1, 40)
    step = noise(60)
    clusters = rng.integers(0, 4, 80).astype(float)
    cases = {
        "by hand": (np.array([1.0, 2, 2, 4]), np.array([1.0, 3, 2, 4])),
        "ordinary": (spread, rising),
        "falling": (-spread[:120], rising[:120]),
        "scale of 100": (50 + 12 * spread[:150], 60 + 15 * np.tanh(0.8 * spread[:150]) + 5 * noise(150)),
        "ties on both sides": (np.round(spread[:100]), np.round(2 * rising[:100]) / 2),
        "four values of scores": (clusters, clusters + 0.5 * noise(80)),
        "nearly a line": (line, 1 + 3 * line + 0.01 * noise(40)),
        "exactly a line": (line, 1 + 3 * line),
        "exactly a logistic": (6 * line, 1 + 4 / (1 + np.exp(-2 * (6 * line - 3)))),
        "a step": (step, np.where(step > 0.1, 4.0, 1.0)),
        "no relation": (noise(90), noise(90)),
        "three images": (np.array([0.3, 0.1, 0.2]), np.array([3.0, 1.0, 2.5])),
        "four images": (np.array([0.3, 0.1, 0.2, 0.7]), np.array([3.0, 1.0, 2.5, 2.7])),
        "five images": (np.array([0.3, 0.1, 0.2, 0.7, 0.4]), np.array([3.0, 1.0, 2.5, 2.7, 3.3])),
        "constant scores": (np.full(12, 2.5), np.round(noise(12), 2)),
        "an outlier": (np.append(spread[:50], 40.0), np.append(rising[:50], 2.0)),
        "more than 200 images, tied": (np.round(spread * 5) / 5, np.round(rising, 1)),
    }
    return {name: (np.round(x, 6), np.round(y, 6)) for name, (x, y) in cases.items()}


def document() -> dict:
    """Every case with the report on it."""
    config = BootstrapConfig(replicates=400, confidence=0.9, seed=7)
    cases = [
        {"name": name, "scores": x.tolist(), "mos": y.tolist(), "report": evaluate(x, y, config).to_dict()}
        for name, (x, y) in samples().items()
    ]
    return {"written_by": "python -m agiqa_train.agreement.goldens", "cases": cases}


def main() -> None:
    """Writes the file that is named."""
    Path(sys.argv[1]).write_text(json.dumps(document()).replace('{"name"', '\n{"name"') + "\n")


if __name__ == "__main__":
    main()
