"""Runs every comparison, prints the table, writes it to a page; exit status 1 when one is off."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from original_format import regression, save_original
from published import (
    VIT_B_16,
    hugging_face_embeddings,
    hugging_face_model,
    open_clip_embeddings,
    open_clip_model,
    save_openai_archive,
)
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from agiqa_train.cli import main as agiqa_train
from agiqa_train.drawn import drawn_image

from . import reference
from .gateway import Gateway
from .triton import Server

ROOT = Path(__file__).resolve().parents[2]
SEED = 1
# The folders whose code a comparison goes through: a change there makes the commit only half the story.
MEASURED = ("training", "embedded", "cmd", "gateway", "imageprep", "scoring", "clip", "checkpoint", "tritonclient")
TEXTS = [
    "a good photo.",
    "terrible.",
    "an owl that is writing a long letter by the light of a candle",
    "X X X X perfect.",
]
BATCHES = (2, 3, 4, 6, 8, 12, 16, 24, 32)
EMBEDDING_LIMIT, COSINE_LIMIT, SCORE_LIMIT, BATCH_LIMIT = 1e-4, 0.9999, 1e-3, 1e-5
# The wrong activation must show well above what is allowed, or the comparison could not fail.
CONTROL_LIMIT = 10 * EMBEDDING_LIMIT
UNIT_SPREAD = 0.3  # least spread of the scores over the images; without one, agreement would prove nothing


@dataclass
class Report:
    """Rows of the table; `failed` as soon as one of them is off."""

    rows: list[tuple[str, str, str, str, bool]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def at_most(self, what: str, against: str, value: float, limit: float) -> None:
        """A difference that must be small."""
        self._add(what, against, f"{value:.1e}", f"<= {limit:.0e}", value <= limit)

    def at_least(self, what: str, against: str, value: float, limit: float, form: str = ".7f") -> None:
        """A cosine that must be large, or a control that must show a difference."""
        self._add(what, against, format(value, form), f">= {limit:g}", value >= limit)

    def _add(self, *row: object) -> None:
        self.rows.append(row)
        print("| " + " | ".join(map(str, row[:4])) + (" |" if row[4] else " | FAILED"), flush=True)

    @property
    def failed(self) -> bool:
        """Whether any row is off."""
        return not all(row[4] for row in self.rows)


def write_images(folder: Path) -> list[Path]:
    """The examples of the repository and drawings of several shapes and formats."""
    rng = np.random.default_rng(SEED)
    files = [ROOT / "examples" / name for name in ("harbour.jpg", "harbour-blurred.jpg", "tiles.png")]
    for size, name, options in (
        ((640, 427), "wide.jpg", {"quality": 85, "subsampling": "4:2:0"}),
        ((301, 499), "tall.png", {}),
        ((224, 224), "exact.png", {}),
        ((1023, 767), "large.jpg", {"quality": 92, "subsampling": "4:4:4", "progressive": True}),
    ):
        drawn_image(max(size), rng).crop((0, 0, *size)).save(folder / name, **options)
        files.append(folder / name)
    return files


@dataclass(frozen=True)
class Source:
    """A published file, and who computes its embeddings independently."""

    name: str
    argument: str
    flags: tuple[str, ...]
    against: str
    embed: Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
    model: nn.Module
    wrong: nn.Module | None = None  # the same weights with the other activation, as a control


def write_sources(folder: Path) -> list[Source]:
    """Random ViT-B/16 weights in the three formats, both activations among them."""
    hugging_face = hugging_face_model(VIT_B_16, "quick_gelu", SEED)
    hugging_face.save_pretrained(folder / "hf")
    plain = open_clip_model(VIT_B_16, "gelu", SEED + 1)
    torch.save(plain.state_dict(), folder / "open_clip_pytorch_model.bin")
    half = open_clip_model(VIT_B_16, "quick_gelu", SEED + 2).half().float()  # the archive holds float16
    save_openai_archive(half.state_dict(), folder / "ViT-B-16.pt")
    return [
        Source(
            "open_clip, GELU",
            f"open_clip:{folder / 'open_clip_pytorch_model.bin'}",
            ("--activation", "gelu"),
            "open_clip",
            open_clip_embeddings,
            plain,
            open_clip_model(VIT_B_16, "quick_gelu", SEED + 1),
        ),
        Source(
            "Hugging Face, QuickGELU", f"hf:{folder / 'hf'}", (), "transformers", hugging_face_embeddings, hugging_face
        ),
        Source(
            "OpenAI archive, QuickGELU", f"openai:{folder / 'ViT-B-16.pt'}", (), "open_clip", open_clip_embeddings, half
        ),
    ]


def quietly(arguments: list[str]) -> None:
    """A command of `agiqa-train` without what it prints; raises RuntimeError when it fails."""
    with contextlib.redirect_stdout(io.StringIO()):
        status = agiqa_train(arguments)
    if status != 0:
        raise RuntimeError(f"agiqa-train {' '.join(arguments)}: status {status}")


def run_export(source: Source, precision: str, out: Path) -> None:
    """`agiqa-train export-encoders`, as a person runs it."""
    arguments = ["export-encoders", "--source", source.argument, "--out", str(out), "--precision", precision]
    quietly([*arguments, *source.flags])


def served_texts(server: Server, tokens: Tensor) -> np.ndarray:
    """Plain texts through clip_text_encoder: no context, so that any CLIP can be asked the same."""
    count = len(tokens)
    inputs = {
        "token_ids": tokens.numpy().astype(np.int32),
        "context": np.zeros((count, 77, VIT_B_16.text_width), np.float32),
        "context_mask": np.zeros((count, 77), np.uint8),
    }
    return server.infer("clip_text_encoder", inputs)["text_embedding"]


def compare_embeddings(
    report: Report, source: Source, precision: str, repository: Path, files: list[Path], folder: Path
) -> str:
    """Image and text embeddings from Triton against another implementation; Triton's version."""
    tokens, images = reference.tokens(TEXTS), reference.tensors(files)
    want = [part.numpy() for part in source.embed(source.model, images, tokens)]
    with Server(ROOT / ".venv", repository, folder) as server:
        pixels = np.stack([reference.pixels(file) for file in files])
        got = [server.infer("clip_image_encoder", {"pixels": pixels})["image_embedding"], served_texts(server, tokens)]
        triton = server.version()
    for kind, ours, theirs in zip(("image", "text"), got, want):
        what = f"{kind} embeddings, {source.name}, {precision}"
        if precision == "fp32":
            report.at_most(what, source.against, float(np.abs(ours - theirs).max()), EMBEDDING_LIMIT)
        report.at_least(f"{what}: cosine", source.against, float((ours * theirs).sum(axis=1).min()), COSINE_LIMIT)
        if precision == "fp32" and source.wrong is not None:
            wrong = source.embed(source.wrong, images, tokens)[0 if kind == "image" else 1].numpy()
            what = f"{kind} embeddings, {source.name}, against the other activation (a control: must differ)"
            report.at_least(what, source.against, float(np.abs(ours - wrong).max()), CONTROL_LIMIT, ".1e")
        pairs = (theirs @ theirs.T)[~np.eye(len(theirs), dtype=bool)]
        report.notes.append(
            f"{kind} embeddings of {source.name}: cosines between different inputs {pairs.min():.3f} to {pairs.max():.3f}"
        )
    return triton


