"""PNG plots of a run and of an evaluation. No global state of matplotlib is touched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..agreement.report import Report


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def plot_loss(path: Path, rows: list[dict]) -> None:
    """Training loss and held-out SRCC over epochs."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    epochs = [row["epoch"] for row in rows]
    losses = [row["loss"] for row in rows]
    left.plot(epochs, losses, color="tab:blue", label="training loss")
    left.set(xlabel="epoch", ylabel="squared error", yscale="log" if max(losses) > 10 * min(losses) else "linear")
    right = left.twinx()
    nothing = float("nan")
    srcc = [nothing if row["test"]["srcc"] is None else row["test"]["srcc"] for row in rows]
    right.plot(epochs, srcc, color="tab:orange", label="held-out SRCC")
    right.set(ylabel="SRCC")
    figure.legend(loc="outside upper center", ncols=2)
    _save(figure, path)


def plot_scatter(path: Path, scores: np.ndarray, mos: np.ndarray, report: Report) -> None:
    """Scores against opinions, with both mappings."""
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(scores, mos, s=10, alpha=0.5, color="tab:blue")
    at = np.linspace(float(np.min(scores)), float(np.max(scores)), 200)
    for fit, label, style in ((report.logistic4, "logistic 4", "-"), (report.logistic5, "logistic 5", "--")):
        if fit is not None:
            axes.plot(at, fit(at), style, color="tab:orange", label=label)
    figures = report.figures
    title = f"SRCC {figures['srcc'].value:.4f}, PLCC {figures['plcc'].value:.4f}, {report.images} images"
    axes.set(xlabel="score", ylabel="mean opinion score", title=title)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    _save(figure, path)


def plot_rated(path: Path, panels: Sequence[tuple[str, dict[str, np.ndarray], str]]) -> None:
    """Scores against ratings, a panel for each (title, points [n, 2] of score and rating by group, rating's name)."""
    figure = Figure(figsize=(5.5 * len(panels), 5), layout="constrained")
    for axes, (title, groups, label) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels):
        for name, points in groups.items():
            axes.scatter(points[:, 0], points[:, 1], s=14, alpha=0.7, label=f"{name} ({len(points)})")
        axes.set(xlabel="score", ylabel=label, title=title)
        axes.legend(fontsize="small")
    _save(figure, path)
