"""Least-squares logistic mappings of scores to the scale of the opinions.

4 parameters:  f(x) = b2 + (b1 - b2) / (1 + exp(-(x - b3) / b4)), b4 > 0
5 parameters:  f(x) = b1 * (1/2 - 1 / (1 + exp(b2 * (x - b3)))) + b4 * x + b5

A least-squares problem like this can have long flat valleys, in which a difference in the last bit
grows to one that shows. So the fit is written for another language to repeat it bit by bit: sums
in order, an exponential made of additions and multiplications, no fused operations. Both samples are standardised (mean and
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

from .correlation import mean, plcc, total

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e-12, 1e12
SMALLEST_CURVATURE = 1e-9  # times n; keeps a parameter without influence from moving
SMALL_GAIN, SMALL_GAINS = 1e-14, 3
PERFECT = 1e-28  # times n, in units of the standardised opinions
TRIALS = 2000
BETTER = 1e-9
FEWEST = 10  # images; through fewer, five parameters run almost anywhere

# Standardised scores [n] and p parameters to values [n] and their p derivatives, [n] each.
Model = Callable[[np.ndarray, list[float]], tuple[np.ndarray, list[np.ndarray]]]


INVERSE_LN2 = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # ln 2; products with HIGH are exact
TAYLOR = tuple(1 / math.factorial(i) for i in range(13, -1, -1))
LEAST_EXPONENT = -700.0


def exponential(t: np.ndarray) -> np.ndarray:
    """exp(t) for t <= 0, and 0 below -700: t = k ln 2 + r, a Taylor polynomial in r, times 2^k."""
    t = np.maximum(t, LEAST_EXPONENT)
    k = np.floor(t * INVERSE_LN2 + 0.5)
    r = (t - k * LN2_HIGH) - k * LN2_LOW
    value = np.full_like(r, TAYLOR[0])
    for coefficient in TAYLOR[1:]:
        value = value * r + coefficient
    return np.where(t == LEAST_EXPONENT, 0.0, np.ldexp(value, k.astype(np.int64)))


def sigmoid(t: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-t)) without overflow."""
    small = exponential(-np.abs(t))
    return np.where(t >= 0, 1.0, small) / (1.0 + small)


def model4(z: np.ndarray, p: list[float]) -> tuple[np.ndarray, list[np.ndarray]]:
    """[top, bottom, centre, slope]."""
    top, bottom, centre, slope = p
    s = sigmoid(slope * (z - centre))
    bend = (top - bottom) * s * (1 - s)
    return bottom + (top - bottom) * s, [s, 1 - s, -slope * bend, (z - centre) * bend]


def model5(z: np.ndarray, p: list[float]) -> tuple[np.ndarray, list[np.ndarray]]:
    """[height, slope, centre, tilt, offset]."""
    height, slope, centre, tilt, offset = p
    s = sigmoid(slope * (z - centre))
    bend = height * s * (1 - s)
    derivatives = [s - 0.5, (z - centre) * bend, -slope * bend, z, np.ones_like(z)]
    return height * (s - 0.5) + tilt * z + offset, derivatives


def damped_step(curvature: list[list[float]], slope: list[float], damping: float, limit: float) -> list[float] | None:
    """The step d of the module's equation; None when its matrix is not positive definite."""
    size = len(slope)
    factor = [[0.0] * size for _ in range(size)]
    x = [0.0] * size
    for i in range(size):
        for j in range(i + 1):
            v = curvature[i][j]
            if i == j:
                v += damping * max(v, limit)
            for k in range(j):
                v -= factor[i][k] * factor[j][k]
            if i != j:
                factor[i][j] = v / factor[j][j]
            elif 0 < v < math.inf:
                factor[i][i] = math.sqrt(v)
            else:
                return None
        x[i] = -slope[i]
        for k in range(i):
            x[i] -= factor[i][k] * x[k]
        x[i] /= factor[i][i]
    for i in reversed(range(size)):
        for k in range(i + 1, size):
            x[i] -= factor[k][i] * x[k]
        x[i] /= factor[i][i]
    return x


def levenberg_marquardt(model: Model, start: list[float], z: np.ndarray, w: np.ndarray) -> tuple[list[float], float]:
    """Parameters and the sum of squares S that they leave."""
    p, damping, small_gains = start, FIRST_DAMPING, 0
    values, derivatives = model(z, p)
    residual = values - w
    s = total(residual * residual)
    equations = None  # at p, made when first needed
    for _ in range(TRIALS):
        if s <= PERFECT * len(z) or damping > MOST_DAMPING:
            break
        if equations is None:
            curvature = [[total(a * b) for b in derivatives[: i + 1]] for i, a in enumerate(derivatives)]
            equations = curvature, [total(a * residual) for a in derivatives]
        step = damped_step(*equations, damping, SMALLEST_CURVATURE * len(z))
        if step is None:
            damping *= 10
            continue
        trial_p = [d + v for d, v in zip(step, p, strict=True)]
        values, trial_derivatives = model(z, trial_p)
        trial = values - w
        trial_s = total(trial * trial)
        if not trial_s < s:
            damping *= 10
            continue
        small_gains = small_gains + 1 if s - trial_s <= SMALL_GAIN * s else 0
        p, residual, derivatives, s, equations = trial_p, trial, trial_derivatives, trial_s, None
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
    """Both mappings; None where a sample is constant or shorter than `FEWEST`."""
    correlation = plcc(x, y)
    if math.isnan(correlation) or len(x) < FEWEST:
        return None, None
    z, x_mean, x_scale = standardise(x)
    w, y_mean, y_scale = standardise(y)
    high, low = float(w.max()), float(w.min())
    top, bottom = (high, low) if correlation >= 0 else (low, high)
    height = top - bottom
    (top, bottom, centre, slope), s4 = levenberg_marquardt(model4, [top, bottom, 0.0, 4.0], z, w)
    four = None
    if slope != 0 and math.isfinite(s4):
        if slope < 0:
            top, bottom, slope = bottom, top, -slope
        raw = (top * y_scale + y_mean, bottom * y_scale + y_mean, centre * x_scale + x_mean, x_scale / slope)
        four = Logistic(raw)
    p5, s5 = levenberg_marquardt(model5, [height, 1.0, 0.0, 0.0, 0.0], z, w)
    q5, t5 = levenberg_marquardt(model5, [top - bottom, slope, centre, 0.0, (top + bottom) / 2], z, w)
    height, slope, centre, tilt, offset = q5 if t5 < s5 * (1 - BETTER) else p5
    b4 = tilt * y_scale / x_scale
    raw = (height * y_scale, slope / x_scale, centre * x_scale + x_mean, b4, offset * y_scale + y_mean - b4 * x_mean)
    return four, Logistic(raw)


def standardise(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Standardised values, their mean and their population standard deviation."""
    centre = mean(values)
    deviation = math.sqrt(mean((values - centre) * (values - centre)))
    return (values - centre) / deviation, centre, deviation
