"""Ridge heads, prompts, intervals, references, damage and the embeddings they learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from agiqa_train.clip import Clip, TextConfig, TextTower
from agiqa_train.conformal import ConformalConfig, calibrate_interval, coverage, distances, reference_centres
from agiqa_train.damage import DamageConfig, Opinion, apply_versions, draw_versions
from agiqa_train.distort import KIND_NAMES, KINDS
from agiqa_train.drawn import drawn_image
from agiqa_train.embeddings import EmbeddingCache, Job
from agiqa_train.evaluate import srcc
from agiqa_train.exported import ImageEncoder
from agiqa_train.head import score_numpy
from agiqa_train.meaning import ScoreScale
from agiqa_train.prompt_head import (
    PromptConfig,
    PromptHeadConfig,
    Standardisation,
    category_embeddings,
    train_prompts,
    train_prompts_and_head,
)
from agiqa_train.prompts import prompt_layout
from agiqa_train.ridge import RidgeConfig, fit_ridge
from agiqa_train.runlog import RunLog
from agiqa_train.text_tower import (
    TextTowerConfig,
    load_text_tower,
    quality_by_words,
    save_text_tower,
    train_text_tower,
)
from agiqa_train.tokenizer import Tokenizer
from agiqa_train.triton_repository import write_encoder
from agiqa_train.views import parse_views


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random unit vectors float32."""
    rows = rng.normal(size=shape)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def test_ridge_is_that_of_the_normal_equations_and_fits_the_servers_head() -> None:
    rng = np.random.default_rng(0)
    rows = unit(rng, 300, 8) + 0.3
    scores = 3 + rows @ rng.normal(size=8) + 0.1 * rng.normal(size=300)
    linear = fit_ridge(rows, scores, RidgeConfig(penalty=0.5))
    z = (rows - rows.mean(0)) / rows.std(0)
    stacked = np.concatenate([z, np.sqrt(0.5 * len(z)) * np.eye(8)])
    weight, *_ = np.linalg.lstsq(stacked, np.concatenate([scores - scores.mean(), np.zeros(8)]), rcond=None)
    want = z @ weight + scores.mean()
    head = linear.head(6)
    assert head["head.0.weight"].shape == (2, 56) and head["head.1.weight"].shape == (1, 2)
    for texts in (np.zeros((6, 8), np.float32), unit(rng, 6, 8)):
        np.testing.assert_allclose(score_numpy(head, rows.astype(np.float32), texts), want, atol=1e-4)


def test_a_dead_dimension_does_no_harm() -> None:
    rows = unit(np.random.default_rng(1), 50, 4)
    rows[:, 2] = 0.5
    head = fit_ridge(rows, rows[:, 0], RidgeConfig()).head(6)
    assert np.isfinite(head["head.0.weight"]).all() and abs(head["head.0.weight"][0, 2]) < 1e-6


def test_folding_a_standardisation_changes_no_score() -> None:
    rng = np.random.default_rng(2)
    rows, texts = unit(rng, 40, 5) * 0.1 + 0.4, unit(rng, 6, 5)
    tensors = {
        "head.0.weight": rng.normal(size=(3, 35)).astype(np.float32),
        "head.0.bias": rng.normal(size=3).astype(np.float32),
        "head.1.weight": rng.normal(size=(1, 3)).astype(np.float32),
        "head.1.bias": rng.normal(size=1).astype(np.float32),
    }
    standardisation = Standardisation.of(rows)
    want = score_numpy(tensors, standardisation(rows), texts)
    np.testing.assert_allclose(score_numpy(standardisation.folded(tensors), rows, texts), want, atol=1e-4)


