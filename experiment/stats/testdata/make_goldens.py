"""Writes goldens.json: figures that package stats must give, from SciPy,
statsmodels and formulas written down again in NumPy.

    python -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1 statsmodels==0.15.0
    venv/bin/python make_goldens.py > goldens.json

Everything is seeded; with these versions the file comes out the same.
"""

import json
import math
import warnings
import zlib

import numpy as np
import scipy
import statsmodels
from scipy import optimize, stats
from scipy.special import betaln, gammaln
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests

warnings.filterwarnings("ignore")


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


def panel(random, n):
    labels = np.clip(np.round(random.normal(2.5, 1, n), 1), 0, 5)
    first = labels + random.normal(0, 0.8, n)
    second = np.round(labels + random.normal(0, 0.6, n), 1)
    return first, second, labels


def overlaps(random):
    """Raw data; the correlations by SciPy, the tests by their formulas."""
    out = []
    for n in (12, 60, 300):
        first, second, labels = panel(random, n)
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


def bca(random):
    """Intervals of SciPy with many resamples: they agree within chance."""
    first, second, labels = panel(random, 80)
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


def multiple(random):
    out = []
    for ps in ([0.01, 0.04, 0.03, 0.005], [0.2, 0.2, 0.9], [1.0], [0.0, 0.5, 0.03, 0.03]):
        out.append({
            "ps": ps,
            "holm": multipletests(ps, method="holm")[1],
        })
    return out


def srm(random):
    out = []
    for counts, weights in (
        ([5200, 4800], [1, 1]), ([5010, 4990], [0.5, 0.5]),
        ([9012, 498, 512], [0.9, 0.05, 0.05]), ([33, 41, 0, 30], [1, 1, 0, 1]),
    ):
        kept = [(c, w) for c, w in zip(counts, weights) if w > 0]
        observed = np.array([c for c, _ in kept])
        share = np.array([w for _, w in kept]) / sum(w for _, w in kept)
        res = stats.chisquare(observed, share * observed.sum())
        prior = 2_500 * share
        log_e = (
            gammaln(prior.sum()) - gammaln(prior.sum() + observed.sum())
            + np.sum(gammaln(prior + observed) - gammaln(prior) - observed * np.log(share))
        )
        out.append({
            "counts": counts, "weights": weights, "df": len(kept) - 1,
            "chi2": res.statistic, "p": res.pvalue, "log_e": log_e,
        })
    return out


def ks(random):
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


def psi(random):
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


def sequences(random):
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


def powers(random):
    out = []
    for alpha, power in ((0.05, 0.8), (0.01, 0.9)):
        z = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)
        out.append({
            "alpha": alpha, "power": power, "mde": z * 0.7 / math.sqrt(450),
            "size": math.ceil((z * 0.7 / 0.05) ** 2),
        })
    return out


def mcnemars(random):
    out = []
    for b, c in ((3, 12), (0, 7), (5, 5), (250, 301), (1, 0), (121, 59)):
        table = [[10, b], [c, 10]]
        exact = mcnemar(table, exact=True).pvalue
        chi2 = mcnemar(table, exact=False, correction=True)
        low = min(b, c)
        mid = 2 * stats.binom.cdf(low, b + c, 0.5) - stats.binom.pmf(low, b + c, 0.5)
        if b == c:  # statsmodels reports what its correction gives below 0 as well
            chi2.statistic, chi2.pvalue = 0.0, 1.0
        out.append({"counts": [b, c], "exact": exact, "mid_p": mid, "chi2": chi2.statistic, "chi2_p": chi2.pvalue})
    return out


