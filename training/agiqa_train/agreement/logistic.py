"""Least-squares logistic mappings of scores to the scale of the opinions.

4 parameters:  f(x) = b2 + (b1 - b2) / (1 + exp(-(x - b3) / b4)), b4 > 0
5 parameters:  f(x) = b1 * (1/2 - 1 / (1 + exp(b2 * (x - b3)))) + b4 * x + b5

The fit is written so that another language can repeat it. Both samples are standardised (mean and
population standard deviation): z for the scores, w for the opinions. In these units both models are
sums of a logistic and a linear part, and Levenberg-Marquardt minimises the sum of squares S:

- start, 4 parameters [top, bottom, centre, slope]: [max w, min w, 0, 4], top and bottom exchanged
  when the correlation is negative;
- start, 5 parameters [height, slope, centre, tilt, offset]: [max w - min w, 1, 0, 0, 0], height
  negated when the correlation is negative. A second run starts from the 4-parameter solution
  [top - bottom, slope, centre, 0, (top + bottom) / 2] and is taken when its S is smaller by more
  than one part in 10^9;
- a step d solves (J'J + damping * diag(max(J'J_ii, 1e-9 n))) d = -J'r by Cholesky; damping starts
  at 1e-3, is divided by 10 (not below 1e-12) when S falls, multiplied by 10 when it does not;
- it ends after three steps in a row that lower S by no more than one part in 10^14, when S is not
  above 1e-28 n, when damping exceeds 1e12, or after 2,000 trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .correlation import plcc

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e-12, 1e12
SMALLEST_CURVATURE = 1e-9  # times n; keeps a parameter without influence from moving
SMALL_GAIN, SMALL_GAINS = 1e-14, 3
PERFECT = 1e-28  # times n, in units of the standardised opinions
TRIALS = 2000
BETTER = 1e-9

# Standardised scores [n] and parameters [p] to values [n] and their derivatives [n, p].
Model = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def sigmoid(t: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-t)) without overflow."""
    small = np.exp(-np.abs(t))
    return np.where(t >= 0, 1.0, small) / (1.0 + small)


def model4(z: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[top, bottom, centre, slope]."""
    top, bottom, centre, slope = p
    s = sigmoid(slope * (z - centre))
    bend = (top - bottom) * s * (1 - s)
    return bottom + (top - bottom) * s, np.stack([s, 1 - s, -slope * bend, (z - centre) * bend], axis=1)


def model5(z: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[height, slope, centre, tilt, offset]."""
    height, slope, centre, tilt, offset = p
    s = sigmoid(slope * (z - centre))
    bend = height * s * (1 - s)
    columns = [s - 0.5, (z - centre) * bend, -slope * bend, z, np.ones_like(z)]
    return height * (s - 0.5) + tilt * z + offset, np.stack(columns, axis=1)


def cholesky_solve(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """x of a x = b for a symmetric positive definite matrix; None when it is not."""
    try:
        factor = np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        return None
    return np.linalg.solve(factor.T, np.linalg.solve(factor, b))


def levenberg_marquardt(model: Model, start: np.ndarray, z: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, float]:
    """Parameters and the sum of squares S that they leave."""
    p, damping, small_gains = start, FIRST_DAMPING, 0
    values, jacobian = model(z, p)
    residual = values - w
    s = float(residual @ residual)
    for _ in range(TRIALS):
        if s <= PERFECT * len(z) or damping > MOST_DAMPING:
            break
        curvature = jacobian.T @ jacobian
        diagonal = np.maximum(np.diag(curvature), SMALLEST_CURVATURE * len(z))
        step = cholesky_solve(curvature + damping * np.diag(diagonal), -(jacobian.T @ residual))
        if step is None:
            damping *= 10
            continue
        values, trial_jacobian = model(z, p + step)
        trial = values - w
        trial_s = float(trial @ trial)
        if not trial_s < s:
            damping *= 10
            continue
        small_gains = small_gains + 1 if s - trial_s <= SMALL_GAIN * s else 0
        p, residual, jacobian, s = p + step, trial, trial_jacobian, trial_s
        damping = max(damping / 10, LEAST_DAMPING)
        if small_gains == SMALL_GAINS:
            break
    return p, s


@dataclass(frozen=True)
class Logistic:
    """A fitted mapping; `coefficients` are b1..b4 or b1..b5 in the units of the data."""

    coefficients: tuple[float, ...]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Scores to the scale of the opinions."""
        if len(self.coefficients) == 4:
            b1, b2, b3, b4 = self.coefficients
            return b2 + (b1 - b2) * sigmoid((x - b3) / b4)
        b1, b2, b3, b4, b5 = self.coefficients
        return b1 * (sigmoid(b2 * (x - b3)) - 0.5) + b4 * x + b5


def fit_logistic(x: np.ndarray, y: np.ndarray) -> tuple[Logistic | None, Logistic | None]:
    """Both mappings; None where a constant sample or too few values leave nothing to fit."""
    correlation = plcc(x, y)
    if math.isnan(correlation) or len(x) < 4:
        return None, None
    x_mean, x_scale = float(x.mean()), math.sqrt(float(np.mean((x - x.mean()) ** 2)))
    y_mean, y_scale = float(y.mean()), math.sqrt(float(np.mean((y - y.mean()) ** 2)))
    z, w = (x - x_mean) / x_scale, (y - y_mean) / y_scale
    rising = correlation >= 0
    high, low = float(w.max()), float(w.min())
    top, bottom = (high, low) if rising else (low, high)
    p4, s4 = levenberg_marquardt(model4, np.array([top, bottom, 0.0, 4.0]), z, w)
    top, bottom, centre, slope = (float(v) for v in p4)
    four = None
    if slope != 0 and math.isfinite(s4):
        if slope < 0:
            top, bottom, slope = bottom, top, -slope
        raw = (top * y_scale + y_mean, bottom * y_scale + y_mean, centre * x_scale + x_mean, x_scale / slope)
        four = Logistic(raw)
    if len(x) < 5:
        return four, None
    height = high - low if rising else low - high
    p5, s5 = levenberg_marquardt(model5, np.array([height, 1.0, 0.0, 0.0, 0.0]), z, w)
    nested = np.array([top - bottom, slope, centre, 0.0, (top + bottom) / 2])
    q5, t5 = levenberg_marquardt(model5, nested, z, w)
    if t5 < s5 * (1 - BETTER):
        p5 = q5
    height, slope, centre, tilt, offset = (float(v) for v in p5)
    b4 = tilt * y_scale / x_scale
    five = (height * y_scale, slope / x_scale, centre * x_scale + x_mean, b4, offset * y_scale + y_mean - b4 * x_mean)
    return four, Logistic(five)
