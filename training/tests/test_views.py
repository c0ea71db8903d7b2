"""Views against Pillow written out by hand, and the scores of a bundle by its views."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

from agiqa_train.bundle import Checkpoint, write_bundle
from agiqa_train.clip import Clip
from agiqa_train.drawn import drawn_image
from agiqa_train.exported import Scorer, embed_images, embed_prompts
from agiqa_train.head import Head
from agiqa_train.meaning import Meaning, ScoreScale
from agiqa_train.preprocess import PILLOW12, PILLOW13, RECIPE, recipe_of, resize_short_side, to_pixels
from agiqa_train.triton_repository import write_encoder
from agiqa_train.views import View, grid, parse_views, view_pixels


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise: any pixel that is off is another value."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("text", ["224", "448/r0c0", "448/r1c0", "672/r2c1", "1120/r4c4"])
def test_names_read_back(text: str) -> None:
    assert str(View.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "225", "448", "224/r0c0", "448/r2c0", "448/r0c2", "449/r0c0", "1344/r0c0", "0448/r0c0", "448/r00c0", "448/c0r0"]
    + ["448/R0C0", "448/r-1c0", " 224", "448/r0c0\n"],
)
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="view"):
        View.parse(text)


def test_lists_and_grids() -> None:
    assert parse_views("224, 448/r0c1") == (View(), View(448, 0, 1))
    assert [view.square for view in grid(448)] == ["448/r0c0", "448/r0c1", "448/r1c0", "448/r1c1"]


@pytest.mark.parametrize("size", [(500, 333), (333, 500), (200, 700), (448, 448), (1000, 449)])
def test_pixels_are_those_of_pillow(size: tuple[int, int]) -> None:
    image = picture(*size)
    width, height = size
    large = (448, int(448 * height / width)) if width <= height else (int(448 * width / height), 448)
    resized = image.resize(large, Image.Resampling.BICUBIC)
    left, top = int(round((large[0] - 448) / 2)), int(round((large[1] - 448) / 2))
    got = view_pixels(image, parse_views("448/r0c1,224,448/r1c0"))
    assert got.shape == (3, 224, 224, 3) and got.dtype == np.uint8
    box = (left + 224, top, left + 448, top + 224)
    np.testing.assert_array_equal(got[0], np.asarray(resized.crop(box)))
    np.testing.assert_array_equal(got[1], to_pixels(image))
    np.testing.assert_array_equal(got[2], np.asarray(resized.crop((left, top + 224, left + 224, top + 448))))


ORDERS = Path(__file__).resolve().parents[2] / "internal" / "testimages" / "orders"


def drawn(width: int, height: int) -> Image.Image:
    """The picture of the goldens: see internal/testimages/make_orders.py."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [x * 7 + y * 3, x * y // 5, (x // 3) ^ (y // 2)]
    return Image.fromarray(np.stack([c & 255 for c in channels], axis=-1).astype(np.uint8))


@pytest.mark.parametrize(("recipe", "version"), [(PILLOW12, "12.3.0"), (PILLOW13, "13.0.0")])
def test_recipes_are_those_of_their_pillow(recipe: str, version: str) -> None:
    cells = json.loads((ORDERS / f"pillow-{version}.json").read_text())["cells"]
    assert len(cells) > 100
    for width, height, size, want in cells:
        views = (View(),) if size == 224 else grid(size)
        pixels = view_pixels(drawn(width, height), [view.by(recipe) for view in views])
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == want, (width, height, size)


@pytest.mark.parametrize("size", [(481, 1003), (300, 700), (500, 333), (150, 700), (225, 460)])
def test_the_default_is_what_the_pillow_in_use_does(size: tuple[int, int]) -> None:
    image = picture(*size)
    got = resize_short_side(image)
    np.testing.assert_array_equal(np.asarray(got), np.asarray(image.resize(got.size, Image.Resampling.BICUBIC)))


