"""Correlations, mappings and intervals against SciPy, against a worked example, and against the goldens of Go."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

from agiqa_train.agreement.bootstrap import BootstrapConfig, bca, quantile, resample, splitmix64
from agiqa_train.agreement.correlation import inversions, krcc, plcc, ranks, rmse, srcc
from agiqa_train.agreement.goldens import document, samples
from agiqa_train.agreement.logistic import exponential, fit_logistic, model4, model5, sigmoid
from agiqa_train.agreement.report import evaluate

GOLDENS = Path(__file__).parents[2] / "evaluation" / "testdata" / "agreement.json"
CASES = samples()
FITTED = ("ordinary", "falling", "scale of 100", "four values of scores", "an outlier")


def test_worked_example() -> None:
    # Of six pairs of (1,1) (2,3) (2,2) (4,4) one is tied in x, the others are concordant. Ranks of x
    # are 1, 2.5, 2.5, 4 and of y 1, 3, 2, 4: centred sums xy 4.5, xx 4.5, yy 5; of the values 4.5, 4.75, 5.
    x, y = CASES["by hand"]
    assert srcc(x, y) == pytest.approx(4.5 / math.sqrt(4.5 * 5), abs=1e-15)
    assert krcc(x, y) == pytest.approx(5 / math.sqrt(5 * 6), abs=1e-15)
    assert plcc(x, y) == pytest.approx(4.5 / math.sqrt(4.75 * 5), abs=1e-15)
    assert rmse(x, y) == 0.5


@pytest.mark.parametrize("name", [name for name in CASES if name != "constant scores"])
def test_correlations_are_scipys(name: str) -> None:
    x, y = CASES[name]
    np.testing.assert_array_equal(ranks(x), stats.rankdata(x))
    assert srcc(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert krcc(x, y) == pytest.approx(stats.kendalltau(x, y, variant="b").statistic, abs=1e-12)
    assert plcc(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize("correlation", [srcc, krcc, plcc])
def test_a_constant_has_no_correlation(correlation) -> None:
    x, y = CASES["constant scores"]
    assert math.isnan(correlation(x, y)) and math.isnan(correlation(y, x)) and math.isnan(correlation(x[:1], y[:1]))


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 8, 9, 33])
def test_inversions_are_those_of_all_pairs(length: int) -> None:
    values = np.random.default_rng(length).integers(0, 6, length)
    assert inversions(values) == sum(values[i] > values[j] for j in range(length) for i in range(j))


def test_the_exponential_is_right_to_a_few_last_bits() -> None:
    t = -np.concatenate([np.linspace(0, 2, 5001), np.geomspace(1e-300, 699, 5001)])
    np.testing.assert_allclose(exponential(t), np.exp(t), rtol=4e-16 * 2)
    np.testing.assert_array_equal(exponential(np.array([-700.0, -1e308, -math.inf])), 0)
    wanted = [0, 1 / (1 + math.e), 0.5, math.e / (1 + math.e), 1]
    np.testing.assert_allclose(sigmoid(np.array([-1e9, -1.0, 0.0, 1.0, 1e9])), wanted)


@pytest.mark.parametrize(("model", "p"), [(model4, [1.2, -0.7, 0.3, 2.0]), (model5, [1.5, 1.1, -0.2, 0.4, 0.1])])
def test_derivatives(model, p: list[float]) -> None:
    z, h = np.linspace(-2, 2, 9), 1e-6
    for i, derivative in enumerate(model(z, p)[1]):
        more, less = ([v + side * h * (i == j) for j, v in enumerate(p)] for side in (1, -1))
        np.testing.assert_allclose(derivative, (model(z, more)[0] - model(z, less)[0]) / (2 * h), atol=1e-8)


def logistic4(x, b1, b2, b3, b4):
    return b2 + (b1 - b2) / (1 + np.exp(-(x - b3) / np.abs(b4)))


def logistic5(x, b1, b2, b3, b4, b5):
    return b1 * (0.5 - 1 / (1 + np.exp(b2 * (x - b3)))) + b4 * x + b5


@pytest.mark.parametrize("name", FITTED)
def test_mappings_are_the_least_squares_of_scipy(name: str) -> None:
    x, y = CASES[name]
    for ours, model in zip(fit_logistic(x, y), (logistic4, logistic5), strict=True):
        # SciPy starts at our answer, so a better one near it, or an error in the formula, would show.
        theirs, _ = optimize.curve_fit(model, x, y, ours.coefficients, maxfev=100_000, ftol=1e-15, xtol=1e-15, gtol=1e-15)
        np.testing.assert_allclose(ours(x), model(x, *ours.coefficients), atol=1e-9 * np.abs(y).max())
        left, least = rmse(ours(x), y), rmse(model(x, *theirs), y)
        assert left == pytest.approx(least, rel=1e-6)
        np.testing.assert_allclose(ours(x), model(x, *theirs), atol=1e-6 * np.ptp(y))


def test_mappings_find_what_scipy_finds_from_its_own_start() -> None:
    x, y = CASES["ordinary"]
    start4 = [y.max(), y.min(), x.mean(), x.std() / 4]
    start5 = [np.ptp(y), 1 / x.std(), x.mean(), 0.0, y.mean()]
    for ours, model, start in zip(fit_logistic(x, y), (logistic4, logistic5), (start4, start5), strict=True):
        theirs, _ = optimize.curve_fit(model, x, y, start, maxfev=100_000, ftol=1e-15, xtol=1e-15, gtol=1e-15)
        np.testing.assert_allclose(ours.coefficients, theirs, rtol=1e-6)


def test_five_parameters_never_do_worse_than_four() -> None:
    for name, (x, y) in CASES.items():
        four, five = fit_logistic(x, y)
        if four is not None:
            assert rmse(five(x), y) <= rmse(four(x), y) * (1 + 1e-6), name


def test_units_change_the_coefficients_and_not_the_fit() -> None:
    x, y = CASES["ordinary"]
    for plain, scaled in zip(fit_logistic(x, y), fit_logistic(100 * x - 7, 20 * y + 3), strict=True):
        np.testing.assert_allclose(scaled(100 * x - 7), 20 * plain(x) + 3, rtol=1e-7)


def test_splitmix64_is_the_published_stream() -> None:
    # First outputs for seed 1234567, as Rosetta Code and other implementations list them.
    wanted = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert splitmix64(1234567, 0, 5).tolist() == wanted
    assert splitmix64(1234567, 3, 2).tolist() == wanted[3:]


def test_resampling_is_uniform() -> None:
    counts = np.bincount(np.concatenate([resample(5, r, 10) for r in range(2000)]), minlength=10)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert resample(5, 0, 10).tolist() != resample(5, 1, 10).tolist()


def test_quantile_is_numpys() -> None:
    values = np.sort(np.random.default_rng(0).normal(size=37))
    for share in (0.0, 0.025, 0.5, 0.975, 1.0):
        assert quantile(values, share) == pytest.approx(np.quantile(values, share), abs=1e-14)


def test_intervals_are_scipys_bca() -> None:
    x, y = CASES["scale of 100"]
    left = np.array([plcc(np.delete(x, i), np.delete(y, i)) for i in range(len(x))])
    drawn = np.array([plcc(*(v[resample(3, r, len(x))] for v in (x, y))) for r in range(3000)])
    ours = bca(plcc(x, y), drawn, left, 0.95)
    theirs = stats.bootstrap(
        (x, y), lambda a, b: stats.pearsonr(a, b).statistic, vectorized=False, paired=True, n_resamples=3000,
        method="BCa", rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    # Two streams of random numbers: equal up to the bootstrap's own noise.
    np.testing.assert_allclose(ours, theirs, atol=0.006)


def test_an_interval_of_a_perfect_correlation_is_a_point() -> None:
    x = np.arange(30.0)
    report = evaluate(x, 2 * x + 1, BootstrapConfig(200))
    for name in ("srcc", "krcc", "plcc"):
        figure = report.figures[name]
        assert [figure.value, figure.low, figure.high] == pytest.approx([1, 1, 1], abs=1e-12)


def test_the_goldens_of_go_are_what_this_code_gives() -> None:
    held, now = json.loads(GOLDENS.read_text()), document()
    assert [case["name"] for case in held["cases"]] == [case["name"] for case in now["cases"]]
    for old, new in zip(held["cases"], now["cases"], strict=True):
        assert old["report"]["logistic4"] == new["report"]["logistic4"], old["name"]
        assert old["report"]["logistic5"] == new["report"]["logistic5"], old["name"]
        for name, figure in new["report"]["figures"].items():
            assert old["report"]["figures"][name] == pytest.approx(figure, abs=1e-12), (old["name"], name)


@pytest.mark.parametrize(
    ("scores", "mos", "fault"),
    [
        ([1, 2], [1, 2], "2 images are too few"),
        ([1, 2, 3], [1, 2], "not two lists of one length"),
        ([1, math.nan, 3], [1, 2, 3], "scores: value 1 is nan, not a number"),
        ([1, 2, -1e200], [1, 2, 3], "scores: value 2 is -1e.200, not a number"),
        ([1, 2, 3], [1, 2, math.inf], "mos: value 2 is inf, not a number"),
    ],
)
def test_refusals(scores: list[float], mos: list[float], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        evaluate(np.array(scores), np.array(mos))


def test_the_table_of_go() -> None:
    report = evaluate(*CASES["by hand"], BootstrapConfig(0))
    assert report.table().splitlines()[:3] == [
        "                      value      low     high",
        "SRCC                 0.9487        -        -",
        "KRCC (tau-b)         0.9129        -        -",
    ]
    assert report.table().endswith("4 images; no intervals\n")
