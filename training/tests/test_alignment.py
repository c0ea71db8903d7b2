"""Prompt-aware checkpoints from `fit --task alignment` to a bundle: tiny encoders, a handful of drawn pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from published import TINY, hugging_face_model
from safetensors.numpy import load_file

from agiqa_train.cli import main
from agiqa_train.drawn import drawn_image
from agiqa_train.exported import Scorer, embed_prompts, embed_texts, prompt_ids
from agiqa_train.head import Head, score_numpy
from agiqa_train.sources import load_clip

PROMPTS = ("a red house", "two dogs at the sea", "a bowl of fruit, oil painting")
PICTURES = 12
QUICK = (
    "--augmentation", "none", "--hidden", "16", "--context-length", "4", "--batch", "4", "--optimizer", "adamw",
    "--learning-rate", "0.01", "--dropout", "0", "--epochs", "80", "--mean-start",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published weights, their export, and pictures whose score depends on their prompt alone."""
    folder = tmp_path_factory.mktemp("alignment")
    torch.set_num_threads(1)
    hugging_face_model(TINY, "quick_gelu", 3).save_pretrained(folder / "clip")
    assert main(["export-encoders", "--source", f"hf:{folder / 'clip'}", "--out", str(folder / "models")]) == 0
    rows, bare = ["image,score,prompt"], ["image,score"]
    for i in range(PICTURES):
        drawn_image(96, np.random.default_rng(i)).save(folder / f"{i}.png")
        rows.append(f'{i}.png,{1.5 + i % 3},"{PROMPTS[i % 3]}"')
        bare.append(f"{i}.png,{1.5 + i % 3}")
    (folder / "prompted.csv").write_text("\n".join(rows) + "\n")
    (folder / "bare.csv").write_text("\n".join(bare) + "\n")
    (folder / "partly.csv").write_text("\n".join(rows[:-1]) + "\n11.png,2,\n")
    return folder


def arguments(place: Path, out: Path, data: str, *more: str) -> list[str]:
    return [
        "fit", "--dataset", "csv", "--data", str(place / data), "--score-min", "1", "--score-max", "5",
        "--task", "alignment", "--source", f"hf:{place / 'clip'}", "--device", "cpu",
        "--cache", str(place / "features"), "--out", str(out), *QUICK, *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    """A finished run, through the exported encoders."""
    out = place / "run"
    assert main(arguments(place, out, "prompted.csv", "--encoder", str(place / "models"))) == 0
    return out


def test_prompts_are_learned(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] > 0.3 and rows[-1]["loss"] < 0.1
    # Pictures that it never saw, whose score is that of their prompt.
    assert json.loads((run / "result.json").read_text())["last"]["figures"]["plcc"]["value"] > 0.9


def test_without_an_exported_encoder_the_embeddings_are_the_same(place: Path, run: Path, tmp_path: Path) -> None:
    assert main(arguments(place, tmp_path / "run", "prompted.csv")) == 0
    first, second = (json.loads((r / "metrics.jsonl").read_text().splitlines()[0]) for r in (run, tmp_path / "run"))
    assert first["loss"] == pytest.approx(second["loss"], abs=1e-3)
    clip, _ = load_clip(f"hf:{place / 'clip'}")
    with torch.no_grad():
        want = clip.encode_text(torch.from_numpy(prompt_ids(PROMPTS)).long()).numpy()
    np.testing.assert_allclose(embed_texts(place / "models", PROMPTS), want, atol=1e-4)


def test_a_bundle_that_reads_prompts(
    place: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "bundle"
    call = ["export-checkpoint", "--run", str(run), "--encoder", str(place / "models"), "--name", "aligned"]
    assert main([*call, "--out", str(out)]) == 0
    manifest, tensors = json.loads((out / "manifest.json").read_text()), load_file(out / "weights.safetensors")
    assert manifest["prompt"] is True and manifest["task"] == "alignment" and manifest["views"] == ["224"]
    assert tensors["head.0.weight"].shape == (16, 9 * TINY.embed_dim)
    texts = embed_prompts(place / "models", tensors["context"], tuple(manifest["categories"]), "end")
    images, prompts = (
        np.array([case[f"{what}_embedding"] for case in manifest["golden"]], np.float32) for what in ("image", "prompt")
    )
    head = Head(TINY.embed_dim, 16, prompt=True).eval()
    layers = {"1.weight": "0.weight", "1.bias": "0.bias", "4.weight": "1.weight", "4.bias": "1.bias"}
    head.load_state_dict({f"layers.{to}": torch.from_numpy(tensors[f"head.{name}"]) for to, name in layers.items()})
    with torch.no_grad():
        want = head(torch.from_numpy(np.concatenate([images, prompts], axis=1)), torch.from_numpy(texts)).numpy()
    golden = [case["score"] for case in manifest["golden"]]
    np.testing.assert_allclose(golden, want, atol=1e-5)
    np.testing.assert_allclose(json.loads(capsys.readouterr().out)["golden_scores"], golden, atol=1e-6)
    assert len(set(np.round(golden, 3))) == len(golden)
    assert np.abs(score_numpy(tensors, images, texts, prompts[::-1]) - golden).max() > 1e-3  # the prompt counts
    with pytest.raises(ValueError, match="scores pictures with their prompts"):
        Scorer(place / "models", out)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("bare.csv", "12 of 12 images of bare have none: give the prompts"),
        ("partly.csv", "1 of 12 images of partly have none"),
    ],
)
def test_alignment_without_prompts_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture, data: str, message: str
) -> None:
    assert main(arguments(place, tmp_path / "run", data)) == 1
    error = capsys.readouterr().err
    assert "task alignment is how well a picture shows its prompt" in error and message in error
    assert not (tmp_path / "run").exists()


def test_a_text_tower_without_language_is_refused(
    place: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = tmp_path / "words"
    words.mkdir()
    for entry in (place / "models").iterdir():
        if entry.name != "encoder.json":
            (words / entry.name).symlink_to(entry)
    document = json.loads((place / "models" / "encoder.json").read_text())
    document["capabilities"] = {"text": "quality-words"}
    (words / "encoder.json").write_text(json.dumps(document))
    assert main(arguments(place, tmp_path / "run", "prompted.csv", "--encoder", str(words))) == 1
    assert "this one knows quality words only; export one from published weights" in capsys.readouterr().err
    call = ["export-checkpoint", "--run", str(run), "--encoder", str(words), "--name", "a", "--out", str(tmp_path / "b")]
    assert main(call) == 1
    assert "knows quality words only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("texts", "message"),
    [(["fine", "cat " * 76], "1 prompts have more than 75 tokens"), (["", "fine"], "1 prompts are empty")],
)
def test_prompts_that_the_server_refuses(texts: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prompt_ids(texts)
    assert prompt_ids(["cat " * 75]).shape == (1, 77)


def test_other_tasks_do_not_read_prompts(place: Path, tmp_path: Path) -> None:
    call = arguments(place, tmp_path / "run", "prompted.csv")
    call[call.index("alignment")] = "quality"
    assert main(call) == 0
    assert load_file(tmp_path / "run" / "last.safetensors")["head.0.weight"].shape[1] == 7 * TINY.embed_dim