@pytest.mark.parametrize(
    ("version", "recipe"), [("10.3.0", PILLOW12), ("12.3.0", PILLOW12), ("13.0.0", PILLOW13), ("14.0.0.dev0", PILLOW13)]
)
def test_recipe_of_a_version(version: str, recipe: str) -> None:
    assert recipe_of(version) == recipe
    assert recipe_of(PIL.__version__) == RECIPE == View().recipe


def test_views_of_two_recipes_come_from_one_picture() -> None:
    image = drawn(300, 700)
    both = view_pixels(image, [View(recipe=PILLOW12), View(recipe=PILLOW13)])
    for one, recipe in zip(both, (PILLOW12, PILLOW13)):
        np.testing.assert_array_equal(one, view_pixels(image, [View(recipe=recipe)])[0])
    assert (both[0] != both[1]).any()


def test_names_have_the_recipe() -> None:
    view = View(448, 0, 1, PILLOW13)
    assert str(view) == "448/r0c1:pillow13-bicubic-224" and view.square == "448/r0c1" and View.parse(str(view)) == view
    assert View.parse("448/r0c1") == view.by(PILLOW12)
    for text in ("224:", "224:pillow12-bicubic-224", "224:pillow14-bicubic-224"):
        with pytest.raises(ValueError, match="recipe"):
            View.parse(text)


@pytest.fixture()
def repository(tiny: Clip, tmp_path: Path) -> tuple[Path, str]:
    """A model repository with a tiny encoder, and its digest."""
    digest, _ = write_encoder(tiny, tmp_path / "models", "tiny", "random", {})
    return tmp_path / "models", digest


def bundle_of(folder: Path, repository: Path, digest: str, meaning: Meaning) -> Scorer:
    """A checkpoint with a random head that spreads its scores."""
    torch.manual_seed(3)
    head = Head(16, 8).tensors()
    head["head.1.weight"] *= 40
    context = np.random.default_rng(1).normal(size=(16, 32)).astype(np.float32)
    checkpoint = Checkpoint("mine", context, head, "tiny", digest, meaning=meaning)
    texts = embed_prompts(repository, context, checkpoint.categories, "end")
    write_bundle(folder, checkpoint, np.eye(16, dtype=np.float32)[:2], texts)
    return Scorer(repository, folder)


def test_a_score_is_the_mean_over_the_views(repository: tuple[Path, str], tmp_path: Path) -> None:
    models, digest = repository
    views = parse_views("224,448/r0c1")
    scorer = bundle_of(tmp_path / "bundle", models, digest, Meaning(views=views))
    image = drawn_image(600, np.random.default_rng(5))
    rows = scorer.judge(embed_images(models, view_pixels(image, views)), scorer.texts)
    assert abs(rows[0] - rows[1]) > 1e-3
    image.save(tmp_path / "a.png")
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "b.png")
    scores = scorer.score_files([tmp_path / "a.png", tmp_path / "b.png"])
    assert scores.shape == (2,) and scores[0] == pytest.approx(float(rows.mean()), abs=1e-5)
    assert scorer.score_files([]).shape == (0,)


def test_scores_are_cut_where_declared(repository: tuple[Path, str], tmp_path: Path) -> None:
    models, digest = repository
    images = [drawn_image(300, np.random.default_rng(i)) for i in range(4)]
    raw = bundle_of(tmp_path / "raw", models, digest, Meaning()).score(images)
    middle = float(np.median(raw))
    cut = bundle_of(tmp_path / "cut", models, digest, Meaning(score=ScoreScale(-1e6, middle, clamp=True))).score(images)
    np.testing.assert_allclose(cut, np.minimum(raw, middle), atol=1e-6)
    assert (cut < raw).any() and (cut == raw).any()


def test_what_cannot_be_scored_is_named(repository: tuple[Path, str], tmp_path: Path) -> None:
    models, digest = repository
    scorer = bundle_of(tmp_path / "bundle", models, digest, Meaning())
    (tmp_path / "not.png").write_text("text")
    with pytest.raises(ValueError, match=r"not\.png"):
        scorer.score_files([tmp_path / "not.png"])
    file = tmp_path / "bundle" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "prompt": True}))
    with pytest.raises(ValueError, match="with their prompts"):
        Scorer(models, tmp_path / "bundle")
