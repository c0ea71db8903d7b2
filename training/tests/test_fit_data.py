"""Data sets and splits."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from agiqa_train.meaning import ScoreScale
from agiqa_train.fitting.augment import AREA, RATIO, crop_box, random_pixels
from agiqa_train.fitting.datasets import AIGCIQA2023_IMAGES, DataError, Dataset, Sample, load_dataset
from agiqa_train.fitting.splits import SplitConfig, shuffle_split, split_dataset


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


AGIQA3K = """name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align
a.jpg,"a tray, of sushi",,,,0.965602553,0.2,0.4,0.6
b.jpg,statue,,,anime style,1.36,0.6,2.5,0.7
"""


def test_agiqa3k(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "data.csv").write_text(AGIQA3K)
    quality = load_dataset("agiqa3k", tmp_path, None, "quality")
    assert [(s.name, s.score, s.group) for s in quality.samples] == [
        ("a.jpg", 0.965602553, "a tray, of sushi"),
        ("b.jpg", 1.36, "statue"),
    ]
    assert quality.samples[0].path == tmp_path / "a.jpg" and quality.scale == ScoreScale(0, 5, "MOS")
    assert load_dataset("agiqa3k", tmp_path / "data.csv", tmp_path, "alignment").scores.tolist() == [0.4, 2.5]


@pytest.mark.parametrize("places", [("DATA/MOS", "Image/allimg"), ("MOS", "allimg"), (".", "allimg")])
def test_aigciqa2023_from_its_mat_files(tmp_path: Path, places: tuple[str, str]) -> None:
    (tmp_path / places[0]).mkdir(parents=True, exist_ok=True)
    scores = np.linspace(20, 80, AIGCIQA2023_IMAGES)
    for i in (1, 2, 3):
        savemat(tmp_path / places[0] / f"mosz{i}.mat", {"MOSz": (scores + i)[:, None]})
    touch(tmp_path / places[1], *(f"{i}.png" for i in range(AIGCIQA2023_IMAGES)))
    dataset = load_dataset("aigciqa2023", tmp_path, None, "authenticity")
    assert dataset.scores.tolist() == (scores + 2).tolist() and dataset.scale.max == 100
    groups = [s.group for s in dataset.samples]
    assert groups[:5] == ["0", "0", "0", "0", "1"] and groups[399:401] == ["99", "0"]
    assert len(set(groups)) == 100 and all(groups.count(g) == 24 for g in set(groups))
    # What the original repository's mat2csv.py writes gives the same.
    rows = "".join(f"{s.name},{s.score!r}\n" for s in dataset.samples)
    (tmp_path / "mos_authenticity.csv").write_text("name,mos\n" + rows)
    assert load_dataset("aigciqa2023", tmp_path, None, "authenticity").samples == dataset.samples


def test_any_csv(tmp_path: Path) -> None:
    touch(tmp_path / "pictures", "x.png", "y.png")
    (tmp_path / "mine.csv").write_text("score,image\n3,x.png\n4.5,y.png\n")
    dataset = load_dataset("csv", tmp_path / "mine.csv", tmp_path / "pictures", "quality", ScoreScale(1, 5, "stars"))
    assert [(s.name, s.score, s.group) for s in dataset.samples] == [("x.png", 3.0, None), ("y.png", 4.5, None)]
    with pytest.raises(DataError, match="needs the prompt of every image"):
        split_dataset(dataset, SplitConfig(by="prompt"))


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ("image,score\nx.png,3\nx.png,4\n", "1 images are named twice: x.png"),
        ("image,score\nx.png,3\nz.png,4\n", "1 images are not there: .*z.png"),
        ("image,score\nx.png,7\n", "have scores outside 1..5: x.png"),
        ("image,score\nx.png,good\n", "line 2: 'good' is not a finite number"),
        ("image,score\nx.png,nan\n", "line 2: 'nan' is not a finite number"),
        ("image,score\nx.png\n", "line 2: None is not a finite number"),
        ("image,mos\nx.png,3\n", "has no column score"),
        ("image,score\n", "it has no rows"),
    ],
)
def test_faulty_tables(tmp_path: Path, table: str, fault: str) -> None:
    touch(tmp_path, "x.png")
    (tmp_path / "mine.csv").write_text(table)
    with pytest.raises(DataError, match=fault):
        load_dataset("csv", tmp_path / "mine.csv", None, "quality", ScoreScale(1, 5, "MOS"))


@pytest.mark.parametrize(
    ("kind", "task", "fault"),
    [
        ("agiqa3k", "authenticity", "AGIQA-3K has quality, alignment"),
        ("aigciqa2023", "alignment", "AIGCIQA2023 has quality, authenticity, correspondence"),
        ("csv", "quality", "give --score-min and --score-max"),
        ("koniq", "quality", "not one of agiqa3k, aigciqa2023, csv"),
    ],
)
def test_refused_tasks(tmp_path: Path, kind: str, task: str, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        load_dataset(kind, tmp_path, None, task)


# sha256 of the indices joined by commas. They are those of the lists that the original repository
# publishes (datasets/AGIQA/quality and datasets/AIGCIQA2023 of github.com/wzczc/CLIP-AGIQA), in order.
PUBLISHED = {
    2982: (
        "8ee346e107c7e6a0854f32d17c1e2d95e9413c37f91039f6ba39bd71f5e10541",
        "0dce4ec950b3c0721b42421e3f25c51f96fa989dc89e986646a5f35f54979097",
    ),
    2400: (
        "ed86a0adfac9c791256dcd16f823bb794d1b8f64f2d74b76b2bf225a85e597bb",
        "20af841ff95274c13e487858695c0280bb15dd6ec80a75cf1450c21098af228b",
    ),
}


@pytest.mark.parametrize("n", PUBLISHED)
def test_the_papers_split(n: int) -> None:
    sides = shuffle_split(n, 0.2, 42)
    assert [hashlib.sha256(",".join(map(str, side)).encode()).hexdigest() for side in sides] == list(PUBLISHED[n])


# From scikit-learn 1.7.2: train_test_split(np.arange(n), test_size=share, random_state=seed).
@pytest.mark.parametrize(("n", "share", "seed", "out"), [(7, 0.2, 0, [6, 2]), (10, 0.25, 3, [5, 4, 1])])
def test_image_split_is_scikit_learns(n: int, share: float, seed: int, out: list[int]) -> None:
    assert shuffle_split(n, share, seed)[1].tolist() == out


def grouped(n: int) -> Dataset:
    samples = tuple(Sample(f"{i}", Path(f"{i}"), 3.0, f"p{(i * 7) % 13}") for i in range(n))
    return Dataset("made", "quality", samples, ScoreScale(1, 5, "MOS"))


# From scikit-learn 1.7.2: GroupShuffleSplit(1, test_size=0.2, random_state=seed).
@pytest.mark.parametrize(
    ("seed", "out"),
    [
        (42, [0, 3, 12, 13, 16, 25, 26, 29, 38, 39, 42, 51, 52, 55]),
        (5, [2, 4, 8, 15, 17, 21, 28, 30, 34, 41, 43, 47, 54, 56]),
    ],
)
def test_prompt_split_is_scikit_learns(seed: int, out: list[int]) -> None:
    split = split_dataset(grouped(60), SplitConfig(by="prompt", seed=seed))
    assert split.test.tolist() == out


@pytest.mark.parametrize("by", ["image", "prompt"])
def test_sides_share_nothing(by: str) -> None:
    dataset = grouped(130)
    split = split_dataset(dataset, SplitConfig(by=by, validation=0.25))
    sides = [split.train, split.validation, split.test]
    assert sorted(np.concatenate(sides).tolist()) == list(range(130)) and all(len(side) > 10 for side in sides)
    if by == "prompt":
        prompts = [{dataset.samples[i].group for i in side} for side in sides]
        assert not (prompts[0] & prompts[1] or prompts[0] & prompts[2] or prompts[1] & prompts[2])


@pytest.mark.parametrize("n", [1, 10])  # of 10 images 2 are held out, and figures need 3
def test_too_few_to_split(n: int) -> None:
    with pytest.raises(DataError, match=f"{n} images are too few to split by image"):
        split_dataset(grouped(n), SplitConfig())


def test_crops() -> None:
    rng = np.random.default_rng(0)
    shares, ratios = [], []
    for _ in range(500):
        left, top, right, bottom = crop_box(300, 200, rng)
        assert 0 <= left < right <= 300 and 0 <= top < bottom <= 200
        shares.append((right - left) * (bottom - top) / 60000)
        ratios.append((right - left) / (bottom - top))
    assert AREA[0] * 0.95 < min(shares) < 0.15 and 0.8 < max(shares) <= 1
    assert RATIO[0] * 0.95 < min(ratios) and max(ratios) < RATIO[1] * 1.05
    # No crop of at least 8 % fits a strip: the centre, at the nearest allowed ratio.
    assert crop_box(1000, 10, rng) == (493, 0, 506, 10)


def test_random_views_flip_and_differ() -> None:
    left_black = Image.fromarray(np.repeat(np.array([[0] * 50 + [255] * 50], dtype=np.uint8), 100, axis=0))
    views = [random_pixels(left_black, 32, np.random.default_rng(i)) for i in range(40)]
    assert all(view.shape == (32, 32, 3) and view.dtype == np.uint8 for view in views)
    flipped = [view[:, 0].mean() > view[:, -1].mean() for view in views]
    assert 5 < sum(flipped) < 35
