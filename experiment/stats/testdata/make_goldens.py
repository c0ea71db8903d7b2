"""Writes goldens.json: figures that package stats must give, from SciPy,
statsmodels and formulas written down again in NumPy.

    python -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1 statsmodels==0.15.0
    venv/bin/python make_goldens.py > goldens.json

Everything is seeded; with these versions the file comes out the same.
"""

import json
import math
import warnings

import numpy as np
import scipy
import statsmodels
from scipy import stats
from scipy.special import betaln, gammaln
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

warnings.filterwarnings("ignore")
random = np.random.default_rng(20240501)


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    return value


def panel(n):
    labels = np.clip(np.round(random.normal(2.5, 1, n), 1), 0, 5)
    first = labels + random.normal(0, 0.8, n)
    second = np.round(labels + random.normal(0, 0.6, n), 1)
    return first, second, labels


def overlaps():
    """Raw data; the correlations by SciPy, the tests by their formulas."""
    out = []
    for n in (12, 60, 300):
        first, second, labels = panel(n)
        for kind, r in (("plcc", stats.pearsonr), ("srcc", stats.spearmanr)):
            r12, r13, r23 = r(first, labels)[0], r(second, labels)[0], r(first, second)[0]
            det = np.linalg.det(np.array([[1, r12, r13], [r12, 1, r23], [r13, r23, 1]]))
            t = (r12 - r13) * math.sqrt(
                (n - 1) * (1 + r23) / (2 * det * (n - 1) / (n - 3) + (r12 + r13) ** 2 / 4 * (1 - r23) ** 3)
            )
            z1, z2 = np.arctanh(r12), np.arctanh(r13)
            rm = (r12 + r13) / 2
            psi = r23 * (1 - 2 * rm**2) - 0.5 * rm**2 * (1 - 2 * rm**2 - r23**2)
            steiger = (z1 - z2) * math.sqrt(n - 3) / math.sqrt(2 - 2 * psi / (1 - rm**2) ** 2)
            r2 = (r12**2 + r13**2) / 2
            f = min((1 - r23) / (2 * (1 - r2)), 1)
            meng = (z1 - z2) * math.sqrt((n - 3) / (2 * (1 - r23) * (1 - f * r2) / (1 - r2)))
            out.append({
                "kind": kind, "first": first, "second": second, "labels": labels,
                "r": [r12, r13, r23],
                "williams": [t, 2 * stats.t.sf(abs(t), n - 3)],
                "steiger": [steiger, 2 * stats.norm.sf(abs(steiger))],
                "meng": [meng, 2 * stats.norm.sf(abs(meng))],
            })
    return out


def bca():
    """Intervals of SciPy with many resamples: they agree within chance."""
    first, second, labels = panel(80)
    figures = {
        "srcc": lambda x, y: stats.spearmanr(x, y)[0],
        "krcc": lambda x, y: stats.kendalltau(x, y)[0],
        "plcc": lambda x, y: stats.pearsonr(x, y)[0],
        "rmse": lambda x, y: math.sqrt(np.mean((x - y) ** 2)),
        "mse": lambda x, y: np.mean((x - y) ** 2),
    }
    out = {"first": first, "second": second, "labels": labels, "figures": {}}
    for name, f in figures.items():
        fits = {}
        for which, statistic in (
            ("second", lambda a, b, y: f(b, y)),
            ("difference", lambda a, b, y: f(b, y) - f(a, y)),
        ):
            res = stats.bootstrap(
                (first, second, labels), statistic, paired=True, vectorized=False,
                n_resamples=20_000, method="BCa", rng=np.random.default_rng(7),
            )
            fits[which] = [
                statistic(first, second, labels),
                res.confidence_interval.low, res.confidence_interval.high, res.standard_error,
            ]
        out["figures"][name] = fits
    return out


def multiple():
    out = []
    for ps in ([0.01, 0.04, 0.03, 0.005], [0.2, 0.2, 0.9], [1.0], [0.0, 0.5, 0.03, 0.03]):
        out.append({
            "ps": ps,
            "holm": multipletests(ps, method="holm")[1],
            "bonferroni": multipletests(ps, method="bonferroni")[1],
        })
    return out


def srm():
    out = []
    for counts, weights in (
        ([5200, 4800], [1, 1]), ([5010, 4990], [0.5, 0.5]),
        ([9012, 498, 512], [0.9, 0.05, 0.05]), ([33, 41, 0, 30], [1, 1, 0, 1]),
    ):
        kept = [(c, w) for c, w in zip(counts, weights) if w > 0]
        observed = np.array([c for c, _ in kept])
        share = np.array([w for _, w in kept]) / sum(w for _, w in kept)
        res = stats.chisquare(observed, share * observed.sum())
        prior = 10_000 * share
        log_e = (
            gammaln(prior.sum()) - gammaln(prior.sum() + observed.sum())
            + np.sum(gammaln(prior + observed) - gammaln(prior) - observed * np.log(share))
        )
        out.append({
            "counts": counts, "weights": weights, "df": len(kept) - 1,
            "chi2": res.statistic, "p": res.pvalue, "log_e": log_e,
        })
    return out


