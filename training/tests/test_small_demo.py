"""The demo's own command at tiny size: every checkpoint from one encoder that stays as it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from agiqa_train import small_demo as demo
from agiqa_train.clip import Clip
from agiqa_train.data import CacheConfig
from agiqa_train.small_demo import CHECKPOINTS, DemoConfig, run_demo
from agiqa_train.evaluate import difference
from agiqa_train.exported import Scorer
from agiqa_train.pretrain import PretrainConfig

CONFIG = DemoConfig(
    cache=CacheConfig(groups=8, held_out=2),
    pretrain=PretrainConfig(steps=2, groups_per_step=4, kept_patches=20, bfloat16=False, processes=1),
    checkpoints=tuple(
        replace(recipe, prompts=replace(recipe.prompts, steps=3, groups_per_step=4, threads=1)) for recipe in CHECKPOINTS
    ),
    embedded_groups=4,
)


@pytest.fixture()
def pictures(tmp_path: Path) -> Path:
    """Five pictures of noise."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (240, 260, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def manifests(folder: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("*/manifest.json"))}


def test_one_command_makes_every_checkpoint(
    tiny: Clip, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "demo_config", lambda: tiny.config)
    # Hundreds of pictures through every distortion: `measure` has tests of its own parts.
    def measure(scorer: Scorer, folder: Path, kept: Path, config: CacheConfig, other: Scorer | None) -> dict:
        changed = other is not None and not np.array_equal(scorer.texts, other.texts)
        return {"measured": True} if other is None else {"measured": True, "against": {"name": other.name, "changed": changed}}

    monkeypatch.setattr(demo, "measure", measure)
    repository, bundles, run = tmp_path / "models", tmp_path / "checkpoints", tmp_path / "runs" / "demo"
    metrics = run_demo(pictures, repository, bundles, run, CONFIG)

    found = manifests(bundles)
    assert list(found) == ["demo", "demo-shared"] == list(metrics)
    layout = {n: (m["class_specific_context"], m["class_token_position"], m["training"]["seed"]) for n, m in found.items()}
    assert layout == {"demo": (True, "end", 1), "demo-shared": (False, "middle", 1)}
    shapes = {name: load_file(bundles / name / "weights.safetensors") for name in found}
    assert shapes["demo"]["context"].shape == (6, 16, 32) and shapes["demo-shared"]["context"].shape == (16, 32)
    assert shapes["demo"]["head.0.weight"].shape[0] == 128 and shapes["demo-shared"]["head.0.weight"].shape[0] == 64
    assert found["demo"]["metrics"] == {"measured": True}
    assert found["demo-shared"]["metrics"] == {"measured": True, "against": {"name": "demo", "changed": True}}
    for name, manifest in found.items():
        assert manifest["encoder"] == found["demo"]["encoder"] and len(manifest["golden"]) == 8
        scorer = Scorer(repository, bundles / name)
        images = np.array([case["image_embedding"] for case in manifest["golden"]], np.float32)
        wanted = [case["score"] for case in manifest["golden"]]
        np.testing.assert_allclose(scorer.judge(images, scorer.texts), wanted, atol=1e-6)

    encoder = repository / "encoder.json"
    encoder.write_text(encoder.read_text().replace('"source": "', '"source": "kept: '))
    run_demo(pictures, repository, bundles, run, CONFIG)
    assert '"source": "kept: ' in encoder.read_text()
    assert {n: m["digest"] for n, m in manifests(bundles).items()} == {n: m["digest"] for n, m in found.items()}

    longer = replace(CONFIG, pretrain=replace(CONFIG.pretrain, steps=4))
    run_demo(pictures, repository, bundles, run, longer)
    assert '"source": "kept: ' not in encoder.read_text()
    assert manifests(bundles)["demo"]["encoder"] != found["demo"]["encoder"]


def test_seeds_of_the_checkpoints_follow_the_runs() -> None:
    config = DemoConfig.of(7, 1.5)
    assert config.pretrain.seed == 7 and config.pretrain.minutes == 1.5
    assert [recipe.prompts.seed for recipe in config.checkpoints] == [7, 8]


def test_difference() -> None:
    got = difference(np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0]))
    assert got == {"images": 3, "srcc_between": 1.0, "mean_absolute_difference": 0.5, "largest_difference": 1.0}