def preferences(random):
    """The beta mixture by direct integration, and intervals by root finding."""
    out = []
    for w, l in ((7, 3), (60, 40), (0, 12), (520, 480), (30, 2)):
        p0 = 0.5
        null = w * math.log(p0) + l * math.log(1 - p0)
        upper = stats.beta.sf(p0, w + 1, l + 1)
        two = betaln(w + 1, l + 1) - null
        log_e = lambda p: betaln(w + 1, l + 1) - (w * math.log(p) + l * math.log1p(-p))
        ends = []
        for lo, hi, edge in ((1e-12, w / (w + l), 0.0), (w / (w + l), 1 - 1e-12, 1.0)):
            f = lambda p: log_e(p) - math.log(20)
            ends.append(optimize.brentq(f, max(lo, 1e-12), min(hi, 1 - 1e-12)) if 0 < w / (w + l) < 1 or abs(w / (w + l) - edge) > 0.5 else edge)
        out.append({
            "wins": w, "losses": l, "two": two,
            "lower": two + math.log(upper) - math.log(0.5),
            "upper": two + math.log(stats.beta.cdf(p0, w + 1, l + 1)) - math.log(0.5),
            "interval": ends,
        })
    return out


def bradley_terry(random):
    """Logistic regression without intercept; abilities and errors moved to a sum of 0."""
    out = []
    for n, games in ((3, 12), (6, 30)):
        ability = random.normal(0, 1, n)
        wins = np.zeros((n, n))
        for i in range(n):
            for j in range(i):
                w = random.binomial(games, 1 / (1 + math.exp(ability[j] - ability[i])))
                wins[i, j], wins[j, i] = w, games - w
        wins[0, 1] += 0.5
        wins[1, 0] += 0.5
        rows, y, weights = [], [], []
        for i in range(n):
            for j in range(n):
                if i != j and wins[i, j] > 0:
                    row = np.zeros(n)
                    row[i], row[j] = 1, -1
                    rows.append(row[1:])
                    y.append(1)
                    weights.append(wins[i, j])
        design, weights = np.array(rows), np.array(weights)
        # every row is a win: fit by Newton on the likelihood itself
        b = np.zeros(n - 1)
        for _ in range(100):
            p = 1 / (1 + np.exp(-design @ b))
            info = design.T @ (design * (weights * p * (1 - p))[:, None])
            b = b + np.linalg.solve(info, design.T @ (weights * (1 - p)))
        full = np.concatenate([[0], b])
        cov = np.zeros((n, n))
        cov[1:, 1:] = np.linalg.inv(info)
        centre = np.eye(n) - 1 / n
        cov = centre @ cov @ centre
        out.append({"wins": wins, "ability": centre @ full, "se": np.sqrt(np.diag(cov))})
    return out


def krasula(random):
    out = []
    for n, raters, digits in ((40, 15, 6), (60, 8, 1)):
        mean = random.uniform(1, 5, n)
        sd = random.uniform(0.3, 0.9, n)
        scores = np.round(mean + random.normal(0, 0.7, n), digits)
        z = lambda i, j: abs(mean[i] - mean[j]) / math.sqrt((sd[i] ** 2 + sd[j] ** 2) / raters)
        pairs = [(i, j) for i in range(n) for j in range(i)]
        different = [(i, j) for i, j in pairs if 2 * stats.norm.sf(z(i, j)) < 0.05]
        similar = [(i, j) for i, j in pairs if 2 * stats.norm.sf(z(i, j)) >= 0.05]
        auc = lambda pos, neg: stats.mannwhitneyu(pos, neg).statistic / len(pos) / len(neg)
        signed = np.array([(scores[i] - scores[j]) * np.sign(mean[i] - mean[j]) for i, j in different])
        size = lambda ps: np.array([abs(scores[i] - scores[j]) for i, j in ps])
        out.append({
            "scores": scores, "mean": mean, "sd": sd, "raters": raters,
            "ds": auc(size(different), size(similar)), "bw": auc(signed, -signed), "c0": np.mean(signed > 0),
            "different": len(different), "similar": len(similar),
        })
    return out


