"""`agiqa-train demo-small`: the small encoder and its checkpoints from nothing. It serves where there is no network.

The stages: cache, pre-training, export, then prompts, head, bundle and measurement of every checkpoint.

The long stages leave a file in the run folder and are skipped when their file is there, so an
interrupted run goes on where it stopped. Checkpoints are trained anew each time; they take minutes
and come out the same to the last bit with the same versions.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from .bundle import Checkpoint, write_bundle
from .clip import Clip, demo_config
from .data import GROUP, Cache, CacheConfig, make_group, open_cache, split_images
from .digest import encoder_digest
from .distort import pseudo_mos
from .embeddings import EmbeddingCache
from .evaluate import DRAWN_SEED, Aims, correlation, difference, measure_pictures
from .exported import Scorer, embed_images, embed_prompts
from .onnx_export import rounded_copy
from .preprocess import center_crop
from .pretrain import Pretrainer, PretrainConfig, PretrainJob, cut, pretrain
from .prompt_head import PromptHeadConfig, train_prompts_and_head
from .prompts import CATEGORIES, prompt_layout
from .runlog import RunLog, git_commit
from .tokenizer import Tokenizer
from .triton_repository import ENCODER_FILE, IMAGE_MODEL, QUALITY_WORDS, TEXT_MODEL, write_encoder
from .views import DEFAULT_VIEWS

ENCODER_NAME = "agiqa-demo-vit-16"
GOLDEN = 8
RANDOM_GROUPS = 200
AIMS = Aims({"blur": 0.9, "noise": 0.9, "pixelate": 0.9, "jpeg": 0.8})


@dataclass(frozen=True)
class Recipe:
    """One checkpoint of the demo; its bundle is in the folder of its name."""

    name: str
    prompts: PromptHeadConfig


# The first is the one that the others are compared with. The second differs in all that a bundle can differ in, and
# has the paper's dropout and loss: on a frozen encoder the layout alone moves scores by 0.02 on average, too little
# to try a comparison or an experiment with.
CHECKPOINTS = (
    Recipe("demo", PromptHeadConfig()),
    Recipe(
        "demo-shared",
        PromptHeadConfig(
            class_specific=False,
            class_token_position="middle",
            hidden=64,
            dropout=0.5,
            ranking_weight=0.0,
            threads=1,
        ),
    ),
)


@dataclass(frozen=True)
class DemoConfig:
    """All stages of the demo."""

    cache: CacheConfig = field(default_factory=CacheConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    checkpoints: tuple[Recipe, ...] = CHECKPOINTS
    embedded_groups: int = 1500  # groups whose embeddings the heads are trained on

    @staticmethod
    def of(seed: int, minutes: float) -> DemoConfig:
        """Another limit on the pre-training, or another seed: the checkpoints take it and the numbers that follow."""
        base = DemoConfig()
        return replace(
            base,
            pretrain=replace(base.pretrain, seed=seed, minutes=minutes),
            checkpoints=tuple(
                replace(recipe, prompts=replace(recipe.prompts, seed=seed + i))
                for i, recipe in enumerate(base.checkpoints)
            ),
        )


def training_embeddings(repository: Path, cache: Cache, count: int, seed: int, path: Path, digest: str) -> np.ndarray:
    """Embeddings [count, 4, D] of random squares of the cached groups, through the exported graph."""
    if path.exists():
        kept = np.load(path)
        if str(kept["digest"]) == digest and len(kept["embeddings"]) == count:
            return kept["embeddings"]
    rng = np.random.default_rng(seed)
    rows = []
    for start in tqdm(range(0, count, 64), unit="batch", disable=None):
        chosen = range(start, min(start + 64, count))
        pixels = np.concatenate([cut(cache.pixels[i], rng) for i in chosen])
        rows.append(embed_images(repository, pixels))
    embeddings = np.concatenate(rows).reshape(count, GROUP, -1)
    np.savez(path, embeddings=embeddings, digest=digest)
    return embeddings


def source_line(config: DemoConfig, trainer: Pretrainer, folder: Path) -> str:
    """How the encoder came to be, in a sentence."""
    return (
        f"Pre-trained from random weights by `agiqa-train demo-small` on {config.cache.groups} groups of one clean and "
        f"three synthetically distorted pictures (three quarters cut from 80 AI-generated images under CC-BY-4.0 of "
        f"github.com/jamez-bondos/awesome-gpt4o-images, one quarter drawn by the program), captions that name the "
        f"distortions; {trainer.step_count} steps of {config.pretrain.groups_per_step * GROUP} pictures on two CPU cores, "
        f"seed {config.pretrain.seed}, code at {git_commit(folder)}"
    )


class _SameEncoder(Exception):
    """The repository has these very graphs."""


def export(clip: Clip, repository: Path, source: str) -> str:
    """Writes the encoder, unless the one in the repository has the same graphs; its digest.

    A checkpoint that is added later leaves the encoder, and what is said about it, alone.
    """
    graphs = [repository / model / "1" / "model.onnx" for model in (IMAGE_MODEL, TEXT_MODEL)]
    present = encoder_digest(*graphs) if all(p.is_file() for p in (*graphs, repository / ENCODER_FILE)) else None

    def keep(digest: str) -> None:
        if digest == present:
            raise _SameEncoder

    try:
        return write_encoder(
            clip, repository, ENCODER_NAME, source, {}, accept=keep, text_capability=QUALITY_WORDS
        )[0]
    except _SameEncoder:
        return str(present)


def embed_groups(repository: Path, files: list[Path], config: CacheConfig) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [N, D] and pseudo-MOS [N] of random groups of held-out pictures, always the same ones."""
    held = CacheConfig(groups=RANDOM_GROUPS, drawn_share=config.drawn_share, seed=DRAWN_SEED + 1)
    groups = [make_group(files, held, i) for i in range(RANDOM_GROUPS)]
    stored = np.concatenate([pixels for pixels, _ in groups])
    pixels = np.stack([np.asarray(center_crop(Image.fromarray(p))) for p in stored])
    return embed_images(repository, pixels), pseudo_mos(np.concatenate([severities for _, severities in groups]))


