"""One run: a data set, a split and a frozen CLIP to a context and a head.

Every epoch draws its order, its dropout and its crops from (seed, epoch) alone, so an interrupted
run goes on from the last whole epoch as if nothing had happened, and there is no generator's
state to keep.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ..agreement.bootstrap import BootstrapConfig
from ..agreement.correlation import krcc, plcc, rmse, srcc
from ..agreement.report import Report, evaluate
from ..clip import Clip
from ..exported import embed_prompts, embed_texts, prompt_ids
from ..head import Head, score_numpy
from ..preprocess import PILLOW12, RECIPE
from ..prompt_head import PromptHeadConfig, PromptLearner
from ..prompts import PromptLayout, prompt_layout
from ..runlog import git_commit, versions
from ..tokenizer import Tokenizer
from .augment import random_pixels
from .config import FitConfig, learning_rate_at
from .datasets import Dataset
from .features import ImageEncoder, autocast, cached_features, embed_files
from .plots import plot_loss, plot_scatter
from .run_folder import ALIGNMENT, FORMAT, TASKS, RunError, write_json, write_predictions, write_text, write_weights
from .splits import Split, SplitConfig

# The text tower in PyTorch must be the exported one; fp16 graphs differ by about 1e-3.
LARGEST_TEXT_DIFFERENCE = 5e-3


@dataclass(frozen=True)
class Frozen:
    """The encoders that a run does not change."""

    clip: Clip  # for the text tower's gradients
    source: dict  # of `sources.SourceInfo`
    images: ImageEncoder
    encoder: dict | None  # name and digest, when the images go through an exported graph
    repository: Path | None
    device: torch.device
    precision: str


@dataclass(frozen=True)
class Job:
    """All that one run is told."""

    dataset: Dataset
    split: Split
    split_config: SplitConfig
    config: FitConfig
    frozen: Frozen
    folder: Path
    cache: Path
    workers: int = 2


def draw_seed(seed: int, *what: object) -> int:
    """A seed of 63 bits for one purpose."""
    text = "/".join(["agiqa-fit", str(seed), *map(str, what)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def reads_prompts(dataset: Dataset) -> bool:
    """Whether the task is about the prompts of pictures."""
    return TASKS.get(dataset.task, dataset.task) == ALIGNMENT


class Fit:
    """The state of a run: what is learned, its optimiser, and how far it is."""

    def __init__(self, job: Job, layout: PromptLayout) -> None:
        config, frozen = job.config, job.frozen
        torch.manual_seed(draw_seed(config.seed, "start"))
        sizes = PromptHeadConfig(context_length=config.context_length, class_specific=config.class_specific)
        self.learner = PromptLearner(frozen.clip, layout, sizes).to(frozen.device)
        embed_dim = frozen.clip.config.embed_dim
        self.head = Head(embed_dim, config.hidden, len(config.categories), config.dropout, reads_prompts(job.dataset))
        self.head = self.head.to(frozen.device)
        with torch.no_grad():
            if config.context_words is not None:
                self.learner.context.copy_(word_embeddings(frozen.clip, config))
            if config.mean_start:
                self.head.layers[4].bias.fill_(float(job.dataset.scores[job.split.train].mean()))
        parameters = [*self.learner.parameters(), *self.head.parameters()]
        if config.optimizer == "sgd":
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
                parameters, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
            )
        else:
            self.optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.scaler = torch.amp.GradScaler(frozen.device.type, enabled=frozen.precision == "fp16")
        self.epochs_done = 0
        self.best: dict | None = None  # epoch, srcc, tensors

    def tensors(self) -> dict[str, np.ndarray]:
        """Context and head under a bundle's names."""
        return {"context": self.learner.context.detach().float().cpu().numpy().copy(), **self.head.tensors()}

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        best = self.best and {**self.best, "tensors": {k: torch.from_numpy(v) for k, v in self.best["tensors"].items()}}
        state = {
            "learner": self.learner.state_dict(),
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epochs_done": self.epochs_done,
            "best": best,
        }
        staged = path.with_name(f".{path.name}.new")
        torch.save(state, staged)
        os.replace(staged, path)

    def load(self, path: Path) -> None:
        """Inverse of `save`."""
        state = torch.load(path, map_location=self.learner.context.device, weights_only=True)
        self.learner.load_state_dict(state["learner"])
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.epochs_done = state["epochs_done"]
        best = state["best"]
        self.best = best and {**best, "tensors": {k: v.cpu().numpy() for k, v in best["tensors"].items()}}

    @torch.no_grad()
    def scores(self, features: Tensor) -> np.ndarray:
        """Scores [n] in float32."""
        self.head.eval()
        return self.head(features, self.learner()).float().cpu().numpy().astype(np.float64)


