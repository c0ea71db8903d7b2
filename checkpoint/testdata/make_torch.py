"""Writes the PyTorch files that the tests of `checkpoint` read, and what is in them.

    training/.venv/bin/python checkpoint/testdata/make_torch.py

`torch/*.pt` are single cases; `torch/expected.json` says what a reader must find in each.
`original/` is a folder as CLIP-AGIQA's training leaves it (github.com/wzczc/CLIP-AGIQA on
Dassl.pytorch): a file for the prompts and one for the head, with the state of optimizer and
scheduler beside the weights. Its `expected.json` holds the weights once more, and the digest that
this project's training gives them; `original/faulty/` holds parts that must be refused. The numbers are drawn with a fixed seed.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "training"))

from agiqa_train.digest import checkpoint_digest  # noqa: E402
from agiqa_train.prompts import CATEGORIES  # noqa: E402

DIM, HIDDEN, WIDTH, CONTEXT = 8, 5, 6, 4
ENCODER = "sha256:" + "ab" * 32


class ConstantWarmUp(torch.optim.lr_scheduler.LRScheduler):
    """Keeps a small rate for a while, then follows another scheduler, which its state holds as an object.

    So does the one that CLIP-AGIQA is trained with, which is why its files hold whole optimizers.
    """

    def __init__(self, optimizer, successor, epochs: int) -> None:
        self.successor, self.epochs = successor, epochs
        super().__init__(optimizer)

    def get_lr(self):
        return [1e-5 for _ in self.base_lrs] if self.last_epoch < self.epochs else self.successor.get_last_lr()

    def step(self, epoch=None):
        if self.last_epoch >= self.epochs:
            self.successor.step()
            self._last_lr = self.successor.get_last_lr()
        else:
            super().step(epoch)


def describe(value, path: str, found: dict) -> None:
    """Collects tensors and plain values under their dotted paths."""
    if isinstance(value, torch.Tensor):
        numbers = value.detach().double().flatten().tolist() if value.is_floating_point() else None
        dtype = str(value.dtype).removeprefix("torch.")
        found["tensors"][path] = {"dtype": dtype, "shape": list(value.shape), "float32": numbers}
    elif isinstance(value, np.generic):
        found["opaque"].append(path)
    elif isinstance(value, dict):
        for key, inner in value.items():
            describe(inner, f"{path}.{key}" if path else str(key), found)
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            describe(inner, f"{path}.{i}", found)
    else:
        found["scalars"][path] = value


def single_cases() -> dict[str, dict]:
    """What is saved, by file name."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8
    linear = nn.Sequential(nn.Dropout(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
    shared = torch.randn(10)
    return {
        "dtypes": {
            "float": torch.tensor([1.5, -0.0, 3e38, 1e-45]),
            "half": torch.tensor([1.0, -2.5, 65504.0, 6e-8, 6.1e-5, 0.333], dtype=torch.float16),
            "bfloat16": torch.tensor([1.0, -3.140625, 3e38, 1e-40], dtype=torch.bfloat16),
            "double": torch.tensor([0.1, -1e-3, 1e30], dtype=torch.float64),
            "long": torch.tensor([1, -2]),
            "int": torch.tensor([1, -2], dtype=torch.int32),
            "short": torch.tensor([1, -2], dtype=torch.int16),
            "char": torch.tensor([1, -2], dtype=torch.int8),
            "byte": torch.tensor([1, 2], dtype=torch.uint8),
            "bool": torch.tensor([True, False]),
        },
        "views": {
            "whole": base,
            "transposed": base.t(),
            "columns": base[:, 1:4],
            "every_other": base[::2, ::3],
            "row": base[2],
            "permuted": torch.arange(24, dtype=torch.float16).reshape(2, 3, 4).permute(2, 0, 1),
            "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 3),
            "head": shared[:4],
            "tail": shared[6:],
            "scalar": torch.tensor(2.5),
            "empty": torch.zeros(0, 3),
        },
        "state_dict": linear.state_dict(),
        "parameter": {"p": nn.Parameter(torch.randn(2, 2)), "frozen": nn.Parameter(torch.ones(1), requires_grad=False)},
        "plain": {
            "none": None, "yes": True, "no": False, "zero": 0, "small": 255, "medium": 65535, "negative": -7,
            "wide": 2**40, "minus": -(2**63), "float": 0.25, "text": "naïve ✓", "list": [1, "b", [2.5]],
            "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], "inner": {"7": 1, "deep": {"er": 2}}, "counts": {3: "c"},
        },
        "numpy": {"float64": np.float64(0.5), "float32": np.float32(1.5), "after": 3},
    }  # fmt: skip


def save_epoch(folder: Path, model: nn.Module, epoch: int, val_result) -> None:
    """One module's file after a step of training, with the keys of the original."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002, momentum=0.9, weight_decay=5e-4)
    schedule = ConstantWarmUp(optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100.0), 1)
    sum(p.float().sum() for p in model.parameters()).backward()
    optimizer.step()
    for _ in range(epoch):
        schedule.step()
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        "state_dict": OrderedDict(model.state_dict()),
        "epoch": epoch,
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
        "val_result": val_result,
    }
    torch.save(state, folder / f"model.pth.tar-{epoch}")


class Prompts(nn.Module):
    """The learned vectors, and the two buffers of token embeddings that nobody reads back."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.ctx = nn.Parameter((torch.randn(*shape, WIDTH) * 0.02).half())
        self.register_buffer("token_prefix", torch.randn(6, 1, WIDTH).half())
        self.register_buffer("token_suffix", torch.randn(6, 76 - CONTEXT, WIDTH).half())


def original(folder: Path, *shape: int) -> None:
    """Two epochs of prompts and head, and the weights of the last."""
    prompts = Prompts(*shape)
    head = nn.Sequential(
        nn.Dropout(), nn.Linear(7 * DIM, HIDDEN), nn.ReLU(True), nn.Dropout(), nn.Linear(HIDDEN, 1)
    )
    for epoch, result in ((2, np.float64(0.75)), (10, None)):
        save_epoch(folder / "prompt_learner", prompts, epoch, result)
        save_epoch(folder / "regression", head, epoch, result)
        if epoch == 2 and shape == (CONTEXT,):  # what the original copies when an epoch was the best so far
            for part in ("prompt_learner", "regression"):
                best = (folder / part / "model.pth.tar-2").read_bytes()
                (folder / part / "model-best.pth.tar").write_bytes(best)
    state = head.state_dict()
    tensors = {
        "context": prompts.ctx.detach().float().numpy(),
        "head.0.weight": state["1.weight"].numpy(),
        "head.0.bias": state["1.bias"].numpy(),
        "head.1.weight": state["4.weight"].numpy(),
        "head.1.bias": state["4.bias"].numpy(),
    }
    digest = checkpoint_digest(ENCODER, "end", CONTEXT, len(shape) == 2, CATEGORIES, tensors)
    document = {
        "encoder": ENCODER,
        "digest": digest,
        "tensors": {k: {"shape": list(v.shape), "float32": v.flatten().tolist()} for k, v in tensors.items()},
    }
    (folder / "expected.json").write_text(json.dumps(document) + "\n")


def faulty(folder: Path) -> None:
    """Parts that are each wrong in one way. All say that they are of epoch 10."""
    prompts = {"ctx": torch.zeros(CONTEXT, WIDTH)}
    head = {
        "1.weight": torch.zeros(HIDDEN, 7 * DIM),
        "1.bias": torch.zeros(HIDDEN),
        "4.weight": torch.zeros(1, HIDDEN),
        "4.bias": torch.zeros(1),
    }
    cases = {
        "head_nan": head | {"4.bias": torch.tensor([float("nan")])},
        "head_infinite": head | {"1.bias": torch.full((HIDDEN,), float("inf"), dtype=torch.float16)},
        "head_too_large_for_float32": head | {"4.bias": torch.tensor([1e39], dtype=torch.float64)},
        "head_deeper": head | {"7.weight": torch.zeros(1, 1)},
        "head_without_bias": {k: v for k, v in head.items() if k != "1.bias"},
        "head_not_of_seven": head | {"1.weight": torch.zeros(HIDDEN, 7 * DIM + 1)},
        "head_of_two_scores": head | {"4.weight": torch.zeros(2, HIDDEN)},
        "prompts_of_one": {"ctx": torch.zeros(WIDTH)},
        "prompts_of_five": {"ctx": torch.zeros(5, CONTEXT, WIDTH)},
        "prompts_too_long": {"ctx": torch.zeros(76, 1)},
        "prompts_whole_numbers": {"ctx": torch.zeros(CONTEXT, WIDTH, dtype=torch.int32)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, state in cases.items():
        torch.save({"state_dict": OrderedDict(state), "epoch": 10}, folder / f"{name}.pth")
    torch.save({"state_dict": prompts}, folder / "prompts_without_epoch.pth")
    torch.save(prompts, folder / "prompts_bare.pth")


def main() -> None:
    """Writes everything."""
    torch.manual_seed(1)
    folder = HERE / "torch"
    folder.mkdir(exist_ok=True)
    cases, expected = single_cases(), {}
    for name, value in cases.items():
        torch.save(value, folder / f"{name}.pt")
        expected[name] = {"tensors": {}, "scalars": {}, "opaque": []}
        describe(value, "", expected[name])
    for protocol in (3, 4):
        torch.save(cases["state_dict"] | cases["plain"], folder / f"protocol{protocol}.pt", pickle_protocol=protocol)
        expected[f"protocol{protocol}"] = {"tensors": {}, "scalars": {}, "opaque": []}
        describe(cases["state_dict"] | cases["plain"], "", expected[f"protocol{protocol}"])
    torch.serialization.set_crc32_options(False)
    torch.save(cases["numpy"], folder / "no_checksums.pt")
    torch.serialization.set_crc32_options(True)
    expected["no_checksums"] = expected["numpy"]
    torch.save(cases["state_dict"], folder / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.jit.script(nn.Linear(2, 1)).save(str(folder / "torchscript.pt"))
    schedules = torch.optim.lr_scheduler
    for name, make in {
        "step": lambda o: schedules.StepLR(o, 3),
        "multi_step": lambda o: schedules.MultiStepLR(o, [2, 4]),
    }.items():
        model = nn.Linear(2, 1)
        optimizer = torch.optim.AdamW(model.parameters())
        torch.save({"schedule": ConstantWarmUp(optimizer, make(optimizer), 1).state_dict()}, folder / f"{name}.pt")
    document = {"origin": f"torch {torch.__version__}, numpy {np.__version__}, make_torch.py", "files": expected}
    (folder / "expected.json").write_text(json.dumps(document, allow_nan=False) + "\n")
    original(HERE / "original" / "shared", CONTEXT)
    original(HERE / "original" / "specific", 6, CONTEXT)
    faulty(HERE / "original" / "faulty")


if __name__ == "__main__":
    main()
