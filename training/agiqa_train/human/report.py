"""Agreement of scores with human ratings: pooled, within a prompt, within a generator, beside published metrics.

Correlations and bootstrap are those of `agreement/`. Pooled and within-generator figures are resampled by
image, within-prompt figures by prompt.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from ..agreement.bootstrap import BootstrapConfig, intervals
from ..agreement.correlation import krcc, plcc, srcc
from ..agreement.report import FEWEST, Figure
from ..digest import file_sha256
from ..fitting.datasets import DataError
from .layouts import Rated
from .sources import Scored

FORMAT = "agiqa-human-evaluation/1"
MEASURES = {"srcc": srcc, "krcc": krcc, "plcc": plcc}
NAMES = tuple(MEASURES)
FEWEST_OF_GROUP = 3  # images with one prompt, or of one generator, for a correlation among them

Compute = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Labels:
    """Ratings [n] with the prompt and the generator of each image, None where unknown."""

    opinions: np.ndarray
    prompts: tuple[str | None, ...]
    generators: tuple[str | None, ...]

    @staticmethod
    def of(rated: Rated) -> Labels:
        """Those of the generated images, in their order."""
        samples = rated.dataset.samples
        return Labels(rated.dataset.scores, tuple(s.group for s in samples), tuple(s.generator for s in samples))


def evaluate_rated(rated: Rated, scored: Scored | None, config: BootstrapConfig = BootstrapConfig()) -> dict:
    """The JSON-ready result for one task; `scored` None: the published metrics alone.

    Raises DataError when an image has no score or too few have one.
    """
    samples, labels = rated.dataset.samples, Labels.of(rated)
    if len(samples) < FEWEST:
        raise DataError(f"{rated.dataset.name}: {len(samples)} images are too few, {FEWEST} are needed")
    scores = None
    if scored is not None:
        absent = [s.name for s in samples if s.name not in scored.scores]
        if absent:
            raise DataError(f"{len(absent)} of {len(samples)} images have no score, such as {absent[0]}")
        scores = np.array([scored.scores[s.name] for s in samples])
    notes = list(rated.notes)
    metrics = {}
    for name, published in rated.metrics.items():
        values = [published.get(s.name, math.nan) for s in samples]
        if np.isfinite(values).all():
            metrics[name] = published_metric(np.array(values), scores, labels, config)
        else:
            notes.append(f"published metric {name} lacks {np.isnan(values).sum()} images: left out")
    return {
        "dataset": rated.dataset.name,
        "dataset_digest": digest(rated),
        "task": rated.dataset.task,
        "images": len(samples),
        "missing": list(rated.missing),
        "notes": notes,
        "agreement": None if scores is None else agreement(scores, labels, config, each=True),
        "published_metrics": metrics,
        "means": means(rated, scored),
    }


def agreement(
    scores: np.ndarray,
    labels: Labels,
    config: BootstrapConfig,
    each: bool = False,
    inner: tuple[str, ...] = NAMES,
) -> dict:
    """Scores [n] against ratings: pooled, means within prompts and generators, and `each` generator by itself.

    `inner` names the figures within prompts and generators, which are most of the work.
    """
    x, y = scores, labels.opinions
    generators = groups(labels.generators)
    document = {
        "pooled": figures(lambda chosen: correlations(x[chosen], y[chosen]), len(x), config),
        "within_prompt": within_prompts(x, labels, config, inner),
        "within_generator": within_generators(x, labels, config, inner),
    }
    if each:
        document["generators"] = {
            name: {"images": len(rows), **figures(lambda c, r=rows: correlations(x[r][c], y[r][c]), len(rows), config)}
            for name, rows in generators.items()
        }
    return document


def published_metric(values: np.ndarray, scores: np.ndarray | None, labels: Labels, config: BootstrapConfig) -> dict:
    """A published metric [n], turned so that higher is better, with the difference of the scores' SRCC to its own."""
    y = labels.opinions
    sign = -1 if srcc(values, y) < 0 else 1
    turned = sign * values
    document = {"sign": sign, **agreement(turned, labels, config, inner=("srcc",))}
    if scores is not None:
        # Paired: both correlations are taken on the same resampled images.
        difference = lambda c: np.array([srcc(scores[c], y[c]) - srcc(turned[c], y[c])])  # noqa: E731
        document["difference"] = figures(difference, len(y), config, ("srcc",))
    return document


def correlations(x: np.ndarray, y: np.ndarray, names: tuple[str, ...] = NAMES) -> np.ndarray:
    """The named figures; NaN where a sample is constant."""
    return np.array([MEASURES[name](x, y) for name in names])


def figures(compute: Compute, n: int, config: BootstrapConfig, names: tuple[str, ...] = NAMES) -> dict:
    """Name to value and interval of statistics on n units, JSON-ready."""
    estimates = compute(np.arange(n))
    ends = intervals(n, estimates, compute, config)
    return {name: Figure(float(v), *end).to_dict() for name, v, end in zip(names, estimates, ends, strict=True)}


def groups(keys: tuple[str | None, ...]) -> dict[str, np.ndarray]:
    """Rows of every key with enough of them, in order of first appearance; None belongs to none."""
    rows: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        if key is not None:
            rows.setdefault(key, []).append(i)
    return {key: np.array(found) for key, found in rows.items() if len(found) >= FEWEST_OF_GROUP}


