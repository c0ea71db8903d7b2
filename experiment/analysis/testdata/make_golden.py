"""Writes golden.json: figures of the log of synthetic.DefaultOptions, by SciPy.

    go run ./tools/drawreport -log /tmp/log.json
    python make_golden.py /tmp/log.json golden.json      (numpy, scipy)
"""

import collections
import json
import sys

import numpy as np
from scipy import stats

log = json.load(open(sys.argv[1]))
arms = ["control", "treatment"]
scores = {x["image_sha256"]: {s["arm"]: s["score"] for s in x["scores"]} for x in log["Exposures"]}
# A score is a float32 in the records.
scores = {i: {a: float(np.float32(v)) for a, v in s.items()} for i, s in scores.items()}
labels = collections.defaultdict(list)
for f in log["Feedback"]:
    if f["kind"] == "mos":
        labels[f["image_sha256"]].append(f["value"])
images = list(labels)
mos = np.array([np.mean(labels[i]) for i in images])
of = {a: np.array([scores[i][a] for i in images]) for a in arms}
out = {
    "SRCC": [stats.spearmanr(of[a], mos)[0] for a in arms],
    "KRCC": [stats.kendalltau(of[a], mos)[0] for a in arms],
    "PLCC": [stats.pearsonr(of[a], mos)[0] for a in arms],
    "RMSE": [np.sqrt(np.mean((of[a] - mos) ** 2)) for a in arms],
}
d = (of["control"] - mos) ** 2 - (of["treatment"] - mos) ** 2
out["MeanDifference"], out["SDDifference"] = d.mean(), d.std(ddof=1)

units = {}
for x in log["Exposures"]:
    units.setdefault(x["unit"], x["arm_shown"])
counts = [sum(v == a for v in units.values()) for a in arms]
chi = stats.chisquare(counts)
out["ChiSquare"], out["ChiSquareP"] = chi.statistic, chi.pvalue

credit, right = {a: [] for a in arms}, {a: [] for a in arms}
for f in log["Feedback"]:
    if f["kind"] != "pair":
        continue
    for a in arms:
        gap = scores[f["image_a"]][a] - scores[f["image_b"]][a]
        tied = f["winner"] == "tie" or gap == 0
        good = not tied and (gap > 0) == (f["winner"] == "a")
        credit[a].append(0.5 if tied else float(good))
        right[a].append(good)
out["Accuracy"] = [np.mean(credit[a]) for a in arms]
out["OnlyArm"] = sum(t and not c for t, c in zip(right["treatment"], right["control"]))
out["OnlyControl"] = sum(c and not t for t, c in zip(right["treatment"], right["control"]))
out["McNemarP"] = stats.binomtest(out["OnlyArm"], out["OnlyArm"] + out["OnlyControl"]).pvalue

unit_of = {x["assignment_id"]: x["unit"] for x in log["Exposures"]}
thumbs = collections.defaultdict(list)
for f in log["Feedback"]:
    if f["kind"] == "thumb":
        thumbs[unit_of[f["assignment_id"]]].append(f["value"])
means = [[np.mean(v) for u, v in thumbs.items() if units[u] == a] for a in arms]
out["WelchDifference"] = np.mean(means[1]) - np.mean(means[0])
out["WelchP"] = stats.ttest_ind(means[1], means[0], equal_var=False).pvalue

out["KSStatistic"], out["KSP"] = [], []
for a in arms:
    all_scores = [scores[x["image_sha256"]][a] for x in log["Exposures"]]
    half = len(all_scores) // 2
    ks = stats.ks_2samp(all_scores[:half], all_scores[half:], method="exact")
    out["KSStatistic"].append(ks.statistic)
    out["KSP"].append(ks.pvalue)
json.dump(out, open(sys.argv[2], "w"), indent=1, default=float)
