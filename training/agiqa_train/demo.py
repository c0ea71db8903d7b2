"""`agiqa-train demo`: text tower and checkpoints of the default encoder, with no human label.

The image encoder is finished and stays as it is. Pictures are damaged, every version is embedded
once by every view, and the rest learns from those embeddings in minutes:

1. **Embeddings** of clean and damaged versions of training and held-out pictures.
2. **Text tower**, tuned against the embeddings (`text_tower.py`), exported beside the image encoder.
3. **Prompts and head** of each checkpoint, then its interval and its reference, from held-out pictures.
4. **Measurement** on held-out pictures; the result goes into the bundle's manifest.

A stage that left its file is not run again. Everything that decides the outcome is in `DemoConfig`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from .bundle import Checkpoint, write_bundle
from .clip import TextTower
from .conformal import ConformalConfig, calibrate_interval, coverage, distances, reference_centres
from .damage import DamageConfig, Opinion, apply_versions, draw_versions
from .data import Source, picture_files, split_images
from .embeddings import EmbeddingCache, Job
from .encoder_folder import EncoderFolder
from .evaluate import (
    Aims,
    correlation,
    difference,
    drawn_sources,
    embed_cases,
    measure_pictures,
    srcc,
)
from .exported import Scorer, embed_prompts
from .head import score_numpy
from .meaning import Meaning, ScoreScale
from .prompt_head import (
    PromptConfig,
    PromptHeadConfig,
    category_embeddings,
    train_prompts,
    train_prompts_and_head,
)
from .prompts import CATEGORIES, PromptLayout, prompt_layout
from .ridge import RidgeConfig, fit_ridge
from .runlog import RunLog
from .text_tower import TextTowerConfig, load_text_tower, quality_by_words, save_text_tower, train_text_tower
from .tokenizer import Tokenizer
from .views import View, grid, parse_views

GOLDEN = 8
# Strong damage at full size, held-out pictures.
AIMS = Aims({"blur": 0.97, "noise": 0.97, "pixelate": 0.97, "jpeg": 0.97, "warp": 0.8})
OPINION = Opinion(
    (
        ("blur", 0.9), ("noise", 0.8), ("shot", 0.75), ("jpeg", 0.8), ("pixelate", 0.9), ("scale", 0.85),
        ("contrast", 0.5), ("warp", 0.7), ("banding", 0.6), ("sharpen", 0.6), ("melt", 0.9), ("swirl", 0.7),
        ("shuffle", 0.7), ("oil", 0.8), ("ghost", 0.6), ("colour", 0.4),
    )
)  # fmt: skip
# CLIP-AGIQA's own head and training, on frozen embeddings.
PAPER_HEAD = PromptHeadConfig(
    class_specific=False,
    class_token_position="middle",
    hidden=128,
    dropout=0.5,
    steps=3200,
    groups_per_step=1,
    learning_rate=3e-4,
    weight_decay=0.01,
    ranking_weight=0.0,
    standardise=True,
    average_from=0.75,
)


@dataclass(frozen=True)
class LinearRecipe:
    """Ridge regression, and prompts that have no part in the score."""

    prompts: PromptConfig = field(default_factory=PromptConfig)
    ridge: RidgeConfig = field(default_factory=RidgeConfig)


@dataclass(frozen=True)
class Recipe:
    """One checkpoint; its bundle is in the folder of its name. The head learns from the views that it will see."""

    name: str
    views: tuple[View, ...]
    head: LinearRecipe | PromptHeadConfig = field(default_factory=LinearRecipe)

    @property
    def prompts(self) -> PromptConfig | PromptHeadConfig:
        """Layout of the prompts."""
        return self.head.prompts if isinstance(self.head, LinearRecipe) else self.head

    def seeded(self, seed: int) -> Recipe:
        """The recipe with another seed."""
        if isinstance(self.head, LinearRecipe):
            return replace(self, head=replace(self.head, prompts=replace(self.head.prompts, seed=seed)))
        return replace(self, head=replace(self.head, seed=seed))

    def sentence(self) -> str:
        """How the head is trained, for the manifest."""
        if isinstance(self.head, LinearRecipe):
            return f"frozen encoders, ridge regression on standardised embeddings, penalty {self.head.ridge.penalty:g}"
        head = self.head
        return (
            f"frozen encoders, AdamW, {head.steps} steps of {head.groups_per_step} pictures, learning rate "
            f"{head.learning_rate:g}, weight decay {head.weight_decay:g}, dropout {head.dropout:g}, "
            f"hidden {head.hidden}"
        )


# The first is what the others are compared with.
CHECKPOINTS = (
    Recipe("quick", parse_views("448/r0c0,448/r1c1")),
    Recipe("precise", grid(448)),
    Recipe("crop", parse_views("224")),
    Recipe("quick-b", parse_views("448/r0c0,448/r1c1"), PAPER_HEAD),
)


@dataclass(frozen=True)
class DemoConfig:
    """All stages."""

    damage: DamageConfig = field(default_factory=DamageConfig)
    opinion: Opinion = OPINION
    held_out: int = 20  # pictures of the folder that nothing is trained on
    split_seed: int = 20240827
    views: tuple[View, ...] = (View(), *grid(448))  # every version is embedded by all of them
    text: TextTowerConfig = field(default_factory=TextTowerConfig)
    checkpoints: tuple[Recipe, ...] = CHECKPOINTS
    conformal: ConformalConfig = field(default_factory=ConformalConfig)
    centres: int = 64  # of the reference
    inside: float = 0.99  # share of held-out versions that the reference's threshold takes in
    workers: int = 2  # pictures that are embedded at a time, each on one core

    @staticmethod
    def of(seed: int) -> DemoConfig:
        """Another seed: the text tower takes it, and the checkpoints the numbers that follow."""
        base = DemoConfig()
        checkpoints = tuple(recipe.seeded(seed + i) for i, recipe in enumerate(base.checkpoints))
        return replace(base, text=replace(base.text, seed=seed), checkpoints=checkpoints)


@dataclass(frozen=True)
class Versions:
    """Versions of G pictures: severities float32 [G, M, kinds], embeddings float32 [G, M, V, D]."""

    severities: np.ndarray
    embeddings: np.ndarray

    def part(self, pictures: slice) -> Versions:
        """Those of some pictures."""
        return Versions(self.severities[pictures], self.embeddings[pictures])


def embed_versions(cache: EmbeddingCache, files: list[tuple[int, Path]], config: DamageConfig) -> Versions:
    """Every version of every picture. A picture's number seeds its damage."""
    severities, jobs = [], []
    for index, file in files:
        source, drawn = Source.file(file), draw_versions(config, index)
        about = json.dumps({"versions of": source.identity, "number": index, **asdict(config)}, sort_keys=True)
        severities.append(drawn)
        jobs.append(Job(about, partial(_open_versions, source, drawn, config, index)))
    return Versions(np.stack(severities), cache.get(jobs, "embedding versions"))