def word_embeddings(clip: Clip, config: FitConfig) -> Tensor:
    """The context that the words stand for, [L, W]; raises ValueError when they are not L tokens."""
    ids = Tokenizer().encode(config.context_words)
    if len(ids) != config.context_length:
        words, length = config.context_words, config.context_length
        raise ValueError(f"context_words {words!r} are {len(ids)} tokens, context_length is {length}")
    return clip.embed_tokens(torch.tensor([ids], device=clip.positional_embedding.device))[0]


def fit(job: Job) -> dict:
    """Trains, or goes on, or finds that all is done; returns `result.json`."""
    layout = prompt_layout(
        Tokenizer(), job.config.categories, job.config.context_length, job.config.class_token_position
    )
    for parameter in job.frozen.clip.parameters():
        parameter.requires_grad_(False)
    job.folder.mkdir(parents=True, exist_ok=True)
    claim_folder(job)
    state = Fit(job, layout)
    check_same_text_tower(job, state)
    path = job.folder / "state.pt"
    if path.exists():
        state.load(path)
    rows = kept_metrics(job.folder / "metrics.jsonl", state.epochs_done)
    files = [sample.path for sample in job.dataset.samples]
    features = torch.from_numpy(cached_features(job.frozen.images, files, job.cache, job.workers)).to(job.frozen.device)
    if reads_prompts(job.dataset):
        features = torch.cat([features, prompt_features(job)], dim=1)  # [n, 2D]
    name, done = f"seed {job.config.seed}", state.epochs_done
    bar = tqdm(total=job.config.epochs, initial=done, desc=name, unit="epoch", disable=None)
    with bar, (job.folder / "metrics.jsonl").open("a") as log:
        while state.epochs_done < job.config.epochs:
            row = one_epoch(job, state, features)
            rows.append(row)
            log.write(json.dumps(row) + "\n")
            log.flush()
            state.save(path)
            bar.set_postfix(loss=f"{row['loss']:.4g}", srcc=row["test"]["srcc"])
            bar.update()
            if bar.disable:
                print(f"epoch {row['epoch']} of {job.config.epochs}: loss {row['loss']:.6g}", file=sys.stderr, flush=True)
    return finish(job, state, rows, features)


@torch.no_grad()
def prompt_features(job: Job) -> Tensor:
    """Embeddings [n, D] of the pictures' prompts, each prompt embedded once, as the server will."""
    prompts = sorted({str(sample.prompt) for sample in job.dataset.samples})
    place = {prompt: i for i, prompt in enumerate(prompts)}
    if job.frozen.repository is not None:
        rows = embed_texts(job.frozen.repository, prompts)
    else:
        ids = torch.from_numpy(prompt_ids(prompts)).long().to(job.frozen.device)
        rows = torch.cat([job.frozen.clip.encode_text(part).float() for part in ids.split(64)]).cpu().numpy()
    chosen = rows[[place[str(sample.prompt)] for sample in job.dataset.samples]]
    return torch.from_numpy(chosen).to(job.frozen.device)