def ks():
    out = []
    for m, n, shift in ((30, 40, 0.0), (30, 40, 0.9), (200, 300, 0.2), (8, 8, 2.0), (3000, 2900, 0.03)):
        a, b = random.normal(0, 1, m), random.normal(shift, 1, n)
        d = stats.ks_2samp(a, b).statistic
        exact = m * n <= 4_000_000
        p = stats.ks_2samp(a, b, method="exact").pvalue if exact else stats.kstwobign.sf(math.sqrt(m * n / (m + n)) * d)
        if m > 1000:  # keep the file small: these are drawn by a formula that Go repeats
            a = np.array([math.sin(i * 1.7) for i in range(m)])
            b = np.array([math.sin(i * 1.3 + 0.5) + 0.02 for i in range(n)])
            d = stats.ks_2samp(a, b).statistic
            p = stats.kstwobign.sf(math.sqrt(m * n / (m + n)) * d)
            out.append({"sizes": [m, n], "first": [], "second": [], "d": d, "p": p})
            continue
        out.append({"sizes": [m, n], "first": a, "second": b, "d": d, "p": p})
    return out


def psi():
    out = []
    for shift, digits in ((0.0, 8), (0.4, 8), (0.1, 1), (0.0, 0)):
        r = np.round(random.normal(0, 1, 400), digits)
        c = np.round(random.normal(shift, 1, 300), digits)
        cuts = np.unique(np.quantile(r, np.arange(1, 10) / 10))
        edges = np.concatenate([[-np.inf], cuts, [np.inf]])
        share = lambda v: (
            np.array([np.sum((v > lo) & (v <= hi)) for lo, hi in zip(edges, edges[1:])]) + 0.5
        ) / (len(v) + 0.5 * (len(edges) - 1))
        before, now = share(r), share(c)
        out.append({"reference": r, "current": c, "psi": np.sum((now - before) * np.log(now / before))})
    return out


def quantiles():
    out = []
    for share, m, n in ((0.5, 40, 60), (0.9, 120, 80), (0.99, 600, 500)):
        a, b = random.exponential(1, m), random.exponential(1.3, n)
        var = []
        for v in (np.sort(a), np.sort(b)):
            k = math.floor(share * len(v) + 0.5)
            i = np.arange(len(v))
            w = stats.beta.cdf((i + 1) / len(v), k, len(v) - k + 1) - stats.beta.cdf(i / len(v), k, len(v) - k + 1)
            var.append(np.sum(w * v**2) - np.sum(w * v) ** 2)
        qa, qb, se = np.quantile(a, share), np.quantile(b, share), math.sqrt(sum(var))
        out.append({
            "share": share, "first": a, "second": b, "at": [qa, qb], "se": se,
            "p": 2 * stats.norm.sf(abs(qb - qa) / se),
        })
    return out


def sequences():
    """Half-widths: the formulas of arXiv 2103.06476, written once more."""
    out = []
    for alpha, horizon in ((0.05, 1000), (0.01, 5000), (0.2, 100)):
        for n in (10, 100, 1234, 100_000):
            widths = []
            for a in (alpha, 2 * alpha):
                rho2 = (-2 * math.log(a) + math.log(-2 * math.log(a) + 1)) / horizon
                if a == alpha:
                    log = math.log(math.sqrt(n * rho2 + 1) / alpha)
                else:
                    log = math.log(1 + math.sqrt(n * rho2 + 1) / (2 * alpha))
                widths.append(1.5 * math.sqrt(2 * (n * rho2 + 1) / (n**2 * rho2) * log))
            out.append({"alpha": alpha, "horizon": horizon, "n": n, "sd": 1.5, "two": widths[0], "one": widths[1]})
    return out


def powers():
    out = []
    for alpha, power in ((0.05, 0.8), (0.01, 0.9)):
        z = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)
        out.append({
            "alpha": alpha, "power": power, "mde": z * 0.7 / math.sqrt(450),
            "size": math.ceil((z * 0.7 / 0.05) ** 2),
        })
    return out


def main():
    print(json.dumps(plain({
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "statsmodels": statsmodels.__version__},
        "overlaps": overlaps(),
        "bca": bca(),
        "multiple": multiple(),
        "srm": srm(),
        "ks": ks(),
        "psi": psi(),
        "quantiles": quantiles(),
        "sequences": sequences(),
        "powers": powers(),
    })))


if __name__ == "__main__":
    main()
