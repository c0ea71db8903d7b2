"""`agiqa-train record-evaluation`: writes results of `evaluate-human` into a bundle's manifest.

They are for people and are not part of the checkpoint's digest, so a bundle that is served already
stays the same checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

from .digest import CHECKPOINT_FORMAT
from .meaning import Evaluation, Meaning


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its flags."""
    command = commands.add_parser("record-evaluation", help="write results of evaluate-human into a bundle's manifest")
    command.add_argument("bundle", type=Path, help="checkpoint bundle")
    command.add_argument("reports", type=Path, nargs="+", help="files of evaluate-human --json")
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> dict:
    """The command; returns what it prints."""
    file = args.bundle / "manifest.json"
    manifest = json.loads(file.read_text())
    if manifest["format"] != CHECKPOINT_FORMAT:
        raise ValueError(f"{file} is of format {manifest['format']}, results are kept in {CHECKPOINT_FORMAT}")
    # A later result on the same ratings takes the place of an earlier one.
    kept = {(entry.dataset, entry.task): entry for entry in Meaning.of_manifest(manifest).evaluation}
    for report in args.reports:
        kept |= {(entry.dataset, entry.task): entry for entry in entries(report, manifest["digest"])}
    manifest["evaluation"] = [asdict(entry) for _, entry in sorted(kept.items())]
    staged = file.with_name(f".{file.name}.new")
    staged.write_text(json.dumps(manifest, indent=2) + "\n")
    os.replace(staged, file)
    return {"bundle": str(args.bundle), "evaluation": manifest["evaluation"]}


def entries(report: Path, digest: str) -> list[Evaluation]:
    """The results of a report; raises ValueError when they are another checkpoint's or have no interval."""
    document = json.loads(report.read_text())
    scored = (document.get("source") or {}).get("checkpoint", {}).get("digest")
    if scored != digest:
        raise ValueError(f"{report} is about checkpoint {scored}, the bundle is {digest}")
    found = []
    for result in document["results"]:
        srcc = result["agreement"]["pooled"]["srcc"]
        if None in (srcc["value"], srcc.get("low"), srcc.get("high")):
            raise ValueError(f"{report}: {result['dataset']}, {result['task']} has no SRCC with an interval")
        figures = (round(srcc[key], 4) for key in ("value", "low", "high"))
        found.append(Evaluation(result["dataset"], result["task"], result["images"], *figures))
    return found