def within_prompts(scores: np.ndarray, labels: Labels, config: BootstrapConfig, names: tuple[str, ...]) -> dict | None:
    """Mean of the correlations within prompts of three images or more; None when there are none.

    A prompt whose scores or ratings are all equal has no correlation, and is left out of the mean.
    """
    rows = groups(labels.prompts).values()
    if not rows:
        return None
    table = np.stack([correlations(scores[r], labels.opinions[r], names) for r in rows])
    return {"prompts": len(table), **figures(lambda chosen: nanmean(table[chosen]), len(table), config, names)}


def within_generators(
    scores: np.ndarray, labels: Labels, config: BootstrapConfig, names: tuple[str, ...]
) -> dict | None:
    """Mean of the correlations within generators; None with fewer than two generators."""
    rows = groups(labels.generators)
    if len(rows) < 2:
        return None
    place = np.full(len(scores), -1)
    for i, found in enumerate(rows.values()):
        place[found] = i

    def compute(chosen: np.ndarray) -> np.ndarray:
        parts = [chosen[place[chosen] == i] for i in range(len(rows))]
        return nanmean(np.stack([correlations(scores[p], labels.opinions[p], names) for p in parts]))

    return {"generators": len(rows), **figures(compute, len(scores), config, names)}


def nanmean(table: np.ndarray) -> np.ndarray:
    """Means of columns [n, k] without NaN; NaN for a column of nothing else."""
    known = ~np.isnan(table)
    counts = known.sum(axis=0)
    sums = np.where(known, table, 0.0).sum(axis=0)
    return np.divide(sums, counts, out=np.full(table.shape[1], math.nan), where=counts > 0)


def means(rated: Rated, scored: Scored | None) -> dict:
    """Mean rating and mean score of generated images and of real photographs; null without scores for all."""
    document = {}
    for kind, samples in (("generated", rated.dataset.samples), ("photographs", rated.photographs)):
        if not samples:
            continue
        whole = scored is not None and all(s.name in scored.scores for s in samples)
        document[kind] = {
            "images": len(samples),
            "rating": float(np.mean([s.score for s in samples])),
            "score": float(np.mean([scored.scores[s.name] for s in samples])) if whole else None,
        }
    return document


def digest(rated: Rated) -> str:
    """sha256 over name, rating and content of every image, photographs included: what was evaluated on."""
    hasher = hashlib.sha256()
    for sample in sorted((*rated.dataset.samples, *rated.photographs), key=lambda s: s.name):
        hasher.update(f"{sample.name}\t{sample.score!r}\t{file_sha256(sample.path)}\n".encode())
    return "sha256:" + hasher.hexdigest()


def table(result: dict, config: BootstrapConfig) -> str:
    """A result for people: four decimals and intervals, "-" where nothing is defined."""
    lines = [f"{result['dataset']}, {result['task']}: {result['images']} generated images"]
    if result["missing"]:
        lines.append(f"left out, without a file: {', '.join(result['missing'])}")
    lines += result["notes"]
    if result["agreement"] is not None:
        lines += ["", *_agreement_lines(result["agreement"])]
    if result["published_metrics"]:
        lines += ["", *_metric_lines(result["published_metrics"])]
    lines.append("")
    for kind, mean in result["means"].items():
        score = "-" if mean["score"] is None else f"{mean['score']:.3f}"
        lines.append(f"{kind}: {mean['images']} images, mean rating {mean['rating']:.3f}, mean score {score}")
    percent = f"{100 * config.confidence:g} % BCa intervals from {config.replicates} replicates, seed {config.seed}"
    lines.append(percent + "; by image, within prompts by prompt" if config.replicates else "no intervals")
    return "\n".join([*lines, ""])


def _agreement_lines(found: dict) -> list[str]:
    lines = [_line("", (name.upper() for name in NAMES))]

    def add(title: str, group: dict) -> None:
        lines.append(_line(title, (_cell(group[name]) for name in NAMES)))

    add("all images", found["pooled"])
    if found["within_prompt"] is not None:
        add(f"mean within {found['within_prompt']['prompts']} prompts", found["within_prompt"])
    if found["within_generator"] is not None:
        add(f"mean within {found['within_generator']['generators']} generators", found["within_generator"])
    for name, own in found["generators"].items():
        add(f"  {name} ({own['images']})", own)
    return lines


def _metric_lines(metrics: dict[str, dict]) -> list[str]:
    """SRCC of the published metrics, absolute: those of which lower is better are turned."""
    lines = [
        _line("published metrics, SRCC", ("all images", "within prompts", "within generators", "score minus metric"))
    ]
    for name, metric in metrics.items():
        inner = [metric[part] for part in ("within_prompt", "within_generator")]
        cells = [_cell(metric["pooled"]["srcc"]), *("-" if part is None else _cell(part["srcc"]) for part in inner)]
        cells.append(_cell(metric["difference"]["srcc"]) if "difference" in metric else "-")
        lines.append(_line(f"  {name}{' (turned)' if metric['sign'] < 0 else ''}", cells))
    return lines


def _line(title: str, cells: Iterable[str]) -> str:
    return f"{title:<28}{''.join(f'{cell:<26}' for cell in cells)}".rstrip()


def _cell(figure: dict) -> str:
    if figure["value"] is None:
        return "-"
    ends = "" if figure["low"] is None else f" [{figure['low']:.4f}, {figure['high']:.4f}]"
    return f"{figure['value']:.4f}{ends}"
