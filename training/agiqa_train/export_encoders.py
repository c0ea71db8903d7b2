"""`agiqa-train export-encoders`: published CLIP weights to the encoder models of a Triton repository."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from .clip import ACTIVATIONS, ClipConfig
from .onnx_export import PRECISIONS
from .preprocess import IMAGE_SIZE
from .sources import SOURCE_FORMS, SourceError, load_clip, source_sha256
from .tokenizer import CONTEXT_LENGTH, END_OF_TEXT
from .triton_repository import ENCODER_FILE, GENERAL, IMAGE_MODEL, QUALITY_WORDS, TEXT_MODEL, write_encoder

# Width, layers and patch of the image tower to the usual name.
KNOWN = {(768, 12, 32): "vit-b-32", (768, 12, 16): "vit-b-16", (1024, 24, 14): "vit-l-14"}


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its flags."""
    command = commands.add_parser(
        "export-encoders", help="write the CLIP encoders of a Triton model repository from published weights"
    )
    command.add_argument("--source", required=True, help=f"{SOURCE_FORMS} (see training/README.md)")
    command.add_argument("--out", type=Path, required=True, help="Triton model repository, made when missing")
    command.add_argument(
        "--precision", choices=PRECISIONS, default="fp32", help="how weights are stored (default: %(default)s)"
    )
    command.add_argument("--name", help="the encoder's name (default: after its sizes and the source's format)")
    command.add_argument(
        "--activation", choices=sorted(ACTIVATIONS), help="of an open_clip file, which does not say it itself"
    )
    command.add_argument(
        "--cache", type=Path, help="folder for downloads (default: agiqa/hub in XDG_CACHE_HOME or ~/.cache)"
    )
    command.add_argument("--licence", default="that of the source weights", help="goes into encoder.json")
    command.add_argument("--force", action="store_true", help="replace another encoder that is there")
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> dict:
    """The command; returns what it prints. Raises SourceError or ValueError."""
    if not args.force:
        refuse_other_source(args.out, source_sha256(args.source, args.cache))
    clip, info = load_clip(args.source, args.activation, args.cache)
    check_served(clip.config)
    name = args.name or default_name(clip.config, info.format)
    if info.activation_from.startswith("open_clip's default"):
        print(f"activation: {clip.config.activation}, {info.activation_from}; say --activation otherwise", file=sys.stderr)
    digest, drifts = write_encoder(
        clip,
        args.out,
        name,
        info.sentence(),
        {},
        precision=args.precision,
        licence=args.licence,
        source_file=asdict(info),
        accept=None if args.force else lambda digest: refuse_other_encoder(args.out, digest),
        text_capability=QUALITY_WORDS if info.format == "demo" else GENERAL,
    )
    for model in stale_models(args.out, digest):
        print(f"{model} belongs to another encoder now: remove it, or import its checkpoint anew", file=sys.stderr)
    return {
        "name": name,
        "digest": digest,
        "out": str(args.out),
        "activation": clip.config.activation,
        "precision": args.precision,
        "difference_from_pytorch": {model: drift.full for model, drift in drifts.items()},
    }


def default_name(config: ClipConfig, source_format: str) -> str:
    """`clip-vit-b-16-openai`, or the sizes where they are nobody's."""
    vision = config.vision
    sizes = (vision.width, vision.layers, vision.patch)
    return f"clip-{KNOWN.get(sizes, 'vit-w{}-l{}-p{}'.format(*sizes))}-{source_format.replace('_', '')}"


def check_served(config: ClipConfig) -> None:
    """What the server takes for granted, since its preprocessing and tokenizer are fixed; raises SourceError."""
    wanted = {
        "image size": (config.vision.resolution, IMAGE_SIZE),
        "context length": (config.text.context_length, CONTEXT_LENGTH),
        "vocabulary": (config.text.vocab_size, END_OF_TEXT + 1),
    }
    faults = [f"{what} is {got}, the server's is {want}" for what, (got, want) in wanted.items() if got != want]
    if faults:
        raise SourceError("; ".join(faults))


def present(repository: Path) -> dict | None:
    """`encoder.json` of the repository; empty when there are encoders without one, None without encoders."""
    file = repository / ENCODER_FILE
    if file.exists():
        return json.loads(file.read_text())
    return {} if any((repository / model).exists() for model in (IMAGE_MODEL, TEXT_MODEL)) else None


def refuse_other_source(repository: Path, sha256: str) -> None:
    """The cheap half of the check, before minutes of export: the encoder there came from another file."""
    document = present(repository)
    if document is not None and document.get("source_file", {}).get("sha256") != sha256:
        raise ValueError(describe_other(repository, document))


def refuse_other_encoder(repository: Path, digest: str) -> None:
    """The other half: the same source, but another precision, activation or tool version."""
    document = present(repository)
    if document is not None and document.get("digest") != digest:
        raise ValueError(describe_other(repository, document))


def describe_other(repository: Path, document: dict) -> str:
    """Why nothing was written."""
    return (
        f"{repository} holds another encoder, {document.get('name', 'without a name')} "
        f"({document.get('digest', 'without a digest')}); its checkpoints would no longer fit. --force replaces it"
    )


def stale_models(repository: Path, digest: str) -> list[str]:
    """Heads and ensembles in the repository whose configuration names another encoder."""
    stale = []
    for pattern in ("prompt_head_*", "prompt_panel_*", "clip_agiqa_*"):
        for folder in repository.glob(pattern):
            texts = [file.read_text() for file in (folder / "configs").glob("*.pbtxt")]
            if any("encoder_digest" in text and digest not in text for text in texts):
                stale.append(folder.name)
    return sorted(stale)
