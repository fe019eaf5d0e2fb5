#!/usr/bin/env python3
"""Makes the samples in testdata/ from the full data sets.

    scripts/make-testdata.py DATA

DATA holds goemotions, chinese-poetry-tags and yso-finna-en, each with train.jsonl.gz and test.jsonl.gz: one JSON object
{"text", "labels"} a line. testdata/README.md says where they come from.

Rows are drawn without replacement by a generator with a fixed seed and keep their order, test rows from the test file. The
result depends on the input and this script only: running it twice gives the same bytes. Python's standard library is enough.
"""
import csv
import gzip
import io
import json
import pathlib
import random
import re
import sys

OUT = pathlib.Path(__file__).resolve().parent.parent / "testdata"
SIZES = {  # rows: train, test
    "goemotions": (4000, 800),
    "chinese-poetry-tags": (1200, 300),
    "yso-finna-en": (6000, 1000),
}
MAX_CHARS = 400  # yso-finna-en has whole abstracts among its titles; the sample takes the shorter ones
TINY = 60  # rows of the small files in other formats


def read(path):
    with gzip.open(path, "rt", encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def draw(rows, n, seed):
    return [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), n))]


def write(path, text):
    """Writes text, compressed if the name says so; no time and no name in the header, so that the bytes repeat."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = text.encode("utf-8")
    if path.suffix == ".gz":
        buffer = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as f:
            f.write(raw)
        raw = buffer.getvalue()
    path.write_bytes(raw)
    print(f"{path.relative_to(OUT.parent)}: {text.count(chr(10))} lines, {len(raw)} bytes")


def jsonl(rows):
    return "".join(json.dumps({"text": r["text"], "labels": r["labels"]}, ensure_ascii=False) + "\n" for r in rows)


def fasttext(rows):
    return "".join(" ".join(["__label__" + label for label in r["labels"]] + [" ".join(r["text"].split())]) + "\n" for r in rows)


def as_csv(rows):
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "text", "labels"])
    for i, r in enumerate(rows):
        writer.writerow([i + 1, r["text"], ";".join(r["labels"])])
    return out.getvalue()


def xmc(rows, labels, words):
    """Counts of the words, with a header `rows features labels` and ids from 0."""
    lines = [f"{len(rows)} {len(words)} {len(labels)}"]
    for r in rows:
        counts = {}
        for w in tokens(r["text"]):
            if w in words:
                counts[words[w]] = counts.get(words[w], 0) + 1
        ids = ",".join(str(i) for i in sorted(labels[label] for label in r["labels"]))
        lines.append(" ".join([ids] + [f"{i}:{c}" for i, c in sorted(counts.items())]))
    return "\n".join(lines) + "\n"


def tokens(text):
    return re.findall(r"\w\w+", text.lower())


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    data = pathlib.Path(sys.argv[1])
    samples = {}
    for name, sizes in SIZES.items():
        for split, n in zip(("train", "test"), sizes):
            rows = [r for r in read(data / name / f"{split}.jsonl.gz") if len(r["text"]) <= MAX_CHARS]
            samples[name, split] = draw(rows, n, seed=f"{name} {split}")
            write(OUT / name / f"{split}.jsonl.gz", jsonl(samples[name, split]))

    rows = samples["goemotions", "train"][:TINY]
    write(OUT / "tiny" / "goemotions.jsonl", jsonl(rows))
    write(OUT / "tiny" / "goemotions.fasttext.txt", fasttext(rows))
    write(OUT / "tiny" / "goemotions.csv", as_csv(rows))
    labels = {label: i for i, label in enumerate(sorted({label for r in rows for label in r["labels"]}))}
    words = {w: i for i, w in enumerate(sorted({w for r in rows for w in tokens(r["text"])}))}
    write(OUT / "tiny" / "goemotions.xmc.txt", xmc(rows, labels, words))
    write(OUT / "tiny" / "goemotions.xmc.labels.txt", "".join(label + "\n" for label in labels))


if __name__ == "__main__":
    main()