def measure(scorer: Scorer, folder: Path, kept: Path, config: CacheConfig, other: Scorer | None = None) -> dict:
    """Everything of one checkpoint: pictures, correlation and the text ablation, and the distance from another.

    Embeddings are kept in the folder `kept`.
    """
    _, held_out = split_images(folder, config.held_out, config.seed)
    cache = EmbeddingCache(kept, scorer.repository, DEFAULT_VIEWS)
    result = measure_pictures(scorer, cache, held_out, config.seed, AIMS)
    result["split"] = f"seed {config.seed}, {config.held_out} images held out of every stage"
    embeddings, target = embed_groups(scorer.repository, held_out, config)
    scores = scorer.judge(embeddings, scorer.texts)
    zeroed = scorer.judge(embeddings, np.zeros_like(scorer.texts))
    result["random_held_out_groups"] = {"groups": RANDOM_GROUPS, **correlation(scores, zeroed, target)}
    if other is not None:
        result["against"] = {"name": other.name, **difference(scores, other.judge(embeddings, other.texts))}
    return result


def run_demo(images: Path, repository: Path, checkpoints: Path, run: Path, config: DemoConfig) -> dict[str, dict]:
    """Trains everything; returns what was measured of each checkpoint on held-out pictures."""
    log = RunLog(run, asdict(config))
    train_files, _ = split_images(images, config.cache.held_out, config.cache.seed)
    cache = open_cache(run.parent / "cache", train_files, config.cache)
    trainer = pretrain(PretrainJob(demo_config(), config.pretrain, run.parent / "cache", run / "pretrain.pt", log))
    digest = export(trainer.clip, repository, source_line(config, trainer, Path(__file__).parent))
    count = min(config.embedded_groups, len(cache.pixels))
    embeddings = training_embeddings(repository, cache, count, config.pretrain.seed, run / "embeddings.npz", digest)
    goldens = embeddings[: GOLDEN // GROUP].reshape(GOLDEN, -1)
    mos = pseudo_mos(cache.severities[:count])
    metrics: dict[str, dict] = {}
    first: Scorer | None = None
    for recipe in config.checkpoints:
        log.add("checkpoint", name=recipe.name)
        checkpoint = train_checkpoint(trainer.clip, digest, embeddings, mos, recipe, config, log)
        texts = embed_prompts(repository, checkpoint.context, checkpoint.categories, checkpoint.class_token_position)
        bundle = checkpoints / recipe.name
        write_bundle(bundle, checkpoint, goldens, texts)
        scorer = Scorer(repository, bundle)
        metrics[recipe.name] = measure(scorer, images, run.parent / "embeddings", config.cache, first)
        first = first or scorer
        write_bundle(bundle, replace(checkpoint, metrics=metrics[recipe.name]), goldens, texts)
    (run / "evaluation.json").write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


def train_checkpoint(
    clip: Clip,
    digest: str,
    embeddings: np.ndarray,
    mos: np.ndarray,
    recipe: Recipe,
    config: DemoConfig,
    log: RunLog,
) -> Checkpoint:
    """Prompts and head on the frozen encoder, from embeddings [G, 4, D] and scores [G, 4]."""
    prompts = recipe.prompts
    loss = "squared error plus ranking loss" if prompts.ranking_weight > 0 else "squared error"
    layout = prompt_layout(Tokenizer(), CATEGORIES, prompts.context_length, prompts.class_token_position)
    one_view = embeddings[:, :, None]
    context, head = train_prompts_and_head(rounded_copy(clip), layout, one_view, mos, prompts, log)
    return Checkpoint(
        name=recipe.name,
        context=context,
        head=head,
        encoder_name=ENCODER_NAME,
        encoder_digest=digest,
        class_token_position=prompts.class_token_position,
        training={
            "data": "80 AI-generated images under CC-BY-4.0 and drawn pictures, clean and synthetically distorted; "
            "the target is a pseudo-MOS computed from the distortions, no human rated anything",
            "split": f"seed {config.cache.seed}, {config.cache.held_out} of 100 images held out of every stage",
            "seed": prompts.seed,
            "protocol": f"frozen encoders, AdamW, {prompts.steps} steps, dropout {prompts.dropout}, {loss}",
        },
    )
