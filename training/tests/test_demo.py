"""The demo's own command at tiny size: text tower, encoder folder and every checkpoint, twice the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agiqa_train import demo, evaluate
from agiqa_train.clip import Clip, TextConfig
from agiqa_train.conformal import ConformalConfig
from agiqa_train.damage import DamageConfig
from agiqa_train.demo import CHECKPOINTS, DemoConfig, LinearRecipe, leave_one_out, run_demo
from agiqa_train.digest import encoder_digest, file_sha256
from agiqa_train.distort import KIND_NAMES
from agiqa_train.drawn import drawn_image
from agiqa_train.encoder_folder import EncoderFolder
from agiqa_train.exported import Scorer
from agiqa_train.text_tower import TextTowerConfig
from agiqa_train.triton_repository import write_encoder

IMAGE, TEXT = "clip_image_encoder/1/model.onnx", "clip_text_encoder/1/model.onnx"


def quick_recipe(recipe: demo.Recipe) -> demo.Recipe:
    """The same recipe with hardly any steps."""
    if isinstance(recipe.head, LinearRecipe):
        return replace(recipe, head=replace(recipe.head, prompts=replace(recipe.head.prompts, steps=3, threads=1)))
    return replace(recipe, head=replace(recipe.head, steps=4, hidden=8, threads=1))


CONFIG = DemoConfig(
    damage=DamageConfig(kinds=("blur", "noise", "jpeg"), ranges=((0.3, 0.9),)),
    held_out=4,
    text=TextTowerConfig(
        text=TextConfig(width=32, layers=1, heads=2, token_dim=8), steps=4, rows_per_step=16, threads=1
    ),
    checkpoints=tuple(quick_recipe(recipe) for recipe in CHECKPOINTS),
    conformal=ConformalConfig(coverage=0.5, bins=2, least=4),
    centres=5,
)


@pytest.fixture()
def encoder(tiny: Clip, tmp_path: Path) -> EncoderFolder:
    """An encoder's folder without a text tower of its own, and the models made of it."""
    models, folder = tmp_path / "models", tmp_path / "encoder"
    write_encoder(tiny, models, "tiny", "random", {})
    document = json.loads((models / "encoder.json").read_text())
    folder.mkdir()
    (folder / "clip_text_encoder" / "1").mkdir(parents=True)
    (folder / "encoder.json").write_text(json.dumps(document))
    return EncoderFolder(folder, models)


@pytest.fixture()
def pictures(tmp_path: Path) -> Path:
    """Ten drawn pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(10):
        drawn_image(230 + 5 * i, np.random.default_rng(i)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two drawn pictures and the cases that carry an aim."""
    monkeypatch.setattr(evaluate, "DRAWN", 2)
    monkeypatch.setattr(evaluate, "DRAWN_SIZE", 240)
    monkeypatch.setattr(evaluate, "CASES", {k: v for k, v in evaluate.CASES.items() if k.endswith("strong")})


def manifests(folder: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("*/manifest.json"))}


