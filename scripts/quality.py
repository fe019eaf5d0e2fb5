#!/usr/bin/env python3
"""Trains and evaluates gputrain on the sets of docs/measured/quality.md and writes its table.

    make build && python3 scripts/quality.py --data DIR [--out out/quality.jsonl] [--sets a,b] [--seeds 3]
    python3 scripts/quality.py --out out/quality.jsonl --table     only the table, from runs that are there

DIR holds a folder for each set with its train and test files. Every run is two commands of the program, with no flags but the seed,
the files, and what the row says; nothing is chosen on test rows. Finished runs in --out are not repeated.
"""
import argparse
import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile

# name: (train, test, more flags of train, more flags of eval). {data} is --data, {tmp} a folder for samples.
SETS = {
    "bibtex": ("{data}/bibtex/train.txt.gz", "{data}/bibtex/test.txt.gz", [], []),
    "cooking": ("{data}/cooking/train.txt.gz", "{data}/cooking/test.txt.gz", [], []),
    "goemotions": ("{data}/goemotions/train.jsonl.gz", "{data}/goemotions/test.jsonl.gz", [], []),
    "duee65-zh": ("{data}/duee65-zh/train.jsonl.gz", "{data}/duee65-zh/test.jsonl.gz", [], []),
    "chinese-poetry-tags": ("{data}/chinese-poetry-tags/train.jsonl.gz", "{data}/chinese-poetry-tags/test.jsonl.gz", [], []),
    "citeulike-t": ("{data}/citeulike-t/train.txt.gz", "{data}/citeulike-t/test.txt.gz", [], []),
    "cooking-minilm": ("{data}/cooking-minilm/train.npy", "{data}/cooking-minilm/test.npy",
                       ["--labels-file", "{data}/cooking-minilm/train.labels.txt.gz"],
                       ["--labels-file", "{data}/cooking-minilm/test.labels.txt.gz"]),
    "cooking + minilm": ("{data}/cooking/train.txt.gz", "{data}/cooking/test.txt.gz",
                         ["--vectors", "{data}/cooking-minilm/train.npy"], ["--vectors", "{data}/cooking-minilm/test.npy"]),
    "yso-finna-en, 150,000 rows": ("{tmp}/yso150k.jsonl", "{data}/yso-finna-en/test.jsonl.gz", [], []),
    "yso-finna-en, all rows": ("{data}/yso-finna-en/train.jsonl.gz", "{data}/yso-finna-en/test.jsonl.gz", [], []),
}
EMBED = ["bibtex", "cooking", "duee65-zh", "chinese-poetry-tags", "citeulike-t"]
SETS.update({f"{n}, --encoder embed": (*SETS[n][:2], ["--encoder", "embed"], []) for n in EMBED})
LINEAR = ["unified", "unified-hinge", "bce", "softmax"]
SETS.update({f"{n}, --encoder linear --loss {l}": (*SETS[n][:2], ["--encoder", "linear", "--loss", l], []) for n in ["bibtex", "duee65-zh"] for l in LINEAR})
SETS["cooking-minilm, --loss unified"] = (*SETS["cooking-minilm"][:2], [*SETS["cooking-minilm"][2], "--loss", "unified"], SETS["cooking-minilm"][3])
SHOWN = ["p@1", "p@3", "p@5", "micro_f1", "macro_f1", "subset_accuracy"]


def sample(data, tmp):
    """150,000 training rows of yso-finna-en, drawn with seed 1."""
    import numpy

    path = os.path.join(tmp, "yso150k.jsonl")
    if not os.path.exists(path):
        with gzip.open(f"{data}/yso-finna-en/train.jsonl.gz", "rt", encoding="utf-8") as f:
            lines = f.readlines()
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(lines[i] for i in numpy.random.RandomState(1).permutation(len(lines))[:150_000])


def run(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.loads(done.stdout), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def size(folder):
    return sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))


def measure(opt, name, seed, tmp):
    train, test, more_train, more_eval = SETS[name]
    fill = lambda s: s.format(data=opt.data, tmp=tmp)
    if "{tmp}" in train:
        sample(opt.data, tmp)
    model = os.path.join(tmp, "model")
    shutil.rmtree(model, ignore_errors=True)
    flags = [fill(f) for f in more_train]
    made, train_cpu = run([opt.program, "train", "--train", fill(train), "--model", model, "--seed", str(seed), "--json", "--quiet", *flags])
    scores, eval_cpu = run([opt.program, "eval", "--model", model, "--test", fill(test), "--json", "--quiet", *[fill(f) for f in more_eval]])
    with open(os.path.join(model, "model.json"), encoding="utf-8") as f:
        info = json.load(f)
    return {"set": name, "seed": seed, "metrics": scores["metrics"], "rows": scores["rows"], "decision": scores["decision"]["text"],
            "loss": info["model"]["loss"]["kind"], "parts": [p["kind"] for p in info["model"]["parts"]], "lr": info["info"]["lr"],
            "epochs": info["info"]["epochs"], "train_cpu": train_cpu, "eval_cpu": eval_cpu, "bytes": size(model),
            "device": scores["device"], "program": info["info"]["program"], "made": info["info"]["made"], "train": made.get("validation")}


def table(runs):
    """One line a set: the mean over seeds, and half the range in brackets."""
    print("| set | seeds | " + " | ".join(SHOWN) + " | loss, model, step size | rule | train CPU s | eval rows per CPU s | MB |")
    print("|---|---|" + "---|" * (len(SHOWN) + 5))
    for name in SETS:
        rows = [r for r in runs if r["set"] == name]
        if not rows:
            continue
        cells = []
        for m in SHOWN:
            v = [100 * r["metrics"][m] for r in rows]
            cells.append(f"{sum(v) / len(v):.2f} (±{(max(v) - min(v)) / 2:.2f})" if len(v) > 1 else f"{v[0]:.2f}")
        unique = lambda f: "; ".join(dict.fromkeys(f(r) for r in rows))
        mean = lambda f: sum(f(r) for r in rows) / len(rows)
        print(f"| {name} | {len(rows)} | " + " | ".join(cells) + " | " + unique(lambda r: f"{r['loss']}, {' + '.join(r['parts'])}, {r['lr']:g}")
              + " | " + unique(lambda r: r["decision"]) + f" | {mean(lambda r: r['train_cpu']):.1f} | {mean(lambda r: r['rows'] / max(r['eval_cpu'], 1e-9)):,.0f} | {mean(lambda r: r['bytes']) / 1e6:.1f} |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data")
    p.add_argument("--out", default="out/quality.jsonl")
    p.add_argument("--program", default="bin/gputrain")
    p.add_argument("--sets", default=";".join(SETS), help="separated by semicolons; all by default")
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--table", action="store_true")
    opt = p.parse_args()
    runs = []
    if os.path.exists(opt.out):
        with open(opt.out, encoding="utf-8") as f:
            runs = [json.loads(line) for line in f]
    if not opt.table:
        os.makedirs(os.path.dirname(opt.out) or ".", exist_ok=True)
        with tempfile.TemporaryDirectory() as tmp:
            for name in opt.sets.split(";"):
                for seed in range(1, opt.seeds + 1):
                    if any(r["set"] == name and r["seed"] == seed for r in runs):
                        continue
                    print(f"{name}, seed {seed}", file=sys.stderr)
                    runs.append(measure(opt, name, seed, tmp))
                    with open(opt.out, "a", encoding="utf-8") as f:
                        f.write(json.dumps(runs[-1], ensure_ascii=False) + "\n")
    table(runs)


if __name__ == "__main__":
    main()
