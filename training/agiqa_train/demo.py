"""The demo from nothing: cache, pre-training, export, prompts and head, bundle, measurement.

Every stage leaves a file in the run folder and is skipped when its file is there, so an
interrupted run goes on where it stopped.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .bundle import Checkpoint, write_bundle
from .clip import Clip, demo_config
from .data import GROUP, Cache, CacheConfig, open_cache, split_images
from .distort import pseudo_mos
from .evaluate import measure
from .exported import Scorer, embed_images, embed_prompts
from .onnx_export import rounded_copy
from .pretrain import Pretrainer, PretrainConfig, PretrainJob, cut, pretrain
from .prompt_head import PromptHeadConfig, train_prompts_and_head
from .prompts import CATEGORIES, prompt_layout
from .runlog import RunLog, git_commit
from .tokenizer import Tokenizer
from .triton_repository import write_encoder

ENCODER_NAME = "agiqa-demo-vit-16"
GOLDEN = 8


@dataclass(frozen=True)
class DemoConfig:
    """All stages of the demo."""

    cache: CacheConfig = field(default_factory=CacheConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    prompts: PromptHeadConfig = field(default_factory=PromptHeadConfig)
    embedded_groups: int = 1500  # groups whose embeddings the head is trained on

    @staticmethod
    def of(seed: int, minutes: float) -> DemoConfig:
        """The recipe with another seed or another limit on the pre-training."""
        base = DemoConfig()
        return replace(
            base,
            pretrain=replace(base.pretrain, seed=seed, minutes=minutes),
            prompts=replace(base.prompts, seed=seed),
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
        f"Pre-trained from random weights by `agiqa-train demo` on {config.cache.groups} groups of one clean and "
        f"three synthetically distorted pictures (three quarters cut from 80 AI-generated images under CC-BY-4.0 of "
        f"github.com/jamez-bondos/awesome-gpt4o-images, one quarter drawn by the program), captions that name the "
        f"distortions; {trainer.step_count} steps of {config.pretrain.groups_per_step * GROUP} pictures on two CPU cores, "
        f"seed {config.pretrain.seed}, code at {git_commit(folder)}"
    )


def run_demo(images: Path, repository: Path, bundle: Path, run: Path, config: DemoConfig) -> dict:
    """Trains everything; returns what was measured on held-out pictures."""
    log = RunLog(run, asdict(config))
    train_files, _ = split_images(images, config.cache.held_out, config.cache.seed)
    cache = open_cache(run.parent / "cache", train_files, config.cache)
    tokenizer = Tokenizer()
    trainer = pretrain(PretrainJob(demo_config(), config.pretrain, run.parent / "cache", run / "pretrain.pt", log))
    clip = trainer.clip
    source = source_line(config, trainer, Path(__file__).parent)
    digest, _ = write_encoder(clip, repository, ENCODER_NAME, source, {})
    checkpoint, goldens = train_checkpoint(clip, digest, repository, cache, run, config, tokenizer, log)
    texts = embed_prompts(repository, checkpoint.context, checkpoint.categories, checkpoint.class_token_position)
    write_bundle(bundle, checkpoint, goldens, texts)
    metrics = measure(Scorer(repository, bundle), images, config.cache)
    (run / "evaluation.json").write_text(json.dumps(metrics, indent=2) + "\n")
    summary = metrics["acceptance"]
    write_encoder(clip, repository, ENCODER_NAME, source, {"demo_checkpoint_acceptance": summary})
    write_bundle(bundle, replace(checkpoint, metrics=metrics), goldens, texts)
    return metrics


def train_checkpoint(
    clip: Clip,
    digest: str,
    repository: Path,
    cache: Cache,
    run: Path,
    config: DemoConfig,
    tokenizer: Tokenizer,
    log: RunLog,
) -> tuple[Checkpoint, np.ndarray]:
    """Prompts and head on the frozen, exported encoder; also the embeddings of the golden cases."""
    count = min(config.embedded_groups, len(cache.pixels))
    embeddings = training_embeddings(repository, cache, count, config.prompts.seed, run / "embeddings.npz", digest)
    mos = pseudo_mos(cache.severities[:count])
    layout = prompt_layout(
        tokenizer, CATEGORIES, config.prompts.context_length, config.prompts.class_token_position
    )
    context, head = train_prompts_and_head(rounded_copy(clip), layout, embeddings, mos, config.prompts, log)
    checkpoint = Checkpoint(
        name="demo",
        context=context,
        head=head.tensors(),
        encoder_name=ENCODER_NAME,
        encoder_digest=digest,
        class_token_position=config.prompts.class_token_position,
        training={
            "data": "80 AI-generated images under CC-BY-4.0 and drawn pictures, clean and synthetically distorted; "
            "the target is a pseudo-MOS computed from the distortions, no human rated anything",
            "split": f"seed {config.cache.seed}, {config.cache.held_out} of 100 images held out of every stage",
            "seed": config.prompts.seed,
            "protocol": f"frozen encoders, AdamW, {config.prompts.steps} steps, squared error plus ranking loss",
        },
    )
    return checkpoint, embeddings[: GOLDEN // 4].reshape(GOLDEN, -1)