def _open_versions(source: Source, severities: np.ndarray, config: DamageConfig, index: int) -> list[Image.Image]:
    return apply_versions(source.open(), severities, config, index)


@dataclass(frozen=True)
class Pictures:
    """The training versions, and two halves of the held-out ones."""

    train: Versions
    calibrate: Versions
    check: Versions

    @property
    def held_out(self) -> Versions:
        """Both halves."""
        return Versions(
            np.concatenate([self.calibrate.severities, self.check.severities]),
            np.concatenate([self.calibrate.embeddings, self.check.embeddings]),
        )


def embed_pictures(cache: EmbeddingCache, images: Path, config: DemoConfig) -> Pictures:
    """Embeds, or takes from the cache, everything that heads are trained and calibrated on."""
    number = {file: index for index, file in enumerate(picture_files(images))}
    train, held_out = split_images(images, config.held_out, config.split_seed)
    trained = embed_versions(cache, [(number[file], file) for file in train], config.damage)
    rest = embed_versions(cache, [(number[file], file) for file in held_out], config.damage)
    return Pictures(trained, rest.part(slice(0, None, 2)), rest.part(slice(1, None, 2)))


def run_demo(
    images: Path, encoder: EncoderFolder, checkpoints: Path, run: Path, config: DemoConfig
) -> dict[str, dict]:
    """Trains everything; returns what was measured of each checkpoint on held-out pictures.

    The text tower goes into the encoder's folder.
    """
    log = RunLog(run, asdict(config))
    encoder.document()  # refuses another image graph before anything is embedded
    cache = EmbeddingCache(run.parent / "embeddings", encoder.models, config.views, config.workers)
    pictures = embed_pictures(cache, images, config)
    tower, text_metrics = prepare_text_tower(pictures, cache, run, config, log)
    document = encoder.write_text_tower(tower)
    repository = encoder.repository(run / "models")
    metrics: dict[str, dict] = {"text_tower": text_metrics}
    first: Scorer | None = None
    for recipe in config.checkpoints:
        log.add("checkpoint", name=recipe.name)
        context, head = fit_head(tower, cache, pictures.train, recipe, config.opinion, log)
        texts = embed_prompts(repository, context, CATEGORIES, recipe.prompts.class_token_position)
        checkpoint = checkpoint_of(recipe, context, head, document, len(pictures.train.severities), config)
        checkpoint, found = add_meaning(checkpoint, texts, cache, pictures, recipe, config)
        bundle, goldens = checkpoints / recipe.name, golden_embeddings(cache, pictures, recipe)
        write_bundle(bundle, checkpoint, goldens, texts)
        scorer = Scorer(repository, bundle)
        found |= measure(scorer, first, cache, pictures, images, config)
        first = first or scorer
        write_bundle(bundle, replace(checkpoint, metrics=found), goldens, texts)
        metrics[recipe.name] = found
    (run / "evaluation.json").write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