def means(random):
    x0, x1 = random.normal(0, 1, 40), random.normal(0, 1, 55)
    y0, y1 = 1 + 0.8 * x0 + random.normal(0, 0.7, 40), 1.3 + 0.8 * x1 + random.normal(0, 1.1, 55)

    def welch(a, b):
        res = stats.ttest_ind(b, a, equal_var=False)
        ci = res.confidence_interval(0.9)
        return {
            "difference": np.mean(b) - np.mean(a), "t": res.statistic, "df": res.df, "p": res.pvalue,
            "low": ci.low, "high": ci.high,
        }

    cov = lambda x, y: np.sum((x - x.mean()) * (y - y.mean()))
    xy, xx, yy = (cov(x0, y0) + cov(x1, y1)), (cov(x0, x0) + cov(x1, x1)), (cov(y0, y0) + cov(y1, y1))
    theta = xy / xx
    d0, d1 = random.poisson(5, 40) + 1.0, random.poisson(5, 55) + 1.0
    n0, n1 = random.binomial(d0.astype(int), 0.3) * 1.0, random.binomial(d1.astype(int), 0.35) * 1.0

    def delta(n, d):
        grad = np.array([1 / d.mean(), -n.mean() / d.mean() ** 2])
        return n.mean() / d.mean(), grad @ np.cov(n, d) @ grad / len(n)

    (r0, v0), (r1, v1) = delta(n0, d0), delta(n1, d1)
    return {
        "covariates": [x0, x1], "outcomes": [y0, y1],
        "welch": welch(y0, y1), "cuped": welch(y0 - theta * x0, y1 - theta * x1),
        "theta": theta, "reduction": xy**2 / xx / yy,
        "numerators": [n0, n1], "denominators": [d0, d1],
        "ratio": {
            "difference": r1 - r0, "se": math.sqrt(v0 + v1),
            "p": 2 * stats.norm.sf(abs(r1 - r0) / math.sqrt(v0 + v1)),
        },
    }


def shrinks(random):
    """The pooled part is that of statsmodels (DerSimonian and Laird)."""
    out = []
    for effects, se in (
        ([0.3, 0.1, -0.2, 0.5], [0.1, 0.12, 0.2, 0.15]), ([0.1, 0.11, 0.09], [0.2, 0.3, 0.25]),
    ):
        effects, se = np.array(effects), np.array(se)
        res = combine_effects(effects, se**2, method_re="dl")
        tau2 = max(0.0, res.tau2)
        w = 1 / (se**2 + tau2)
        mean, mean_var = np.sum(w * effects) / np.sum(w), 1 / np.sum(w)
        if res.tau2 > 0:
            np.testing.assert_allclose([mean, mean_var], [res.mean_effect_re, res.sd_eff_w_re**2])
        kept = tau2 / (tau2 + se**2)
        out.append({
            "effects": effects, "se": se, "tau": math.sqrt(tau2), "mean": mean, "mean_se": math.sqrt(mean_var),
            "q": res.q, "q_p": stats.chi2.sf(res.q, len(effects) - 1),
            "shrunk": kept * effects + (1 - kept) * mean,
            "shrunk_se": np.sqrt(kept * se**2 + (1 - kept) ** 2 * mean_var),
        })
    return out


def raters(random):
    """BT.500 by its text, on a table without gaps; rater 3 answers at random."""
    images, people = 60, 25
    quality = random.normal(3, 0.8, images)
    table = quality[:, None] + random.normal(0, 0.4, (images, people))
    table[:, 3] = random.uniform(0, 6, images)
    table[:, 7] += 1.5  # mild, not random
    table = np.round(table, 2)
    above, below = np.zeros(people, int), np.zeros(people, int)
    for row in table:
        kurtosis = stats.kurtosis(row, fisher=False)
        far = (2 if 2 <= kurtosis <= 4 else math.sqrt(20)) * row.std(ddof=1)
        above += row >= row.mean() + far
        below += row <= row.mean() - far
    odd = above + below
    rejected = (odd / images > 0.05) & (np.abs(above - below) / np.maximum(odd, 1) < 0.3)
    return {"table": table, "above": above, "below": below, "rejected": rejected}


PARTS = [
    overlaps, bca, multiple, srm, ks, psi, sequences, powers,
    mcnemars, preferences, bradley_terry, krasula, means, shrinks, raters,
]


def main():
    file = {"versions": {"numpy": np.__version__, "scipy": scipy.__version__, "statsmodels": statsmodels.__version__}}
    for part in PARTS:  # a stream each, so that a new part changes no other
        name = part.__name__
        file[name] = plain(part(np.random.default_rng([20240501, zlib.crc32(name.encode())])))
    print(json.dumps(file))


if __name__ == "__main__":
    main()
