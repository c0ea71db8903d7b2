"""The folder that one `agiqa-train fit` run leaves, and how others read it.

| file | what |
|---|---|
| `config.json` | everything that the result depends on, versions, git commit |
| `split.json` | names of the images of each side |
| `metrics.jsonl` | a line for each epoch |
| `state.pt` | what an interrupted run goes on from |
| `last.safetensors`, `best.safetensors` | context and head, named as in a bundle |
| `predictions-last.csv`, `predictions-best.csv` | image, score, mos of the held-out images |
| `result.json` | the figures on the held-out images |
| `loss.png`, `scatter.png` | for people |

`result.json` is written last: where it is, the run is whole.
"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from ..meaning import ScoreScale
from ..preprocess import PILLOW12

FORMAT = "agiqa-fit/1"
WEIGHTS = ("last", "best")
TASKS = {"correspondence": "alignment"}  # AIGCIQA2023's word to the one of a checkpoint
ALIGNMENT = "alignment"  # of a picture and its prompt


class RunError(ValueError):
    """The folder is not a whole run, or is another run's; the message says which and why."""


@dataclass(frozen=True)
class FittedRun:
    """What a checkpoint is made of."""

    context: np.ndarray  # float32 [L, W], or [C, L, W] when class-specific
    head: dict[str, np.ndarray]  # head.0.weight, head.0.bias, head.1.weight, head.1.bias
    categories: tuple[str, ...]
    class_token_position: str
    task: str
    score: ScoreScale
    training: dict  # for a manifest: data, split, seed, protocol, code
    metrics: dict  # for a manifest: the report on the held-out images
    prompt: bool  # the head reads the prompts of pictures
    recipe: str  # by which its pictures were resized
    encoder_digest: str | None  # of the exported encoder it was trained with; None: none was given


def read_run(folder: Path, weights: str = "last") -> FittedRun:
    """A finished run; raises RunError."""
    config, result = read_json(folder, "config.json"), read_json(folder, "result.json")
    if config.get("format") != FORMAT:
        raise RunError(f"run {folder}: config.json is not of format {FORMAT}")
    if weights not in WEIGHTS:
        raise RunError(f"weights {weights!r} are not one of {', '.join(WEIGHTS)}")
    tensors = load_file(folder / f"{weights}.safetensors")
    fit, data, split = config["fit"], config["data"], config["split"]
    return FittedRun(
        context=tensors.pop("context"),
        head=tensors,
        categories=tuple(fit["categories"]),
        class_token_position=fit["class_token_position"],
        task=TASKS.get(data["task"], data["task"]),
        score=ScoreScale(**data["score"]),
        training={
            "data": f"{data['name']}, {data['task']}, {data['images']} images (sha256 {data['sha256']})",
            "split": f"by {split['by']}, {split['test']:g} held out, seed {split['seed']}",
            "seed": fit["seed"],
            "protocol": f"{fit['optimizer']}, lr {fit['learning_rate']:g}, {fit['epochs']} epochs, batch {fit['batch']}, "
            f"augmentation {fit['augmentation']}, weights of the {weights} epoch",
            "source": f"{config['source']['format']} {config['source']['file']} (sha256 {config['source']['sha256']})",
            "code": config["git_commit"],
        },
        metrics=result[weights],
        prompt=data.get("prompt", False),
        recipe=data.get("recipe", PILLOW12),
        encoder_digest=None if config["encoder"] is None else config["encoder"]["digest"],
    )


def read_json(folder: Path, name: str) -> dict:
    """One of the folder's documents; raises RunError that says what is missing."""
    file = folder / name
    if not file.is_file():
        seeds = sorted(f.name for f in folder.glob("seed-*")) if folder.is_dir() else []
        hint = f"; it holds the runs {', '.join(seeds)}, name one of them" if seeds else ""
        raise RunError(f"run {folder} has no {name}: it is not a finished run of agiqa-train fit{hint}")
    return json.loads(file.read_text())


def write_json(path: Path, document: dict) -> None:
    """Whole or not at all."""
    write_text(path, json.dumps(document, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    staged = path.with_name(f".{path.name}.new")
    staged.write_text(text)
    os.replace(staged, path)


def write_weights(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Context and head, float32."""
    staged = path.with_name(f".{path.name}.new")
    save_file({name: np.ascontiguousarray(v, dtype=np.float32) for name, v in tensors.items()}, staged)
    os.replace(staged, path)


def write_predictions(path: Path, names: list[str], scores: np.ndarray, mos: np.ndarray) -> None:
    """image,score,mos with every digit, in the order given."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "score", "mos"])
        writer.writerows([name, repr(float(s)), repr(float(m))] for name, s, m in zip(names, scores, mos, strict=True))