def test_the_papers_head_learns_from_standardised_views(tiny: Clip, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = unit(rng, 24, 5, 2, 16) * 0.1 + 0.2
    mos = (3 + 10 * (rows[:, :, :, 0].mean(axis=2) - 0.2)).astype(np.float32)
    config = PromptHeadConfig(
        hidden=16, steps=150, dropout=0.0, learning_rate=1e-2, standardise=True, average_from=0.9, threads=1
    )
    layout = prompt_layout(Tokenizer())
    context, head = train_prompts_and_head(tiny, layout, rows, mos, config, RunLog(tmp_path, {}))
    scores = score_numpy(head, rows.reshape(-1, 16), category_embeddings(tiny, layout, context))
    assert np.corrcoef(scores.reshape(24, 5, 2).mean(axis=2).ravel(), mos.ravel())[0, 1] > 0.9


def test_averaged_weights_are_the_mean_of_the_last_steps(tiny: Clip, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    rows, mos = unit(rng, 8, 3, 1, 16), rng.uniform(1, 5, (8, 3)).astype(np.float32)
    layout, log = prompt_layout(Tokenizer()), RunLog(tmp_path, {})

    def bias(steps_from: float) -> float:
        config = PromptHeadConfig(hidden=4, steps=4, dropout=0.0, average_from=steps_from, threads=1)
        return float(train_prompts_and_head(tiny, layout, rows, mos, config, log)[1]["head.1.bias"][0])

    last = bias(1.0)
    assert bias(0.75) == pytest.approx(last, abs=1e-7) and bias(0.0) != pytest.approx(last, abs=1e-6)


def test_prompts_learn_to_lie_near_their_pictures(tiny: Clip, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    direction = unit(rng, 16)
    place = rng.uniform(-1, 1, 400)
    rows = place[:, None] * direction + 0.1 * rng.normal(size=(400, 16))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    mos = (3 + 2 * place).astype(np.float32)
    layout = prompt_layout(Tokenizer())
    config = PromptConfig(steps=60, learning_rate=3e-2, threads=1)
    context = train_prompts(tiny, layout, rows, mos, config, RunLog(tmp_path, {}))
    near = rows @ category_embeddings(tiny, layout, context).T
    assert context.shape == (6, 16, 32)
    assert srcc(near[:, 5] - near[:, 0], mos) > 0.85


def test_a_text_tower_learns_the_words_for_locked_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    severities = np.zeros((300, len(KINDS)), np.float32)
    severities[np.arange(300), rng.integers(3, size=300)] = rng.uniform(0, 1, 300)
    rows = severities @ rng.normal(size=(len(KINDS), 24)) + rng.normal(size=24) + 0.05 * rng.normal(size=(300, 24))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)[:, None]
    mos = Opinion().mos(severities)
    sizes = TextConfig(width=32, layers=1, heads=2, token_dim=8)
    config = TextTowerConfig(text=sizes, steps=150, rows_per_step=64, learning_rate=5e-3, threads=1)
    tower = train_text_tower(rows, severities, mos, config, RunLog(tmp_path, {}))
    assert np.corrcoef(quality_by_words(tower, rows), mos)[0, 1] > 0.7
    save_text_tower(tmp_path / "text.pt", tower)
    again = load_text_tower(tmp_path / "text.pt", sizes, 24)
    np.testing.assert_array_equal(quality_by_words(again, rows), quality_by_words(tower, rows))
    torch.manual_seed(6)
    untrained = TextTower(sizes, 24)
    assert abs(np.corrcoef(quality_by_words(untrained, rows), mos)[0, 1]) < 0.7


def test_interval_covers_other_pictures() -> None:
    rng = np.random.default_rng(7)

    def sample(count: int) -> tuple[np.ndarray, np.ndarray]:
        mos = rng.uniform(1, 5, count)
        return mos + rng.normal(size=count) * (0.1 + 0.2 * (mos - 1)), mos

    scale, config = ScoreScale(clamp=True), ConformalConfig(coverage=0.9, bins=4)
    found = []
    for _ in range(20):
        interval = calibrate_interval(*sample(400), scale, config)
        found.append(coverage(interval, *sample(400), scale))
    assert np.mean(found) == pytest.approx(0.9, abs=0.015)
    # Errors grow with the score, and so do the half widths.
    assert len(interval.half_widths) == 4 and interval.half_widths[0] < interval.half_widths[2]
    assert interval.faults() == []


def test_interval_needs_enough_pictures() -> None:
    raw = np.linspace(1, 5, 8)
    with pytest.raises(ValueError, match="8 pictures are too few for a coverage of 0.9"):
        calibrate_interval(raw, raw, ScoreScale(), ConformalConfig())
    # Few pictures make few bins.
    assert len(calibrate_interval(np.linspace(1, 5, 70), np.linspace(1, 5, 70), ScoreScale(), ConformalConfig()).edges) == 1


def test_reference_tells_near_from_far() -> None:
    rng = np.random.default_rng(8)
    groups = unit(rng, 3, 32)
    near = groups[rng.integers(3, size=200)] + 0.05 * rng.normal(size=(200, 32))
    near = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    centres = reference_centres(near[:100], 3, seed=1)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)
    assert sorted((groups @ centres.T).argmax(axis=1).tolist()) == [0, 1, 2]
    far = unit(rng, 100, 2, 32)
    assert distances(near[100:, None], centres).max() < 0.2 < distances(far, centres).min()
    views = np.stack([near[0], far[0, 0]])[None]
    assert distances(views, centres)[0] == pytest.approx((1 - (views[0] @ centres.T).max(axis=1)).mean(), abs=1e-6)
    assert len(reference_centres(near[:2], 64, seed=1)) == 2


def test_versions_have_each_kind_once_for_each_range() -> None:
    config = DamageConfig(kinds=("blur", "oil"), ranges=((0.1, 0.2), (0.8, 0.9)))
    severities = draw_versions(config, 3)
    assert severities.shape == (5, len(KINDS)) == (config.versions, len(KINDS)) and not severities[0].any()
    oil = severities[:, KIND_NAMES.index("oil")]
    assert np.flatnonzero(oil).tolist() == config.of_kind("oil") == [2, 4]
    assert 0.1 <= oil[2] <= 0.2 and 0.8 <= oil[4] <= 0.9 and (np.count_nonzero(severities, axis=1)[1:] == 1).all()
    assert not np.array_equal(draw_versions(config, 4), severities)
    image = drawn_image(64, np.random.default_rng(0))
    versions = apply_versions(image, severities, config, 3)
    again = apply_versions(image, severities, config, 3)
    assert versions[0] is image
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(versions, again))
    assert all(not np.array_equal(np.asarray(version), np.asarray(image)) for version in versions[1:])


