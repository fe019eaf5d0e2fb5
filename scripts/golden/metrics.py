#!/usr/bin/env python3
"""Writes metrics/testdata/golden.json: random cases and their metrics by scikit-learn and pyxclib's formulas.

    pip install scikit-learn==1.9.1
    python3 scripts/golden/metrics.py > metrics/testdata/golden.json

Precision, recall, F1 and subset accuracy come from sklearn.metrics, and so does nDCG@k (binary relevance, distinct
scores). The package pyxclib does not install from an index, so its definitions of P@k, R@k, nDCG@k and PSP@k
(github.com/kunaldahiya/pyxclib, xclib/evaluation/xc_metrics.py: precision, recall, ndcg, psprecision,
compute_inv_propesity) are restated here in dense numpy. Where both define a metric, they are asserted to agree.
"""
import json
import sys
import warnings

import numpy as np
from sklearn import metrics as sk
from sklearn.exceptions import UndefinedMetricWarning

warnings.simplefilter("ignore", UndefinedMetricWarning)


def at_k(scores, truth, inverse_propensity, ks):
    """P, R, nDCG and PSP at each k, after pyxclib. The scores of a row are distinct."""
    order = np.argsort(-scores, axis=1)
    hits = np.take_along_axis(truth, order, axis=1).astype(float)
    weighted = np.take_along_axis(truth * inverse_propensity, order, axis=1)
    best = -np.sort(-(truth * inverse_propensity), axis=1)
    positives = truth.sum(axis=1)
    discount = 1 / np.log2(np.arange(truth.shape[1]) + 2)
    out = {}
    for k in ks:
        out[f"p@{k}"] = np.mean(hits[:, :k].sum(axis=1) / k)
        out[f"r@{k}"] = np.mean(hits[:, :k].sum(axis=1) / np.maximum(positives, 1))
        ideal = np.cumsum(discount)[np.minimum(np.maximum(positives, 1), k) - 1]
        out[f"ndcg@{k}"] = np.mean((hits[:, :k] * discount[:k]).sum(axis=1) / ideal)
        out[f"psp@{k}"] = np.mean(weighted[:, :k].sum(axis=1) / k) / np.mean(best[:, :k].sum(axis=1) / k)
        # scikit-learn's nDCG is the same thing (rows without positives count 0).
        np.testing.assert_allclose(out[f"ndcg@{k}"], sk.ndcg_score(truth, scores, k=k), rtol=1e-12)
    return out


def sets(truth, decided):
    out = {}
    active = np.flatnonzero(truth.any(axis=0) | decided.any(axis=0))
    for average, prefix in (("micro", "micro"), ("macro", "macro"), ("samples", "samples")):
        labels = active if average == "macro" else None
        p, r, f, _ = sk.precision_recall_fscore_support(truth, decided, average=average, labels=labels, zero_division=0)
        # A row with neither labels nor decisions is right; scikit-learn's zero_division=0 gives it 0.
        bonus = np.mean(~truth.any(axis=1) & ~decided.any(axis=1)) if average == "samples" else 0
        out |= {f"{prefix}_precision": p + bonus, f"{prefix}_recall": r + bonus, f"{prefix}_f1": f + bonus}
    out["subset_accuracy"] = sk.accuracy_score(truth, decided)
    out["coverage"] = (truth & decided).any(axis=0).sum() / truth.any(axis=0).sum()
    out["abstained"] = np.mean(~decided.any(axis=1))
    return out


def case(rng, name, rows, known, unseen, per_row, a, b, train_rows):
    """Random truth over known+unseen labels, scores and decisions over the known ones only."""
    n = known + unseen
    popularity = 1 / np.arange(1, n + 1)
    truth = np.zeros((rows, n), dtype=int)
    for i in range(rows):
        size = min(n, rng.poisson(per_row))
        truth[i, rng.choice(n, size=size, replace=False, p=popularity / popularity.sum())] = 1
    noise = rng.normal(size=(rows, n))
    scores = 2 * truth - 1.5 + noise
    scores[:, known:] = -1e6 - rng.random((rows, unseen))  # the model cannot rank them: last
    decided = (scores > 0).astype(int)
    counts = rng.integers(0, 200, size=known)
    counts[rng.random(known) < 0.2] = 0
    c = (np.log(train_rows) - 1) * (b + 1) ** a
    weights = 1 + c * (np.concatenate([counts, np.zeros(unseen)]) + b) ** -a
    ks = [1, 2, 3, 5]
    want = at_k(scores, truth, weights, ks) | sets(truth, decided)
    return {
        "name": name, "k": ks, "labels": known, "train_rows": train_rows, "a": a, "b": b,
        "train_counts": counts.tolist(),
        "truth": [np.flatnonzero(t).tolist() for t in truth],
        "ranked": [[int(l) for l in np.argsort(-s) if l < known] for s in scores],
        "decided": [np.flatnonzero(d).tolist() for d in decided],
        "want": {k: float(v) for k, v in want.items()},
    }


def main():
    rng = np.random.default_rng(7)
    cases = [
        case(rng, "few labels per row", 60, 12, 0, 1.5, 0.55, 1.5, 1000),
        case(rng, "many labels per row", 40, 25, 0, 7, 0.5, 0.4, 100000),
        case(rng, "labels unseen in training", 50, 15, 6, 2.5, 0.6, 2.6, 5000),
        case(rng, "one row", 1, 8, 0, 3, 0.55, 1.5, 50),
    ]
    json.dump(cases, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
