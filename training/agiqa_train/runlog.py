"""The run folder: configuration, versions and a line of JSON for every measurement."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import PIL
import scipy
import torch


def versions() -> dict[str, str]:
    """Versions of everything that can change a number."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "pillow": PIL.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def git_commit(folder: Path) -> str:
    """The commit that is checked out, or "unknown" outside a repository."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


class RunLog:
    """Appends to `metrics.jsonl` in a run folder, and writes `config.json` once."""

    def __init__(self, folder: Path, config: dict) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        document = {"config": config, "versions": versions()}
        (folder / "config.json").write_text(json.dumps(document, indent=2, default=str) + "\n")
        self._path = folder / "metrics.jsonl"

    def add(self, stage: str, **values: float | int | str) -> None:
        """One measurement, with the stage it belongs to and the time."""
        with self._path.open("a") as file:
            file.write(json.dumps({"time": round(time.time(), 1), "stage": stage, **values}) + "\n")
