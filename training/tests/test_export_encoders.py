"""`agiqa-train export-encoders` from a file to a repository that agrees with other people's code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from published import (
    TINY,
    hugging_face_embeddings,
    hugging_face_model,
    open_clip_embeddings,
    open_clip_model,
    save_openai_archive,
)

from agiqa_train import triton_repository
from agiqa_train.cli import main
from agiqa_train.onnx_export import run_onnx
from agiqa_train.pretrain import normalize
from agiqa_train.tokenizer import Tokenizer

MODELS = ("clip_image_encoder", "clip_text_encoder")


def files(folder: Path) -> dict[str, bytes]:
    """Everything below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def run(*arguments: object) -> int:
    return main(["export-encoders", *map(str, arguments)])


def publish(kind: str, folder: Path, seed: int = 1) -> tuple[str, Callable]:
    """A source in the format, and what computes its embeddings independently."""
    if kind == "hf":
        model = hugging_face_model(TINY, "gelu", seed)
        model.save_pretrained(folder)
        return f"hf:{folder}", lambda images, tokens: hugging_face_embeddings(model, images, tokens)
    model = open_clip_model(TINY, "quick_gelu", seed)
    path = folder / "w-quickgelu.pt"
    if kind == "openai":
        model.half().float()  # the archive holds float16
        save_openai_archive(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)
    return f"{kind}:{path}", lambda images, tokens: open_clip_embeddings(model, images, tokens)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("kind", ["openai", "hf", "open_clip"])
def test_graphs_agree_with_the_source(tmp_path: Path, kind: str, precision: str) -> None:
    source, embed = publish(kind, tmp_path)
    out = tmp_path / "models"
    assert run("--source", source, "--out", out, "--precision", precision) == 0
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    ids = Tokenizer()(["a good photo", "terrible.", "two cats"])
    context = np.zeros((3, 77, TINY.text_width), np.float32)
    mask = np.zeros((3, 77), np.uint8)
    got = (
        run_onnx(out / MODELS[0] / "1" / "model.onnx", {"pixels": pixels}),
        run_onnx(
            out / MODELS[1] / "1" / "model.onnx", {"token_ids": ids, "context": context, "context_mask": mask}
        ),
    )
    want = embed(normalize(torch.from_numpy(pixels)), torch.from_numpy(ids).long())
    for a, b in zip(got, want):
        if precision == "fp32":
            np.testing.assert_allclose(a, b.numpy(), atol=1e-5)
        assert (a * b.numpy()).sum(axis=1).min() >= 0.9999


def test_encoder_json_says_where_it_came_from(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source, _ = publish("openai", tmp_path)
    assert run("--source", source, "--out", tmp_path / "models", "--licence", "MIT") == 0
    printed = json.loads(capsys.readouterr().out)
    document = json.loads((tmp_path / "models" / "encoder.json").read_text())
    assert printed["digest"] == document["digest"]
    assert document["name"] == "clip-vit-w128-l2-p32-openai" and document["licence"] == "MIT"
    assert document["architecture"]["activation"] == "quick_gelu" and document["precision"] == "fp32"
    assert document["source_file"]["file"] == "w-quickgelu.pt" and len(document["source_file"]["sha256"]) == 64
    assert str(tmp_path) not in json.dumps(document)
    assert max(document["metrics"]["export_max_abs_difference"][m]["float32_weights"] for m in MODELS) <= 5e-5


def test_fp32_keeps_every_weight(tmp_path: Path) -> None:
    source, _ = publish("open_clip", tmp_path)
    run("--source", source, "--out", tmp_path / "models")
    for model in MODELS:
        graph = onnx.load(tmp_path / "models" / model / "1" / "model.onnx").graph
        assert onnx.TensorProto.FLOAT16 not in {tensor.data_type for tensor in graph.initializer}


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    source, _ = publish("hf", tmp_path / "hf")
    for name in ("a", "b"):
        assert run("--source", source, "--out", tmp_path / name) == 0
    assert files(tmp_path / "a") == files(tmp_path / "b")
    before = files(tmp_path / "a")
    assert run("--source", source, "--out", tmp_path / "a") == 0  # the same encoder again needs no --force
    assert files(tmp_path / "a") == before


@pytest.mark.parametrize(
    "again",
    [("open_clip", 2, ()), ("open_clip", 1, ("--precision", "fp16")), ("open_clip", 1, ("--activation", "gelu"))],
    ids=["another file", "another precision", "another activation"],
)
def test_another_encoder_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture, again: tuple[str, int, tuple[str, ...]]
) -> None:
    kind, seed, flags = again
    out = tmp_path / "models"
    first, _ = publish("open_clip", tmp_path)
    run("--source", first, "--out", out)
    before = files(out)
    (tmp_path / "2").mkdir()
    second, _ = publish(kind, tmp_path / "2", seed)
    capsys.readouterr()
    assert run("--source", second, "--out", out, *flags) == 1
    message = capsys.readouterr().err
    assert "holds another encoder, clip-vit-w128-l2-p32-openclip" in message and "--force" in message
    assert files(out) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "models", "w-quickgelu.pt"]  # nothing staged is left
    assert run("--source", second, "--out", out, *flags, "--force") == 0
    assert files(out) != before


