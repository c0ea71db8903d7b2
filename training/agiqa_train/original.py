"""Reads checkpoint folders of the original repository (github.com/wzczc/CLIP-AGIQA).

Its training loop (Dassl's) writes `prompt_learner/model.pth.tar-N` and
`regression/model.pth.tar-N`, and `model-best.pth.tar` beside them when it validates. Each is a
torch file of `state_dict`, `epoch`, `optimizer`, `scheduler` and `val_result`. Of these only two
state dicts matter: `ctx`, and the two linear layers `1` and `4` of the head. `token_prefix` and
`token_suffix` are copies of frozen embeddings and are ignored, as the original does.

Nothing pickled is executed. `weights_only` alone would refuse most of these files: with a warm-up,
the scheduler's state holds whole scheduler and optimizer objects. Those, and NumPy scalars, are
read as inert stand-ins that keep nothing; any other type is an error that names it.
"""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .sources import SourceError, first_line

PARTS = ("prompt_learner", "regression")
BEST = "model-best.pth.tar"
IGNORED = ("token_prefix", "token_suffix")
HEAD_NAMES = {
    "1.weight": "head.0.weight",
    "1.bias": "head.0.bias",
    "4.weight": "head.1.weight",
    "4.bias": "head.1.bias",
}
# Types that the parts we do not need are made of.
INERT = re.compile(
    r"torch\.optim\.[\w.]+|dassl\.optim\.[\w.]+|(numpy|numpy\.core\.multiarray|numpy\._core\.multiarray)\.(dtype|scalar)"
    r"|collections\.defaultdict|builtins\.dict"
)


@dataclass(frozen=True)
class OriginalCheckpoint:
    """What a folder holds of use."""

    context: np.ndarray  # float32 [L, W] or [6, L, W]
    head: dict[str, np.ndarray]  # under a bundle's names
    epoch: int
    file: str  # the name that both parts have


def _plain_dict(*factory: object) -> dict:
    """Stands for a defaultdict: the reader fills plain dicts alone."""
    return {}


class _Inert:
    """Stands for a type that is not loaded: takes anything, keeps nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


KNOWN_TYPES = {"collections.defaultdict": _plain_dict, "builtins.dict": dict}


def read_original(folder: Path, epoch: int | None = None) -> OriginalCheckpoint:
    """Reads the pair of files of one epoch (None: the best, else the last); raises SourceError."""
    name = pick_file(folder, epoch)
    documents = {part: read_archive(folder / part / name, part) for part in PARTS}
    epochs = {part: document.get("epoch") for part, document in documents.items()}
    if len(set(epochs.values())) != 1 or not isinstance(epochs["regression"], int):
        raise SourceError(f"{folder}: the two files are of different epochs, {epochs}")
    prompts = tensors_of(documents["prompt_learner"], f"prompt_learner/{name}")
    head = tensors_of(documents["regression"], f"regression/{name}")
    check_names(prompts, {"ctx"}, f"prompt_learner/{name}")
    check_names(head, set(HEAD_NAMES), f"regression/{name}")
    return OriginalCheckpoint(
        context=prompts["ctx"],
        head={HEAD_NAMES[name]: array for name, array in head.items()},
        epoch=epochs["regression"],
        file=name,
    )


def pick_file(folder: Path, epoch: int | None) -> str:
    """The file name that both parts have."""
    present = []
    for part in PARTS:
        if not (folder / part).is_dir():
            raise SourceError(f"{folder} has no folder {part}: want {PARTS[0]}/ and {PARTS[1]}/ with model.pth.tar-N")
        present.append({file.name for file in (folder / part).iterdir() if file.is_file()})
    both = present[0] & present[1]
    if epoch is not None:
        name = f"model.pth.tar-{epoch}"
        if name not in both:
            raise SourceError(f"{folder}: not both parts have {name}; there are {epochs_of(both) or 'none'}")
        return name
    if BEST in both:
        return BEST
    if not epochs_of(both):
        raise SourceError(f"{folder}: the two parts share no model.pth.tar-N")
    return f"model.pth.tar-{epochs_of(both)[-1]}"


def epochs_of(names: set[str]) -> list[int]:
    """Epochs in order."""
    return sorted(int(m[1]) for name in names if (m := re.fullmatch(r"model\.pth\.tar-(\d+)", name)))


def read_archive(path: Path, part: str) -> dict:
    """One file, without executing anything in it."""
    where = f"{part}/{path.name}"
    try:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        refused = sorted(name for name in unknown if not INERT.fullmatch(name))
        if refused:
            raise SourceError(f"{where} refers to {', '.join(refused)}, which is not loaded from a checkpoint")
        stand_ins = [(KNOWN_TYPES.get(name, _Inert), name) for name in unknown]
        with torch.serialization.safe_globals(stand_ins):
            document = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, OSError, EOFError, ValueError, KeyError) as fault:
        if isinstance(fault, SourceError):
            raise
        raise SourceError(f"{where} is not a torch file that can be read: {first_line(fault)}") from fault
    if not isinstance(document, dict):
        raise SourceError(f"{where} holds a {type(document).__name__}, want a dict")
    return document


def tensors_of(document: dict, where: str) -> dict[str, np.ndarray]:
    """The state dict in float32, without what is ignored."""
    state = document.get("state_dict")
    if not isinstance(state, dict):
        raise SourceError(f"{where} has no state_dict")
    tensors: dict[str, np.ndarray] = {}
    for name, tensor in state.items():
        if name in IGNORED:
            continue
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise SourceError(f"{where}: {name} is not a tensor of floating point numbers")
        tensors[str(name)] = tensor.detach().float().contiguous().numpy()
    return tensors


def check_names(tensors: dict[str, np.ndarray], wanted: set[str], where: str) -> None:
    """Wants exactly these tensors."""
    missing, unexpected = sorted(wanted - tensors.keys()), sorted(tensors.keys() - wanted)
    faults = [f"{kind}: {', '.join(names)}" for kind, names in (("missing", missing), ("unexpected", unexpected)) if names]
    if faults:
        raise SourceError(f"{where}: {'; '.join(faults)}")