def one_epoch(job: Job, state: Fit, features: Tensor) -> dict:
    """Trains one epoch; returns its line of metrics."""
    config, frozen, epoch, started = job.config, job.frozen, state.epochs_done, time.monotonic()
    torch.manual_seed(draw_seed(config.seed, "epoch", epoch))
    rate = learning_rate_at(epoch, config)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    order = job.split.train[torch.randperm(len(job.split.train)).numpy()]
    # An incomplete last batch is dropped, as in the original, unless it is the only one.
    whole = max(len(order) // config.batch, 1)
    mos = torch.from_numpy(job.dataset.scores.astype(np.float32)).to(frozen.device)
    losses = []
    state.head.train()
    for batch in range(whole):
        chosen = order[batch * config.batch : (batch + 1) * config.batch]
        images = features[chosen]
        if config.augmentation != "none":
            views = augmented(job, chosen, epoch)
            images = torch.cat([views, images[:, views.shape[1] :]], dim=1)  # the prompts, if any, stay
        with autocast(frozen.device, frozen.precision):
            texts = state.learner()
        loss = F.mse_loss(state.head(images, texts.float()), mos[chosen])
        state.optimizer.zero_grad(set_to_none=True)
        state.scaler.scale(loss).backward()
        state.scaler.step(state.optimizer)
        state.scaler.update()
        losses.append(float(loss.detach()))
    if not np.isfinite(losses).all():
        raise RunError(f"the loss of epoch {epoch + 1} is not finite: lower --learning-rate, or train in fp32")
    state.epochs_done = epoch + 1
    sides = {
        side: measure(state.scores(features[indices]), job.dataset.scores[indices])
        for side, indices in (("validation", job.split.validation), ("test", job.split.test))
        if len(indices)
    }
    judged = sides.get("validation", sides["test"])["srcc"]
    if judged is not None and (state.best is None or judged > state.best["srcc"]):
        state.best = {"epoch": epoch + 1, "srcc": judged, "tensors": state.tensors()}
    seconds = round(time.monotonic() - started, 3)
    return {"epoch": epoch + 1, "learning_rate": rate, "loss": float(np.mean(losses)), **sides, "seconds": seconds}


def augmented(job: Job, chosen: np.ndarray, epoch: int) -> Tensor:
    """Embeddings of random views of the chosen images."""
    size = job.frozen.images.resolution

    def view(i: int, image) -> np.ndarray:
        rng = np.random.default_rng(draw_seed(job.config.seed, "view", epoch, chosen[i]))
        return random_pixels(image, size, rng)

    files = [job.dataset.samples[i].path for i in chosen]
    return torch.from_numpy(embed_files(job.frozen.images, files, job.workers, view)).to(job.frozen.device)


def measure(scores: np.ndarray, mos: np.ndarray) -> dict:
    """The figures of one epoch, null where they are not defined."""
    values = {"srcc": srcc(scores, mos), "krcc": krcc(scores, mos), "plcc": plcc(scores, mos), "rmse": rmse(scores, mos)}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def describe(job: Job) -> dict:
    """What the result depends on. A folder holds one such description, and goes on only with the same."""
    rows = "\n".join(f"{s.name}\t{s.score!r}\t{s.group or ''}" for s in job.dataset.samples)
    data, frozen = job.dataset, job.frozen
    return {
        "format": FORMAT,
        "fit": {**asdict(job.config), "categories": list(job.config.categories), "precision": frozen.precision},
        "data": {
            "name": data.name,
            "task": data.task,
            "images": len(data.samples),
            "sha256": hashlib.sha256(rows.encode()).hexdigest(),
            "score": asdict(data.scale),
            **({"prompt": True} if reads_prompts(data) else {}),
            **({} if RECIPE == PILLOW12 else {"recipe": RECIPE}),
        },
        "split": asdict(job.split_config),
        "source": {
            **{name: frozen.source[name] for name in ("format", "file", "sha256")},
            "activation": frozen.clip.config.activation,
        },
        "encoder": frozen.encoder,
    }


def claim_folder(job: Job) -> None:
    """Writes the configuration, or makes sure that the folder is this run's."""
    path, about = job.folder / "config.json", describe(job)
    if path.exists():
        there = json.loads(path.read_text())
        differing = [name for name in about if there.get(name) != about[name]]
        if differing:
            raise RunError(f"--out {job.folder} holds a run with another {', '.join(differing)}: give another folder")
        return
    sides = {"train": job.split.train, "validation": job.split.validation, "test": job.split.test}
    named = {side: [job.dataset.samples[i].name for i in indices] for side, indices in sides.items()}
    write_json(job.folder / "split.json", named)
    device = {"type": job.frozen.device.type}
    if job.frozen.device.type == "cuda":
        device["name"] = torch.cuda.get_device_name(job.frozen.device)
    commit = git_commit(Path(__file__).parent)
    write_json(path, {**about, "device": device, "versions": versions(), "git_commit": commit})


def check_same_text_tower(job: Job, state: Fit) -> None:
    """Raises RunError when --source is not the CLIP behind --encoder."""
    if job.frozen.repository is None:
        return
    with torch.no_grad():
        ours = state.learner().float().cpu().numpy()
    context = state.tensors()["context"]
    theirs = embed_prompts(job.frozen.repository, context, job.config.categories, job.config.class_token_position)
    difference = math.inf if ours.shape != theirs.shape else float(np.abs(ours - theirs).max())
    if not difference <= LARGEST_TEXT_DIFFERENCE:
        raise RunError(f"--source and --encoder are not the same CLIP: prompts differ by {difference:.3g}")


def kept_metrics(path: Path, epochs: int) -> list[dict]:
    """The lines of whole epochs; what an interrupted epoch left behind goes."""
    lines = path.read_text().splitlines()[:epochs] if path.exists() else []
    write_text(path, "".join(line + "\n" for line in lines))
    return [json.loads(line) for line in lines]


def finish(job: Job, state: Fit, rows: list[dict], features: Tensor) -> dict:
    """Weights, predictions, plots and figures of the last and of the best epoch."""
    test = job.split.test
    names = [job.dataset.samples[i].name for i in test]
    mos, images = job.dataset.scores[test], features[test].cpu().numpy()
    last = {"epoch": state.epochs_done, "tensors": state.tensors()}
    result: dict = {"format": FORMAT, "selected_on": "validation" if len(job.split.validation) else "test"}
    for which, kept in (("last", last), ("best", state.best or last)):
        scores = final_scores(job, state, kept["tensors"], images)
        report = evaluate(scores, mos, BootstrapConfig())
        write_weights(job.folder / f"{which}.safetensors", kept["tensors"])
        write_predictions(job.folder / f"predictions-{which}.csv", names, scores, mos)
        if which == "last":
            plot_scatter(job.folder / "scatter.png", scores, mos, report)
        result[which] = {"epoch": kept["epoch"], **report.to_dict()}
    plot_loss(job.folder / "loss.png", rows)
    write_json(job.folder / "result.json", result)
    return result


def final_scores(job: Job, state: Fit, tensors: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """Scores as the server gives them: through the exported text encoder when there is one."""
    if job.frozen.repository is not None:
        texts = embed_prompts(
            job.frozen.repository, tensors["context"], job.config.categories, job.config.class_token_position
        )
    else:
        with torch.no_grad():
            state.learner.context.copy_(torch.from_numpy(tensors["context"]))
            texts = state.learner().float().cpu().numpy()
    if reads_prompts(job.dataset):
        images, prompts = np.split(images, 2, axis=1)
        return score_numpy(tensors, images, texts, prompts).astype(np.float64)
    return score_numpy(tensors, images, texts).astype(np.float64)


def median_report(results: dict[int, dict]) -> dict:
    """Results of several seeds: every figure's median, and the seed whose SRCC is the lower median."""
    summary: dict = {"format": FORMAT, "seeds": sorted(results)}
    for which in ("last", "best"):
        figures = {seed: result[which]["figures"] for seed, result in results.items()}
        summary[which] = {
            name: _median([figures[seed][name]["value"] for seed in sorted(figures)]) for name in figures[min(figures)]
        }

    def rank(seed: int) -> tuple[float, int]:
        srcc = results[seed]["last"]["figures"]["srcc"]["value"]
        return (-math.inf if srcc is None else srcc), seed

    ranked = sorted(results, key=rank)
    summary["median_seed"] = ranked[(len(ranked) - 1) // 2]
    return summary


def _median(values: list[float | None]) -> dict:
    known = [value for value in values if value is not None]
    median = float(np.median(known)) if known else None
    return {"median": median, "min": min(known, default=None), "max": max(known, default=None)}