def prepare_text_tower(
    pictures: Pictures, cache: EmbeddingCache, run: Path, config: DemoConfig, log: RunLog
) -> tuple[TextTower, dict]:
    """The text tower, trained unless the run folder has it; and how well words alone tell quality."""
    path, mark = run / "text.pt", run / "text.json"
    dim = pictures.train.embeddings.shape[-1]
    key = [asdict(config.text), asdict(config.damage), asdict(config.opinion), config.held_out, config.split_seed]
    wanted = json.dumps([*key, cache.digest], sort_keys=True)
    if not path.exists() or not mark.exists() or mark.read_text() != wanted:
        rows, severities = flat(pictures.train)
        tower = train_text_tower(rows, severities, config.opinion.mos(severities), config.text, log)
        save_text_tower(path, tower)
        mark.write_text(wanted)  # last: its presence says that the tower is this configuration's
    tower = load_text_tower(path, config.text.text, dim)
    rows, severities = flat(pictures.held_out)
    words = quality_by_words(tower, rows)
    return tower, {"quality_words_held_out": correlation(words, words, config.opinion.mos(severities))["srcc"]}


def flat(versions: Versions) -> tuple[np.ndarray, np.ndarray]:
    """Versions to embeddings [N, V, D] and severities [N, kinds]."""
    return (
        versions.embeddings.reshape(-1, *versions.embeddings.shape[2:]),
        versions.severities.reshape(-1, versions.severities.shape[-1]),
    )


def golden_embeddings(cache: EmbeddingCache, pictures: Pictures, recipe: Recipe) -> np.ndarray:
    """A few embeddings [K, D] of a view of the checkpoint."""
    view = cache.select(pictures.train.embeddings, recipe.views[:1])[:, :, 0]
    return view.reshape(-1, view.shape[-1])[:GOLDEN]