def test_encoders_of_unknown_origin_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source, _ = publish("open_clip", tmp_path)
    (tmp_path / "models" / "clip_image_encoder").mkdir(parents=True)
    assert run("--source", source, "--out", tmp_path / "models") == 1
    assert "without a name" in capsys.readouterr().err


def test_forced_replacement_names_the_heads_that_no_longer_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source, _ = publish("open_clip", tmp_path)
    for name, digest in (("prompt_head_1", "sha256:0"), ("clip_agiqa_1", "sha256:0")):
        (tmp_path / "models" / name / "configs").mkdir(parents=True)
        text = f'parameters {{ key: "encoder_digest" value {{ string_value: "{digest}" }} }}\n'
        (tmp_path / "models" / name / "configs" / "cpu.pbtxt").write_text(text)
    assert run("--source", source, "--out", tmp_path / "models", "--force") == 0
    error = capsys.readouterr().err
    assert "clip_agiqa_1 belongs to another encoder now" in error and "prompt_head_1 belongs" in error


@pytest.mark.parametrize("step", ["export_encoders", "encoder_document", "replace_all"])
def test_a_failure_leaves_the_old_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    source, _ = publish("open_clip", tmp_path)
    out = tmp_path / "models"
    run("--source", source, "--out", out)
    before = files(out)

    def broken(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(triton_repository, step, broken)
    assert run("--source", source, "--out", out, "--force", "--precision", "fp16") == 1
    assert files(out) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["models", "w-quickgelu.pt"]


def test_a_move_that_fails_half_way_is_undone(tmp_path: Path) -> None:
    target, staged = tmp_path / "target", tmp_path / "staged"
    for folder, content in ((target, "old"), (staged, "new")):
        folder.mkdir()
        (folder / "first").write_text(content)
    (target / "second").write_text("old")  # and the staged folder has no second
    with pytest.raises(FileNotFoundError):
        triton_repository.replace_all(staged, target, ("first", "second"))
    assert files(target) == {"first": b"old", "second": b"old"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visual.positional_embedding": (24 * 24 + 1, 128)}, "image size is 768, the server's is 224"),
        ({"positional_embedding": (64, 64)}, "context length is 64, the server's is 77"),
        ({"token_embedding.weight": (1000, 64)}, "vocabulary is 1000, the server's is 49408"),
    ],
)
def test_only_what_the_server_prepares_is_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture, change: dict[str, tuple[int, ...]], message: str
) -> None:
    state = open_clip_model(TINY, "gelu", 1).state_dict()
    state |= {name: torch.zeros(shape) for name, shape in change.items()}
    torch.save(state, tmp_path / "w.pt")
    assert run("--source", f"open_clip:{tmp_path / 'w.pt'}", "--out", tmp_path / "models") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_a_weight_too_large_for_half_precision(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    state = open_clip_model(TINY, "gelu", 1).state_dict()
    state["visual.proj"][0, 0] = 1e5
    torch.save(state, tmp_path / "w.pt")
    assert run("--source", f"open_clip:{tmp_path / 'w.pt'}", "--out", tmp_path / "models", "--precision", "fp16") == 1
    assert "does not fit into float16" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
