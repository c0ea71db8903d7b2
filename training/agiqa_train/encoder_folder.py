"""The folder of the default encoder, `encoders/NAME`: what is committed of it.

Its image graphs are composed by `bin/agiqa models` from published weights and pinned in `encoder.json`
by their sha256. Its text graph is trained and exported here, and is pinned there too.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from .clip import TextTower
from .digest import encoder_digest_of, file_sha256
from .exported import image_graph
from .onnx_export import export_text
from .triton_repository import ENCODER_FILE, IMAGE_MODEL, QUALITY_WORDS, TEXT_MODEL

FLOAT_GRAPH = f"{IMAGE_MODEL}/1/model.onnx"
TEXT_GRAPH = f"{TEXT_MODEL}/1/model.onnx"


@dataclass(frozen=True)
class EncoderFolder:
    """The committed folder, and a model repository that `bin/agiqa models` made of it."""

    folder: Path
    models: Path

    def document(self) -> dict:
        """encoder.json; raises ValueError when the repository's image graph is not the one that is pinned."""
        file = self.folder / ENCODER_FILE
        if not file.is_file():
            raise ValueError(f"encoder {self.folder} has no {ENCODER_FILE}")
        document = json.loads(file.read_text())
        graph = image_graph(self.models)
        if not graph.is_file():
            raise ValueError(f"{self.models} has no image encoder: write it with bin/agiqa models")
        name = f"{IMAGE_MODEL}/1/{graph.name}"
        if document["files"].get(name, {}).get("sha256") != file_sha256(graph):
            raise ValueError(f"{graph} is not the one that {file} pins: write it again with bin/agiqa models")
        return document

    def write_text_tower(self, tower: TextTower) -> dict:
        """Exports the tower into the folder and pins it; returns encoder.json as it is afterwards.

        The same tower gives the same bytes. Another one is another encoder: its digest changes, and
        checkpoints that were trained with the old one no longer fit.
        """
        document = self.document()
        path = self.folder / TEXT_GRAPH
        staged = path.with_name(f".{path.name}.new")
        export_text(tower, staged)
        os.replace(staged, path)
        text = file_sha256(path)
        document["files"][TEXT_GRAPH] = {"sha256": text, "bytes": path.stat().st_size}
        document["digest"] = encoder_digest_of(document["files"][FLOAT_GRAPH]["sha256"], text)
        document["text_width"], document["context_length"] = tower.text.width, tower.text.context_length
        document["capabilities"] = {"text": QUALITY_WORDS}
        staged = self.folder / f".{ENCODER_FILE}.new"
        staged.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        os.replace(staged, self.folder / ENCODER_FILE)
        return document

    def repository(self, place: Path) -> Path:
        """A repository at `place` with the image graph and the folder's text graph, as `exported.py` reads it."""
        links = {
            image_graph(self.models): place / IMAGE_MODEL / "1" / image_graph(self.models).name,
            self.folder / TEXT_GRAPH: place / TEXT_GRAPH,
            self.folder / ENCODER_FILE: place / ENCODER_FILE,
        }
        for source, link in links.items():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(source.resolve())
        return place