def test_opinion() -> None:
    severities = np.zeros((2, len(KINDS)), np.float32)
    severities[1, KIND_NAMES.index("blur")] = 0.5
    np.testing.assert_allclose(Opinion((("blur", 0.4),)).mos(severities), [5, 4.2], atol=1e-6)
    np.testing.assert_allclose(Opinion().mos(severities), [5, 3.2], atol=1e-6)


def test_embeddings_are_computed_once(tiny: Clip, tmp_path: Path) -> None:
    write_encoder(tiny, tmp_path / "models", "tiny", "random", {})
    views = parse_views("224,448/r1c0")
    made: list[str] = []

    def job(name: str, seed: int) -> Job:
        def pictures() -> list[Image.Image]:
            made.append(name)
            return [drawn_image(300, np.random.default_rng([seed, i])) for i in range(2)]

        return Job(name, pictures)

    def cache() -> EmbeddingCache:
        return EmbeddingCache(tmp_path / "kept", tmp_path / "models", views)

    first = cache().get([job("a", 1)], "test")
    both = cache().get([job("a", 1), job("b", 2)], "test")
    assert both.shape == (2, 2, 2, 16) and sorted(made) == ["a", "b"]
    np.testing.assert_array_equal(first[0], both[0])
    want = ImageEncoder(tmp_path / "models").embed_views(job("b", 2).pictures(), views)
    np.testing.assert_allclose(both[1], want, atol=1e-5)
    np.testing.assert_array_equal(cache().select(both, views[1:]), both[:, :, 1:])
    with pytest.raises(ValueError, match="448/r0c0 were not embedded"):
        cache().select(both, parse_views("448/r0c0"))
    # Another encoder or other views are other embeddings.
    made.clear()
    EmbeddingCache(tmp_path / "kept", tmp_path / "models", views[:1]).get([job("a", 1)], "test")
    assert made == ["a"]
