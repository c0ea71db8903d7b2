"""All figures of one set of scores, as JSON and as a table."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .bootstrap import BootstrapConfig, intervals
from .correlation import krcc, plcc, rmse, srcc
from .logistic import Logistic, fit_logistic

FORMAT = "agiqa-evaluation/1"
FEWEST = 3
LARGEST = 1e100  # keeps squares and their sums finite
FLAT = 1e-9
# Name in the JSON document, and in the table.
FIGURES = (
    ("srcc", "SRCC"),
    ("krcc", "KRCC (tau-b)"),
    ("plcc", "PLCC"),
    ("plcc_logistic4", "PLCC, logistic 4"),
    ("plcc_logistic5", "PLCC, logistic 5"),
    ("rmse", "RMSE"),
    ("rmse_logistic4", "RMSE, logistic 4"),
    ("rmse_logistic5", "RMSE, logistic 5"),
)


@dataclass(frozen=True)
class Figure:
    """A value and its interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict:
        """JSON-ready; null for NaN."""
        named = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if math.isnan(v) else v for name, v in named.items()}


@dataclass(frozen=True)
class Report:
    """Agreement of scores with opinions."""

    images: int
    figures: dict[str, Figure]
    logistic4: Logistic | None
    logistic5: Logistic | None
    bootstrap: BootstrapConfig

    def to_dict(self) -> dict:
        """The JSON document, alike from `agiqa eval`."""
        fits = {"logistic4": self.logistic4, "logistic5": self.logistic5}
        return {
            "format": FORMAT,
            "images": self.images,
            "figures": {name: figure.to_dict() for name, figure in self.figures.items()},
            **{name: None if fit is None else list(fit.coefficients) for name, fit in fits.items()},
            "bootstrap": {
                "method": "bca",
                "unit": "image",
                "replicates": self.bootstrap.replicates,
                "confidence": self.bootstrap.confidence,
                "seed": self.bootstrap.seed,
            },
        }

    def table(self) -> str:
        """For people: four decimals, "-" where nothing is defined."""
        lines = [f"{'':<18}{'value':>9}{'low':>9}{'high':>9}"]
        for name, title in FIGURES:
            figure = self.figures[name]
            cells = "".join(f"{_cell(v):>9}" for v in (figure.value, figure.low, figure.high))
            lines.append(f"{title:<18}{cells}")
        percent = 100 * self.bootstrap.confidence
        note = f"{percent:g} % BCa intervals from {self.bootstrap.replicates} replicates, seed {self.bootstrap.seed}"
        return "\n".join([*lines, f"{self.images} images; {note if self.bootstrap.replicates else 'no intervals'}", ""])


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def evaluate(scores: np.ndarray, mos: np.ndarray, config: BootstrapConfig = BootstrapConfig()) -> Report:
    """Scores [n] against mean opinions [n].

    The mappings are fitted once, on all images; the bootstrap keeps them, so the intervals of the
    mapped figures do not hold the uncertainty of the fit.
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"scores {x.shape} and mos {y.shape} are not two lists of one length")
    if len(x) < FEWEST:
        raise ValueError(f"{len(x)} images are too few, {FEWEST} are needed")
    for name, values in (("scores", x), ("mos", y)):
        fit_to_square = np.abs(values) <= LARGEST
        if not fit_to_square.all():
            i = int(np.argmin(fit_to_square))
            raise ValueError(f"{name}: value {i} is {values[i]:g}, not a number within ±1e100")
    four, five = fit_logistic(x, y)
    absent = np.full_like(x, math.nan)
    x4, x5 = (absent if fit is None else fit(x) for fit in (four, five))

    def compute(chosen: np.ndarray) -> np.ndarray:
        a, b = x[chosen], y[chosen]
        mapped = (x4[chosen], x5[chosen])
        linear = [plcc(a, b), *(_linear(values, b) for values in mapped)]
        errors = [rmse(values, b) for values in (a, *mapped)]
        return np.array([srcc(a, b), krcc(a, b), *linear, *errors])

    estimates = compute(np.arange(len(x)))
    ends = intervals(len(x), estimates, compute, config)
    rows = {
        name: Figure(float(value), *end) for (name, _), value, end in zip(FIGURES, estimates, ends, strict=True)
    }
    return Report(len(x), rows, four, five, config)


def _linear(values: np.ndarray, other: np.ndarray) -> float:
    """PLCC, and NaN where a mapping is absent or flat on these images up to rounding."""
    spread = values.max() - values.min()
    return math.nan if not spread > FLAT * max(1.0, float(np.abs(values).max())) else plcc(values, other)