def test_one_command_makes_text_tower_and_checkpoints(pictures: Path, encoder: EncoderFolder, tmp_path: Path) -> None:
    before = json.loads((encoder.folder / "encoder.json").read_text())["digest"]
    run, bundles = tmp_path / "runs" / "demo", tmp_path / "bundles"
    metrics = run_demo(pictures, encoder, bundles, run, CONFIG)

    document = json.loads((encoder.folder / "encoder.json").read_text())
    text = encoder.folder / TEXT
    assert document["digest"] == encoder_digest(encoder.models / IMAGE, text) != before
    assert document["files"][TEXT] == {"sha256": file_sha256(text), "bytes": text.stat().st_size}
    assert document["text_width"] == 32 and document["capabilities"] == {"text": "quality-words"}

    found = manifests(bundles)
    assert sorted(found) == ["crop", "precise", "quick", "quick-b"]
    assert {name: len(manifest["views"]) for name, manifest in found.items()} == {
        "crop": 1,
        "precise": 4,
        "quick": 2,
        "quick-b": 2,
    }
    for name, manifest in found.items():
        assert manifest["encoder"]["digest"] == document["digest"] and manifest["task"] == "quality"
        assert manifest["score"]["clamp"] and manifest["interval"]["coverage"] == 0.5 and "threshold" in manifest["reference"]
        assert manifest["metrics"] == metrics[name] and set(manifest["metrics"]["ai_images"]["cases"]) == set(evaluate.CASES)
        scorer = Scorer(run / "models", bundles / name)
        images = np.array([case["image_embedding"] for case in manifest["golden"]], np.float32)
        wanted = [case["score"] for case in manifest["golden"]]
        np.testing.assert_allclose(scorer.judge(images, scorer.texts), wanted, atol=1e-5)
        assert scorer.tensors["reference"].shape == (5, 16)
        assert 1 <= scorer.score_files([pictures / "0.png"])[0] <= 5
    assert found["quick-b"]["class_token_position"] == "middle" and not found["quick-b"]["class_specific_context"]
    assert found["precise"]["metrics"]["against"]["name"] == "quick"

    # Nothing is embedded a second time, and the same numbers come out.
    kept = {path: path.stat().st_mtime_ns for path in (run.parent / "embeddings").iterdir()}
    graph = file_sha256(text)
    run_demo(pictures, encoder, bundles, run, CONFIG)
    assert {path: path.stat().st_mtime_ns for path in (run.parent / "embeddings").iterdir()} == kept
    assert file_sha256(text) == graph
    assert {n: m["digest"] for n, m in manifests(bundles).items()} == {n: m["digest"] for n, m in found.items()}


def test_another_text_tower_is_another_encoder(pictures: Path, encoder: EncoderFolder, tmp_path: Path) -> None:
    run, bundles = tmp_path / "runs" / "demo", tmp_path / "bundles"
    config = replace(CONFIG, checkpoints=CONFIG.checkpoints[:1])
    run_demo(pictures, encoder, bundles, run, config)
    first = manifests(bundles)["quick"]["encoder"]["digest"]
    run_demo(pictures, encoder, bundles, run, replace(config, text=replace(config.text, seed=9)))
    assert manifests(bundles)["quick"]["encoder"]["digest"] != first


def test_the_image_graph_must_be_the_one_that_is_pinned(pictures: Path, encoder: EncoderFolder, tmp_path: Path) -> None:
    file = encoder.models / IMAGE
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="is not the one that .* pins: write it again with bin/agiqa models"):
        run_demo(pictures, encoder, tmp_path / "bundles", tmp_path / "runs" / "demo", CONFIG)
    file.unlink()
    with pytest.raises(ValueError, match="has no image encoder: write it with bin/agiqa models"):
        encoder.document()
    assert not (tmp_path / "bundles").exists()


def test_kinds_are_left_out_one_at_a_time(
    pictures: Path, encoder: EncoderFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    fit = demo.fit_score

    def watched(tower, cache, versions, *rest):
        seen.append((versions.severities > 0).any(axis=(0, 1)))
        return fit(tower, cache, versions, *rest)

    monkeypatch.setattr(demo, "fit_score", watched)
    config = replace(CONFIG, checkpoints=CONFIG.checkpoints[::3])
    found = leave_one_out(pictures, encoder, tmp_path / "runs" / "demo", config)
    assert list(found) == ["quick", "quick-b"]
    shares = found["quick-b"]
    assert set(shares) == {"blur", "noise", "jpeg", "mean"}
    assert shares["mean"] == pytest.approx(np.mean([shares[k] for k in ("blur", "noise", "jpeg")]), abs=1e-3)
    names = [np.array(KIND_NAMES)[row].tolist() for row in seen]
    assert [sorted({"blur", "noise", "jpeg"} - set(row)) for row in names] == 2 * [["blur"], ["noise"], ["jpeg"]]


def test_seeds_follow_the_runs() -> None:
    config = DemoConfig.of(7)
    assert config.text.seed == 7 and [recipe.prompts.seed for recipe in config.checkpoints] == [7, 8, 9, 10]
