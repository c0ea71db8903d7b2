"""Where scores come from: a checkpoint bundle and an encoder, a running server, or a table."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from tqdm import tqdm

from ..digest import file_sha256
from ..embeddings import EmbeddingCache, Job
from ..exported import Scorer, open_image
from ..fitting.datasets import DataError, number, read_table
from ..triton_repository import ENCODER_FILE

ATTEMPTS = 6
LONGEST_WAIT = 30.0  # seconds before an attempt, whatever the server asks for
TIMEOUT = 120.0


@dataclass(frozen=True)
class Scored:
    """Scores by image name. `views` has a score for each view, where the source gives them."""

    source: dict  # JSON-ready: what scored
    scores: dict[str, float]
    views: dict[str, list[float]]


def from_checkpoint(bundle: Path, repository: Path, pictures: dict[str, Path], cache: Path | None) -> Scored:
    """Scores by a bundle on an encoder's model repository, as the server computes them; raises ValueError.

    Embeddings are kept in the folder `cache` by the content of each file; None: nowhere.
    """
    scorer = Scorer(repository, bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    encoder = json.loads((repository / ENCODER_FILE).read_text())
    views = scorer.meaning.views
    jobs = [Job(f"file {file_sha256(path)}", partial(_decoded, path)) for path in pictures.values()]
    with TemporaryDirectory() as scratch:
        store = EmbeddingCache(cache or Path(scratch), repository, views)
        embeddings = store.get(jobs, "scoring")[:, 0]
    rows = scorer.judge(embeddings.reshape(-1, embeddings.shape[-1]), scorer.texts).reshape(-1, len(views))
    source = {
        "kind": "checkpoint",
        "checkpoint": {"name": manifest["name"], "digest": manifest["digest"], "task": scorer.meaning.task},
        # The graph's own digest, because an encoder has a graph for each precision.
        "encoder": {"name": encoder["name"], "digest": encoder["digest"], "graph": f"sha256:{store.digest}"},
        "views": [str(view) for view in views],
    }
    return Scored(
        source,
        {name: float(score) for name, score in zip(pictures, scorer.combine(rows))},
        {name: [float(score) for score in row] for name, row in zip(pictures, rows)},
    )


def _decoded(path: Path) -> list[Image.Image]:
    return [open_image(path)]


def from_table(file: Path, pictures: Iterable[str]) -> Scored:
    """Scores from a CSV of image and score; raises DataError that names a faulty line."""
    scores: dict[str, float] = {}
    for line, row in read_table(file, ("image", "score")):
        if row["image"] in scores:
            raise DataError(f"{file}, line {line}: {row['image']!r} is named twice")
        scores[row["image"]] = number(row["score"], file, line)
    kept = {name: scores[name] for name in pictures if name in scores}
    source = {"kind": "table", "file": file.name, "digest": f"sha256:{file_sha256(file)}"}
    return Scored(source, kept, {})


def from_server(url: str, checkpoint: str | None, key: str | None, pictures: dict[str, Path], workers: int) -> Scored:
    """Scores from a running server, an image a request; raises ValueError.

    Every answer must come from the same checkpoint on the same encoder, and from no experiment.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"--server {url}: want http:// or https://")
    query = "?" + urllib.parse.urlencode({"checkpoint": checkpoint}) if checkpoint else ""
    target = url.rstrip("/") + "/v1/score" + query
    with ThreadPoolExecutor(workers) as pool:
        answers = pool.map(lambda item: _ask(target, key, *item), pictures.items())
        bar = tqdm(answers, desc="scoring", unit="image", total=len(pictures), disable=None, leave=False)
        found = dict(zip(pictures, bar))
    scores: dict[str, float] = {}
    said: dict | None = None
    for name, answer in found.items():
        try:
            result = answer["results"][0]
            scores[name] = float(result["score"])
            now = {
                "kind": "server",
                "checkpoint": result["checkpoint"],
                "encoder": answer["encoder"],
                "preprocess": answer["preprocess"],
            }
        except (KeyError, IndexError, TypeError) as fault:
            raise ValueError(f"{name}: {target} is no agiqa server: the answer holds no score") from fault
        if result.get("experiment") is not None:
            raise ValueError(f"{url}: an experiment chose the checkpoint; name one with --server-checkpoint")
        if said is not None and now != said:
            raise ValueError(f"{url}: the checkpoint, the encoder or the preprocessing changed before {name}")
        said = now
    return Scored(said or {"kind": "server"}, scores, {})


def _ask(target: str, key: str | None, name: str, path: Path) -> dict:
    """One answer; waits and tries again while the server is overloaded."""
    headers = {"Content-Type": "application/octet-stream"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(target, path.read_bytes(), headers)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                return json.load(response)
        except urllib.error.HTTPError as refusal:
            if refusal.code not in (429, 503) or attempt == ATTEMPTS:
                raise ValueError(f"{name}: the server answered {refusal.code}: {_detail(refusal)}") from refusal
            time.sleep(_pause(refusal.headers.get("Retry-After"), attempt))
        except (urllib.error.URLError, TimeoutError, ConnectionError) as fault:
            raise ValueError(f"{name}: {target}: {getattr(fault, 'reason', fault)}") from fault
        except json.JSONDecodeError as fault:
            raise ValueError(f"{name}: {target} is no agiqa server: the answer isn't JSON") from fault
    raise AssertionError("unreachable")


def _detail(refusal: urllib.error.HTTPError) -> str:
    try:
        problem = json.load(refusal)
        return problem.get("detail") or problem.get("title") or refusal.reason
    except (ValueError, AttributeError):
        return refusal.reason


def _pause(asked: str | None, attempt: int) -> float:
    seconds = float(asked) if asked and asked.isdigit() else 0.5 * 2**attempt
    return min(seconds, LONGEST_WAIT)
