#!/usr/bin/env python3
"""Compares package features with scikit-learn's TfidfVectorizer on the texts of a JSON lines file: CPU seconds of fit_transform, the
median of several runs in turn.

    python3 scripts/features_speed.py train.jsonl.gz          (scikit-learn, go)
"""
import gzip
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

from sklearn.feature_extraction.text import TfidfVectorizer

RUNS = 5
WORDS = dict(ngram_range=(1, 2), token_pattern=r"(?u)\w+|[^\w\s]")
CHARS = dict(analyzer="char_wb", ngram_range=(3, 6))


def sklearn_seconds(texts, *vectorizers):
    start = time.process_time()
    for v in vectorizers:
        TfidfVectorizer(min_df=2, sublinear_tf=True, **v).fit_transform(texts)
    return time.process_time() - start


def ours(path):
    env = dict(os.environ, GPUTRAIN_BENCH_TEXTS=path, GOEXPERIMENT="simd")
    out = subprocess.run(["go", "test", "./features", "-run", "^$", "-bench", "FitText", "-benchtime", "3x"], env=env, text=True, stdout=subprocess.PIPE, check=True).stdout
    found = re.findall(r"BenchmarkFitText/(\S+?)/workers=(\d)\S*\s+\d+\s+(\d+) ns/op\s+([\d.]+) cpu-s/op", out)
    return {(a, int(w)): (float(cpu), float(ns) / 1e9) for a, w, ns, cpu in found}


def main():
    opener = gzip.open if sys.argv[1].endswith(".gz") else open
    with opener(sys.argv[1], "rt", encoding="utf-8") as f:
        lines = f.readlines()
    texts = [json.loads(l)["text"] for l in lines]
    theirs, mine = {"word": [], "word+char": []}, []
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as plain:
        plain.writelines(lines)
        plain.flush()
        for _ in range(RUNS):
            theirs["word"].append(sklearn_seconds(texts, WORDS))
            theirs["word+char"].append(sklearn_seconds(texts, WORDS, CHARS))
            mine.append(ours(plain.name))
    print(f"{len(texts)} texts\n\n| analyzer | scikit-learn CPU s | 1 worker CPU s (wall) | 2 workers CPU s (wall) | CPU ratio, 1 worker |\n|---|---|---|---|---|")
    for a in theirs:
        t = statistics.median(theirs[a])
        cpu = {w: statistics.median(m[a, w][0] for m in mine) for w in (1, 2)}
        wall = {w: statistics.median(m[a, w][1] for m in mine) for w in (1, 2)}
        print(f"| {a} | {t:.2f} | {cpu[1]:.3f} ({wall[1]:.3f}) | {cpu[2]:.3f} ({wall[2]:.3f}) | {t / cpu[1]:.1f} |")


if __name__ == "__main__":
    main()
