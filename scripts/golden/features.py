#!/usr/bin/env python3
"""Writes features/testdata/golden.json: texts, configurations, and their TF-IDF rows by scikit-learn in float64.

    pip install scikit-learn==1.9.1
    python3 scripts/golden/features.py > features/testdata/golden.json

Texts are normalised before scikit-learn sees them, as package features does: NFKC, full case folding, white space collapsed.
A row is an object of n-gram to weight.
"""
import json
import sys
import unicodedata

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer
from sklearn.preprocessing import normalize

ENGLISH = [
    "How much does potato starch affect a cheese sauce recipe?",
    "Dangerous pathogens capable of growing in acidic environments",
    "How do I cover up the white spots on my cast iron stove?",
    "How do I cover up the white spots on my CAST IRON stove",
    "Michelin Three Star Restaurant; but if the chef is not there",
    "Without knife skills, how can I quickly and accurately dice vegetables?",
    "What's the purpose of a bread box? What's the purpose of a bread bin?",
    "What's the purpose of a bread box? a bread box, a bread box, a bread box",
    "the the the the the cast iron cast iron",
    "I don't know... you're 100% right_here, aren't you? 3.14 and 42",
    "  tabs\tand\n\nnew lines   and   spaces  ",
    "a I x",
    "",
    "   ",
    "?!... -- ;;; ((()))",
]
UNICODE = [
    "Der Straße entlang: Äpfel, Öl und ÜBUNG",
    "der strasse entlang, a\u0308pfel und o\u0308l",
    "Ｆｕｌｌ ｗｉｄｔｈ ｆｕｌｌ width ﬁne ﬁsh",
    "naïve café, NAÏVE CAFÉ; x\u0303y\u0303z x\u0303y\u0303z",
    "ΟΔΥΣΣΕΥΣ και οδυσσευς",
    "Привет, МИР! привет мир",
    "It\u2019s \u201cquoted\u201d \u2013 it\u2019s \u201cquoted\u201d\u2026",
    "good 👍👍🏽 morning ☀️ 👩\u200d👩\u200d👧 good 👍 morning",
    "👍 😂😂😂 👍",
    "\u0301\u0301\u0301",
    "no\u00a0break\u3000space no break space",
]
CHINESE = [
    "床前明月光，疑是地上霜。舉頭望明月，低頭思故鄉。",
    "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。",
    "白日依山盡，黃河入海流。欲窮千里目，更上一層樓。",
    "明月  明月\n明月 ABC abc １２３",
    "明",
    "",
    "。。。",
]


def clean(text):
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def vectorizer(analyzer, ngrams, min_df=1, sublinear=True, idf=True, norm="l2", pattern=r"(?u)\b\w\w+\b"):
    return TfidfVectorizer(analyzer=analyzer, ngram_range=ngrams, min_df=min_df, sublinear_tf=sublinear, use_idf=idf, norm=norm,
                           token_pattern=pattern, preprocessor=clean, lowercase=False, dtype=np.float64)


def rows(x, names):
    x = x.tocsr()
    return [{names[c]: round(x[i, c], 8) for c in x[i].indices} for i in range(x.shape[0])]


def single(name, texts, analyzer, ngrams, min_df=1, sublinear=True, idf=True, norm="l2", symbols=False, **more):
    if symbols:
        more["pattern"] = SYMBOLS
    v = vectorizer(analyzer, ngrams, min_df, sublinear, idf, norm, **more)
    x = v.fit_transform(texts)
    key = "word_ngrams" if analyzer == "word" else "char_ngrams"
    config = {"analyzer": analyzer, key: ngrams, "min_df": min_df, "sublinear_tf": sublinear, "idf": idf,
              "norm": "joint" if norm else "none", "symbols": symbols, "min_word_len": 1 if symbols else 2}
    return {"name": name, "config": config, "texts": texts, "rows": rows(x, v.get_feature_names_out())}


def joined(name, texts, norm):
    """Words and characters side by side: the row has length 1, or each block has 1/sqrt(2)."""
    word = vectorizer("word", (1, 2), 2, norm="l2" if norm == "block" else None)
    char = vectorizer("char_wb", (3, 6), 2, norm="l2" if norm == "block" else None)
    x = sparse.hstack([word.fit_transform(texts), char.fit_transform(texts)]).tocsr()
    x = normalize(x) if norm == "joint" else x / np.sqrt(2)
    names = ["word:" + n for n in word.get_feature_names_out()] + ["char:" + n for n in char.get_feature_names_out()]
    config = {"analyzer": "word+char", "min_df": 2, "norm": norm, "symbols": False, "min_word_len": 2}
    return {"name": name, "config": config, "texts": texts, "rows": rows(x, names)}


def weights():
    counts = np.array([[1, 0, 3, 0], [0, 2, 1, 0], [7, 0, 1, 0], [0, 0, 0, 0]], float)
    return {"counts": counts.tolist(), "tfidf": TfidfTransformer(sublinear_tf=True).fit_transform(counts).toarray().tolist()}


MARKS = r"\w[\w\u0300-\u036f]+"  # \w of Python leaves combining marks out
SYMBOLS = r"\w[\w\u0300-\u036f]*|[^\w\s\u0300-\u036f\u200d\ufe0f]"
json.dump({
    "texts": [
        single("english words and symbols", ENGLISH, "word", (1, 2), symbols=True),
        single("unicode words and symbols", UNICODE, "word", (1, 2), symbols=True),
        single("english words", ENGLISH, "word", (1, 2)),
        single("english words min-df 2", ENGLISH, "word", (1, 2), 2),
        single("english words 2-3 plain counts", ENGLISH, "word", (2, 3), 1, False, False, None),
        single("english char_wb", ENGLISH, "char_wb", (3, 6), 2),
        single("english char", ENGLISH, "char", (2, 4), 2),
        single("unicode words", UNICODE, "word", (1, 2), pattern=MARKS),
        single("unicode char_wb", UNICODE, "char_wb", (3, 6)),
        single("chinese char", CHINESE, "char", (1, 2)),
        single("chinese char min-df 2 no sublinear", CHINESE, "char", (1, 3), 2, False),
        joined("joint norm", ENGLISH, "joint"),
        joined("block norm", ENGLISH, "block"),
    ],
    "weights": weights(),
}, sys.stdout, ensure_ascii=False, separators=(",", ":"), default=float)
print()
