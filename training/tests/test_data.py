"""Preprocessing, distortions, drawn pictures, groups and the split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agiqa_train.captions import describe, quality_targets
from agiqa_train.data import CacheConfig, make_group, open_cache, split_images
from agiqa_train.distort import KINDS, distort, pseudo_mos
from agiqa_train.drawn import drawn_image
from agiqa_train.evaluate import pair_share, srcc
from agiqa_train.patch_init import whitened_filters
from agiqa_train.preprocess import resize_short_side, to_pixels


@pytest.mark.parametrize(
    ("size", "want"),
    [((224, 224), (224, 224)), ((768, 512), (336, 224)), ((500, 333), (336, 224)), ((100, 301), (224, 674))],
)
def test_resize_truncates_the_long_side(size: tuple[int, int], want: tuple[int, int]) -> None:
    assert resize_short_side(Image.new("RGB", size)).size == want


def test_pixels_drop_alpha_and_keep_the_type() -> None:
    pixels = to_pixels(Image.new("RGBA", (300, 400), (10, 20, 30, 0)))
    assert pixels.shape == (224, 224, 3) and pixels.dtype == np.uint8
    assert (pixels == [10, 20, 30]).all()


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_distortions_keep_the_size_and_grow_with_severity(kind) -> None:
    rng = np.random.default_rng(0)
    image = drawn_image(256, rng)
    clean = np.asarray(image, np.float32)
    errors = []
    for severity in (0.1, 1.0):
        distorted = kind.apply(image, severity, np.random.default_rng(1))
        assert distorted.size == image.size and distorted.mode == "RGB"
        errors.append(np.abs(np.asarray(distorted, np.float32) - clean).mean())
    assert errors[1] > errors[0] > 0


def test_no_severity_changes_nothing() -> None:
    image = drawn_image(64, np.random.default_rng(0))
    assert distort(image, np.zeros(len(KINDS)), np.random.default_rng(0)) is image


def test_pseudo_mos_ends() -> None:
    assert pseudo_mos(np.zeros(len(KINDS))) == 5
    assert 1 <= pseudo_mos(np.ones(len(KINDS))) < 1.01


def test_captions() -> None:
    names = [kind.name for kind in KINDS]
    severities = np.zeros(len(KINDS))
    assert describe(severities) == "a clean image"
    severities[names.index("blur")], severities[names.index("noise")] = 0.9, 0.2
    assert describe(severities) == "a heavily blurred and slightly noisy image"
    targets = quality_targets(np.array([1.0, 5.0]))
    assert targets.argmax(axis=1).tolist() == [0, 5]


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """Six drawn pictures on disk."""
    path = tmp_path / "images"
    path.mkdir()
    for i in range(6):
        drawn_image(260 + 10 * i, np.random.default_rng(i)).save(path / f"{i}.png")
    return path


def test_split_is_seeded_and_disjoint(folder: Path) -> None:
    train, held = split_images(folder, 2, 1)
    assert (len(train), len(held)) == (4, 2) and not set(train) & set(held)
    assert split_images(folder, 2, 1) == (train, held)


def test_cache_is_made_once_and_holds_the_groups(folder: Path, tmp_path: Path) -> None:
    config = CacheConfig(groups=3, stored_size=64)
    train, _ = split_images(folder, 2, 1)
    cache = open_cache(tmp_path / "cache", train, config, workers=1)
    assert cache.pixels.shape == (3, 4, 64, 64, 3) and not cache.severities[:, 0].any()
    pixels, severities = make_group(train, config, 2)
    np.testing.assert_array_equal(cache.pixels[2], pixels)
    np.testing.assert_array_equal(cache.severities[2], severities)
    before = (tmp_path / "cache" / "pixels.npy").stat().st_mtime_ns
    open_cache(tmp_path / "cache", train, config, workers=1)
    assert (tmp_path / "cache" / "pixels.npy").stat().st_mtime_ns == before


def test_measures() -> None:
    assert srcc(np.array([1, 2, 3, 4.0]), np.array([10, 20, 30, 40.0])) == pytest.approx(1)
    assert srcc(np.array([1, 1, 2.0]), np.array([3, 2, 1.0])) == pytest.approx(-0.8660254)
    assert pair_share(np.array([2, 3.0]), np.array([1, 2.5])) == pytest.approx(0.75)


def test_whitened_filters_have_about_unit_response() -> None:
    rng = np.random.default_rng(0)
    patches = (rng.standard_normal((2000, 48)) * np.geomspace(3, 0.1, 48)).astype(np.float32)
    response = patches @ whitened_filters(patches, 12, rng).T
    assert ((response.std(axis=0) > 0.5) & (response.std(axis=0) < 1.5)).all()