def layout_of(recipe: Recipe) -> PromptLayout:
    """Where the recipe's prompts take their learned vectors."""
    return prompt_layout(Tokenizer(), CATEGORIES, recipe.prompts.context_length, recipe.prompts.class_token_position)


def fit_head(
    tower: TextTower, cache: EmbeddingCache, versions: Versions, recipe: Recipe, opinion: Opinion, log: RunLog
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Context and head tensors of a recipe, from versions of training pictures."""
    layout = layout_of(recipe)
    if isinstance(recipe.head, PromptHeadConfig):
        embeddings = cache.select(versions.embeddings, recipe.views)
        return train_prompts_and_head(tower, layout, embeddings, opinion.mos(versions.severities), recipe.head, log)
    rows, scores = view_rows(cache, versions, recipe, opinion)
    context = train_prompts(tower, layout, rows, scores, recipe.head.prompts, log)
    return context, fit_ridge(rows, scores, recipe.head.ridge).head(len(CATEGORIES))


def view_rows(
    cache: EmbeddingCache, versions: Versions, recipe: Recipe, opinion: Opinion
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [N, D] of every view that the recipe looks at, each with its picture's score [N]."""
    embeddings = cache.select(versions.embeddings, recipe.views)
    scores = opinion.mos(versions.severities).reshape(-1)
    return embeddings.reshape(-1, embeddings.shape[-1]), np.repeat(scores, len(recipe.views))


def checkpoint_of(
    recipe: Recipe, context: np.ndarray, head: dict[str, np.ndarray], encoder: dict, pictures: int, config: DemoConfig
) -> Checkpoint:
    """A trained head with what is said of its training; interval and reference come after."""
    return Checkpoint(
        name=recipe.name,
        context=context,
        head=head,
        encoder_name=encoder["name"],
        encoder_digest=encoder["digest"],
        class_token_position=recipe.prompts.class_token_position,
        meaning=Meaning(views=recipe.views, score=ScoreScale(clamp=True)),
        training={
            "data": f"{pictures} AI-generated pictures under CC-BY-4.0, {config.damage.versions} versions of each: "
            "clean and with synthetic damage; the target is a pseudo-MOS computed from the damage, no human rated anything",
            "split": f"seed {config.split_seed}, {config.held_out} pictures held out of every stage",
            "seed": recipe.prompts.seed,
            "protocol": recipe.sentence(),
        },
    )


def judge(head: dict[str, np.ndarray], texts: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Embeddings [..., V, D] of views to raw scores [...] of pictures."""
    rows = score_numpy(head, embeddings.reshape(-1, embeddings.shape[-1]), texts)
    return rows.reshape(embeddings.shape[:-1]).mean(axis=-1)


def add_meaning(
    checkpoint: Checkpoint,
    texts: np.ndarray,
    cache: EmbeddingCache,
    pictures: Pictures,
    recipe: Recipe,
    config: DemoConfig,
) -> tuple[Checkpoint, dict]:
    """Interval from one half of the held-out pictures, reference from the training ones.

    The second value says how they do elsewhere: the interval on the other half; the reference with
    a threshold from one half on the other, and on drawn pictures, which it should not know.
    """

    def views(part: Versions) -> np.ndarray:
        return cache.select(flat(part)[0], recipe.views)

    calibrate, check = views(pictures.calibrate), views(pictures.check)
    raw = judge(checkpoint.head, texts, calibrate), judge(checkpoint.head, texts, check)
    mos = config.opinion.mos(flat(pictures.calibrate)[1]), config.opinion.mos(flat(pictures.check)[1])
    scale = checkpoint.meaning.score
    interval = calibrate_interval(raw[0], mos[0], scale, config.conformal)
    train = views(pictures.train)
    centres = reference_centres(train.reshape(-1, train.shape[-1]), config.centres, recipe.prompts.seed)
    near, other = distances(calibrate, centres), distances(check, centres)
    threshold = float(np.quantile(np.concatenate([near, other]), config.inside))
    drawn = embed_cases(cache, drawn_sources(), config.split_seed)[:, 0]
    found = {
        "interval": {
            "nominal_coverage": interval.coverage,
            "coverage_of_other_pictures": round(coverage(interval, raw[1], mos[1], scale), 4),
            "versions": [len(mos[0]), len(mos[1])],
        },
        "reference": {
            "other_half_outside": share_above(other, float(np.quantile(near, config.inside))),
            "clean_drawn_pictures_outside": share_above(
                distances(cache.select(drawn, recipe.views), centres), threshold
            ),
        },
    }
    meaning = replace(checkpoint.meaning, interval=interval, threshold=threshold)
    return replace(checkpoint, meaning=meaning, reference=centres), found


def share_above(values: np.ndarray, threshold: float) -> float:
    """Share of values above a threshold."""
    return round(float((values > threshold).mean()), 4)


def measure(
    scorer: Scorer,
    other: Scorer | None,
    cache: EmbeddingCache,
    pictures: Pictures,
    images: Path,
    config: DemoConfig,
) -> dict:
    """Held-out pictures of one checkpoint: damage at full size, correlation, and the distance from another."""
    _, held_out = split_images(images, config.held_out, config.split_seed)
    result = measure_pictures(scorer, cache, held_out, config.split_seed, AIMS)
    rows, severities = flat(pictures.held_out)

    def scores(one: Scorer, texts: np.ndarray) -> np.ndarray:
        return judge(one.tensors, texts, cache.select(rows, one.meaning.views))

    own = scores(scorer, scorer.texts)
    zeroed = scores(scorer, np.zeros_like(scorer.texts))
    result["held_out_versions"] = correlation(own, zeroed, config.opinion.mos(severities))
    if other is not None:
        result["against"] = {"name": other.name, **difference(own, scores(other, other.texts))}
    return result


def fit_score(
    tower: TextTower, cache: EmbeddingCache, versions: Versions, recipe: Recipe, opinion: Opinion, log: RunLog
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Head tensors and category embeddings of a recipe; prompts that have no part in the score are not trained."""
    if isinstance(recipe.head, LinearRecipe):
        head = fit_ridge(*view_rows(cache, versions, recipe, opinion), recipe.head.ridge).head(len(CATEGORIES))
        return head, np.zeros((len(CATEGORIES), tower.embed_dim), np.float32)
    context, head = fit_head(tower, cache, versions, recipe, opinion, log)
    return head, category_embeddings(tower, layout_of(recipe), context)


def leave_one_out(images: Path, encoder: EncoderFolder, run: Path, config: DemoConfig) -> dict[str, dict]:
    """What recipes are chosen by: how well damage of a kind is ranked that the head was not trained on.

    For each recipe and kind the rank correlation of score and pseudo-MOS over the clean held-out
    pictures and those with that damage alone; and the mean over the kinds.
    """
    log = RunLog(run / "leave-one-out", asdict(config))
    encoder.document()
    cache = EmbeddingCache(run.parent / "embeddings", encoder.models, config.views, config.workers)
    pictures = embed_pictures(cache, images, config)
    tower, _ = prepare_text_tower(pictures, cache, run, config, log)
    held_out = pictures.held_out
    result = {}
    for recipe in config.checkpoints:
        found = {}
        for kind in config.damage.kinds:
            left = config.damage.of_kind(kind)
            kept = [version for version in range(config.damage.versions) if version not in left]
            versions = Versions(pictures.train.severities[:, kept], pictures.train.embeddings[:, kept])
            head, texts = fit_score(tower, cache, versions, recipe, config.opinion, log)
            seen = [0, *left]
            raw = judge(head, texts, cache.select(held_out.embeddings[:, seen], recipe.views))
            found[kind] = round(srcc(raw.reshape(-1), config.opinion.mos(held_out.severities[:, seen]).reshape(-1)), 4)
        result[recipe.name] = {**found, "mean": round(float(np.mean(list(found.values()))), 4)}
        log.add("left out", name=recipe.name, **result[recipe.name])
    return result
