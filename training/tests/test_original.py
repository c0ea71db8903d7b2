"""Folders of the original repository: what is read, what is refused, what is never executed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from original_format import regression, save_original

from agiqa_train.original import read_original
from agiqa_train.sources import SourceError

CTX = torch.randn(16, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("warmup", [True, False])
@pytest.mark.parametrize("val_result", [None, 0.5, np.float64(0.5), np.float32(0.5), torch.tensor(0.5)])
def test_reads_what_was_saved(tmp_path: Path, warmup: bool, val_result: object) -> None:
    head = regression(32, 8)
    save_original(tmp_path, CTX, head, 7, val_result, warmup=warmup)
    got = read_original(tmp_path)
    assert (got.epoch, got.file) == (7, "model.pth.tar-7")
    np.testing.assert_array_equal(got.context, CTX.numpy())
    assert set(got.head) == {"head.0.weight", "head.0.bias", "head.1.weight", "head.1.bias"}
    np.testing.assert_array_equal(got.head["head.0.weight"], head[1].weight.detach().numpy())
    np.testing.assert_array_equal(got.head["head.1.bias"], head[4].bias.detach().numpy())


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    save_original(tmp_path, torch.randn(6, 16, 64).half(), regression(32, 8), warmup=False)
    assert read_original(tmp_path).context.dtype == np.float32


@pytest.mark.parametrize(
    ("names", "epoch", "want"),
    [
        ([(10, ""), (100, ""), (9, "")], None, "model.pth.tar-100"),
        ([(10, ""), (100, "")], 10, "model.pth.tar-10"),
        ([(10, ""), (7, "model-best.pth.tar")], None, "model-best.pth.tar"),
    ],
)
def test_which_epoch(tmp_path: Path, names: list[tuple[int, str]], epoch: int | None, want: str) -> None:
    for number, name in names:
        save_original(tmp_path, CTX, regression(32, 8), number, name=name)
    assert read_original(tmp_path, epoch).file == want


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no folder prompt_learner"):
        read_original(tmp_path)
    save_original(tmp_path, CTX, regression(32, 8), 5)
    with pytest.raises(SourceError, match=r"model.pth.tar-6; there are \[5\]"):
        read_original(tmp_path, 6)
    (tmp_path / "regression" / "model.pth.tar-5").rename(tmp_path / "regression" / "model.pth.tar-4")
    with pytest.raises(SourceError, match="share no model.pth.tar-N"):
        read_original(tmp_path)


def rewrite(path: Path, change: dict) -> None:
    """Saves a file anew with another state dict, or other keys."""
    document = {"epoch": 5, "state_dict": {"ctx": CTX}}
    torch.save({**document, **change}, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state_dict": {}}, "prompt_learner/model.pth.tar-5: missing: ctx"),
        ({"state_dict": {"ctx": CTX, "meta_net.weight": CTX}}, "unexpected: meta_net.weight"),
        ({"state_dict": {"ctx": 3}}, "ctx is not a tensor"),
        ({"state_dict": {"ctx": CTX.int()}}, "ctx is not a tensor of floating point"),
        ({"state_dict": None}, "has no state_dict"),
        ({"epoch": 6}, "different epochs, .'prompt_learner': 6, 'regression': 5"),
    ],
)
def test_faults_are_named(tmp_path: Path, change: dict, message: str) -> None:
    save_original(tmp_path, CTX, regression(32, 8), 5)
    rewrite(tmp_path / "prompt_learner" / "model.pth.tar-5", change)
    with pytest.raises(SourceError, match=message):
        read_original(tmp_path)


class Call:
    """Calls something when it is unpickled."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.parts = function, arguments

    def __reduce__(self) -> tuple:
        return self.parts


@pytest.mark.parametrize(
    ("danger", "name"),
    [
        (lambda path: Call(os.system, f"touch {path}"), "posix.system"),
        (lambda path: Call(open, str(path), "w"), "io.open"),
        (lambda path: Call(eval, f"open({str(path)!r}, 'w')"), "eval"),
        (lambda path: Call(Path.touch, path), "pathlib"),
    ],
    ids=["os.system", "open", "eval", "pathlib"],
)
@pytest.mark.parametrize("where", ["state_dict", "scheduler", "val_result"])
def test_pickled_calls_are_named_and_not_made(tmp_path: Path, danger: object, name: str, where: str) -> None:
    save_original(tmp_path, CTX, regression(32, 8), 5)
    target = tmp_path / "touched"
    rewrite(tmp_path / "prompt_learner" / "model.pth.tar-5", {where: danger(target)})
    with pytest.raises(SourceError, match=f"prompt_learner/model.pth.tar-5 .*{name}"):
        read_original(tmp_path)
    assert not target.exists()


def test_an_optimizer_that_is_in_the_file_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_original(tmp_path, CTX, regression(32, 8), 5)

    def made(*_: object, **__: object) -> None:
        raise AssertionError("an optimizer or a scheduler was made")

    for real in (torch.optim.SGD, torch.optim.lr_scheduler.CosineAnnealingLR):
        for method in ("__init__", "__setstate__"):
            monkeypatch.setattr(real, method, made, raising=False)
    assert read_original(tmp_path).epoch == 5


@pytest.mark.parametrize("keep", [0, 40, 3000])
def test_truncated_files_are_refused(tmp_path: Path, keep: int) -> None:
    save_original(tmp_path, CTX, regression(32, 8), 5)
    path = tmp_path / "regression" / "model.pth.tar-5"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SourceError, match="regression/model.pth.tar-5 is not a torch file"):
        read_original(tmp_path)