@dataclass(frozen=True)
class Trained:
    """A checkpoint, as the original repository would have trained it."""

    name: str
    context: Tensor
    position: str
    head: nn.Sequential


def make_checkpoints(model: nn.Module, images: Tensor) -> list[Trained]:
    """Two random checkpoints whose scores spread over the scale on these images."""
    torch.manual_seed(SEED)
    shared = 0.05 * torch.randn(16, VIT_B_16.text_width)
    specific = 0.05 * torch.randn(6, 16, VIT_B_16.text_width)
    checkpoints = []
    for name, context, position in (("end-shared", shared, "end"), ("middle-specific", specific, "middle")):
        head = regression(VIT_B_16.embed_dim, 512).eval()
        with torch.no_grad():
            raw = torch.from_numpy(reference.scores(model, context, position, head, images))
            head[4].weight.mul_(1 / raw.std())
            head[4].bias.copy_(2.5 - (raw.mean() - head[4].bias) / raw.std())
        checkpoints.append(Trained(name, context, position, head))
    return checkpoints


def install_checkpoints(trained: list[Trained], repository: Path, folder: Path) -> Path:
    """Original folder, `export-checkpoint`, `agiqa checkpoint materialize`: what a person does."""
    bundles = folder / "checkpoints"
    for checkpoint in trained:
        original = folder / "original" / checkpoint.name
        save_original(original, checkpoint.context, checkpoint.head)
        flags = ["--original", str(original), "--encoder", str(repository), "--position", checkpoint.position]
        bundle = bundles / checkpoint.name
        quietly(["export-checkpoint", *flags, "--name", checkpoint.name, "--out", str(bundle)])
        command = [ROOT / "bin" / "agiqa", "checkpoint", "materialize", bundle, "--out", repository]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return bundles


def compare_scores(
    report: Report, trained: list[Trained], model: nn.Module, files: list[Path], gateway: Gateway
) -> None:
    """Files on disk through HTTP against the reference, alone and together."""
    images = reference.tensors(files)
    for checkpoint in trained:
        want = reference.scores(model, checkpoint.context, checkpoint.position, checkpoint.head, images)
        alone = np.array([gateway.score([file], checkpoint.name)[0] for file in files])
        what = f"scores of {len(files)} files through HTTP, checkpoint {checkpoint.name}"
        report.at_most(what, "PyTorch + open_clip", float(np.abs(alone - want).max()), SCORE_LIMIT)
        report.at_least(f"{what}: their spread", "", float(want.max() - want.min()), UNIT_SPREAD, ".2f")
        together = np.array(gateway.score(files, checkpoint.name))
        what = f"scores of one request of {len(files)} files, checkpoint {checkpoint.name}"
        report.at_most(what, "each alone", float(np.abs(together - alone).max()), BATCH_LIMIT)


def compare_batches(report: Report, server: Server, files: list[Path], ensemble: str, texts: np.ndarray) -> None:
    """One image in batches of many sizes, at changing places, against the same image alone."""
    rng = np.random.default_rng(SEED)
    pool = np.stack([reference.pixels(file) for file in files])

    def score(pixels: np.ndarray) -> np.ndarray:
        inputs = {"pixels": pixels, "text_embeddings": np.repeat(texts[None], len(pixels), axis=0)}
        return server.infer(ensemble, inputs)["score"][:, 0]

    alone = np.concatenate([score(pool[i : i + 1]) for i in range(len(pool))])
    worst = 0.0
    for size in BATCHES:
        chosen = rng.integers(0, len(pool), size)
        worst = max(worst, float(np.abs(score(pool[chosen]) - alone[chosen]).max()))
    sizes = ", ".join(map(str, BATCHES))
    report.at_most(f"scores in Triton batches of {sizes}", "each image alone", worst, BATCH_LIMIT)


def machine() -> str:
    """Processor, cores, system."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def commit() -> str:
    """What is checked out, and whether the code differs from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", *MEASURED)
    return git("rev-parse", "--short=12", "HEAD") + (" with local changes" if changed else "")


def page(report: Report, triton: str, seconds: float) -> str:
    """The result as Markdown."""
    served = subprocess.run(
        [ROOT / ".venv" / "bin" / "python", "-c", "import onnxruntime; print(onnxruntime.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    packages = ("torch", "transformers", "open_clip_torch", "torchvision", "pillow", "onnx")
    tools = ", ".join(f"{name} {version(name)}" for name in packages)
    rows = "\n".join("| " + " | ".join(row[:4]) + (" | yes |" if row[4] else " | **NO** |") for row in report.rows)
    notes = "\n".join(f"- {note}" for note in dict.fromkeys(report.notes))
    return f"""# Fidelity: the score is the model's

Written by `make test-fidelity`; do not edit. Random weights of the true ViT-B/16 shape (seed {SEED}) were
written in the three published formats, exported with `agiqa-train export-encoders`, and served by the
real tritonserver. Checkpoints were written in the original repository's own save format, exported with
`agiqa-train export-checkpoint`, installed with `agiqa checkpoint materialize`, and asked for over HTTP
from `agiqa up`. The references are other people's code: transformers, open_clip, Pillow and torchvision;
CLIP-AGIQA itself is written down a second time in `training/fidelity/reference.py`.

| what | against | found | wanted | met |
|---|---|---|---|---|
{rows}

Differences are the largest absolute ones; of embeddings, over all numbers of all vectors, which have
length 1; of scores, in the score's unit, on a scale from 0 to 5. `fp16` stores weights in half precision
and computes in single.

That the inputs are told apart (else agreement would be cheap):

{notes}

- commit: {commit()}
- when: {datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")}, {seconds:.0f} s
- machine: {machine()}
- references: Python {platform.python_version()}, {tools}
- served by: tritonserver {triton}, onnxruntime {served} (CPU)

What this does not show: how a GPU computes. The image encoder of the `gpu` configuration computes in half
precision, texts and heads in single.
"""


def run(report: Report, work: Path) -> str:
    """Every comparison; Triton's version."""
    files = write_images(work)
    triton = ""
    for source in write_sources(work):
        for precision in ("fp16", "fp32"):
            repository, folder = work / "models", work / f"run-{len(report.rows)}"
            shutil.rmtree(repository, ignore_errors=True)
            folder.mkdir()
            run_export(source, precision, repository)
            triton = compare_embeddings(report, source, precision, repository, files, folder)
    # What is left is the last one: OpenAI's archive in fp32.
    trained = make_checkpoints(source.model, reference.tensors(files))
    bundles = install_checkpoints(trained, repository, work)
    (work / "up").mkdir()
    with Gateway(ROOT / "bin" / "agiqa", ROOT / ".venv", repository, bundles, work / "up") as gateway:
        compare_scores(report, trained, source.model, files, gateway)
    texts = reference.prompt_features(source.model, trained[0].context, trained[0].position).numpy()
    ensemble = sorted(repository.glob("clip_agiqa_*"))[0].name
    (work / "batches").mkdir()
    with Server(ROOT / ".venv", repository, work / "batches") as server:
        compare_batches(report, server, files, ensemble, texts)
    return triton


def main() -> int:
    """Entry point; the exit status."""
    parser = argparse.ArgumentParser(prog="fidelity", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "fidelity.md", help="page to write")
    args = parser.parse_args()
    transformers_logging.disable_progress_bar()
    start = time.monotonic()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="agiqa-fidelity-") as work:
        triton = run(report, Path(work))
    args.out.write_text(page(report, triton, time.monotonic() - start))
    print(f"{'FAILED' if report.failed else 'all met'} after {time.monotonic() - start:.0f} s; {args.out}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
