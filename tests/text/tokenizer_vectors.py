"""Writes what the tokenizers package makes of random texts, for tests to compare with.

usage: tokenizer_vectors.py texts TOKENIZER_JSON VARIANT OUT_FOLDER COUNT
           OUT_FOLDER/tokenizer.json: TOKENIZER_JSON (maybe gzipped) changed as VARIANT says;
           OUT_FOLDER/vectors.jsonl: a line a text: {"text", "ids", "bare" (without special tokens), "decoded"}
       tokenizer_vectors.py pieces PATTERNS_JSON OUT_FILE COUNT
           PATTERNS_JSON: lists of patterns, each list applied in turn; a line a text: {"text", "pieces": [per list]}
"""

import gzip
import json
import random
import sys
import unicodedata

from tokenizers import Regex, Tokenizer
from tokenizers.pre_tokenizers import Sequence, Split

WORDS = ("the Hello WORLD don't I'LL we've y'all 'tis O'Neil it'ſ x'S camelCaseWord HTTPServer snake_case ½ 3 42 365 "
         "1234567 3.14 １２３ ٣٤٥ Äpfel naïve Ångström ǅ ﬁnance ʼn İstanbul ΑΒΓ ς Привет мир नमस्ते ประเทศไทย 東京タワー 한국어 "
         "中文字符 ひらがな カタカナ 〇々〆 ⺀⼀ ﷺ שלום مرحبا 🇩🇪 👩‍👩‍👧‍👦 😶‍🌫️ 🫨 ✅ ™ © € ₿ ∑ → ═ <s> </s> <unk> <|im_start|> <|endoftext|> <think> "
         "<tool_call> <0x41> ▁ ▁▁ Ġ Ċ #include std::vector<int> {} (); // /* */ https://a.b/c?d=e&f=1 a@b.c $100 50% -- ... !!! "
         "== != \\n \\\\ e\u0301 A\u030a \u1100\u1161\u11a8 o\u0302\u0323 \u212b \u2126 \u0958 \u0344 q\u0316\u0301\u0316 \ufb1d").split()
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", " \n ", "\u00a0", "\u2003", "\u3000", "\u200b", "\u180e", "\u0085",
          "\u2028", "\u1680", "\v", "\f", "\u202f", "", "", ""]
CODE = 'for (int i = 0; i < n; ++i) {\n\tif (a[i] != "x\\t") {\r\n        total += f(a[i], 0x1F);  // äh\n    }\n}\n\n\n'
# utf8proc and the tokenizers package know the normal form of other versions of Unicode: characters newer than 12 that
# decompose or combine are left to the tests of the normal form itself.
BLOCKS = [(0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x5FF), (0x600, 0x6FF), (0x900, 0xDFF), (0xE00, 0xEFF),
          (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x2BFF), (0x3000, 0x30FF), (0x3400, 0x9FFF), (0xAC00, 0xD7A3),
          (0xE000, 0xF8FF), (0xF900, 0xFFFF), (0x10000, 0x10FFF), (0x1D400, 0x1D7FF), (0x1F000, 0x1FAFF),
          (0x20000, 0x323AF), (0xE0000, 0xE01FF), (0x100000, 0x10FFFF), (0x0, 0x10FFFF)]


def comparable(character):
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        return False
    data = unicodedata.ucd_3_2_0
    is_old = data.category(character) != "Cn"
    return is_old or (unicodedata.combining(character) == 0 and not unicodedata.decomposition(character)
                      and unicodedata.category(character)[0] in "LNSPC" and code not in NEWLY_COMPOSED)


NEWLY_COMPOSED = set()  # starters of compositions that version 16 added
for first, last in ((0x105C0, 0x105FF), (0x11080, 0x1147F), (0x115A0, 0x115CF), (0x11900, 0x1195F), (0x16100, 0x16D7F)):
    NEWLY_COMPOSED.update(range(first, last + 1))


def random_text(generator):
    kind = generator.randrange(8)
    if kind == 0:
        return CODE[generator.randrange(len(CODE)):][:generator.randrange(1, 120)]
    if kind == 1:
        return "".join(generator.choice(SPACES) for _ in range(generator.randrange(12)))
    text = []
    for _ in range(generator.randrange(1, 400 if kind == 2 else 14)):
        what = generator.randrange(6)
        if what < 3:
            text.append(generator.choice(WORDS))
        elif what == 3:
            low, high = generator.choice(BLOCKS)
            text += [c for c in (chr(generator.randint(low, high)) for _ in range(generator.randrange(1, 6)))
                     if comparable(c)]
        elif what == 4:
            text.append("".join(generator.choice("0123456789 aA'.,\n-") for _ in range(generator.randrange(1, 9))))
        else:
            text.append(generator.choice(WORDS) * generator.randrange(1, 4))
        text.append(generator.choice(SPACES))
    return "".join(text)


def added(token_id, content, **flags):
    token = dict(id=token_id, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
    token.update(flags)
    return token


def change(document, variant):
    if variant == "flags":
        base = 1 + max([max(document["model"]["vocab"].values())] + [t["id"] for t in document["added_tokens"]])
        tokens = [("<left>", dict(lstrip=True, special=True)), ("<right>", dict(rstrip=True)),
                  ("<both>", dict(lstrip=True, rstrip=True)), ("word", dict(single_word=True)), ("<le", {}),
                  ("<left><right>", {}), ("Ångström", dict(normalized=True)), ("e\u0301e", dict(normalized=True)),
                  ("zwei Worte", dict(normalized=True)), ("drei Worte!", {}), ("مرحبا", dict(special=True)),
                  ("東", dict(single_word=True, normalized=True))]
        for content, flags in tokens:
            token_id = document["model"]["vocab"].get(content, base)  # the package insists on these ids
            base += token_id == base
            document["added_tokens"].append(added(token_id, content, **flags))
    elif variant == "prefix":
        for step in document["pre_tokenizer"]["pretokenizers"]:
            if step["type"] == "ByteLevel":
                document["pre_tokenizer"] = dict(step, add_prefix_space=True, use_regex=True)
    elif variant == "ignore_merges":
        document["model"]["ignore_merges"] = True
    elif variant.startswith("metaspace_"):
        document["normalizer"] = None
        document["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": variant.split("_")[1],
                                     "split": variant.endswith("_split")}
        document["decoder"]["decoders"][-1]["start"] = int("never" not in variant)
    elif variant == "gemma":
        document["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        document["pre_tokenizer"] = {"type": "Split", "pattern": {"String": "▁"}, "behavior": "MergedWithPrevious",
                                     "invert": False}
        document["decoder"]["decoders"].pop()
    elif variant == "splits":
        document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": r"[.,!?]+"}, "behavior": "MergedWithPrevious", "invert": False},
            {"type": "Split", "pattern": {"Regex": r"\p{Han}|\p{^L}"}, "behavior": "Contiguous", "invert": True},
            {"type": "Split", "pattern": {"Regex": r"a$|^H"}, "behavior": "Isolated", "invert": False},
            {"type": "Split", "pattern": {"Regex": r"\d{1,2}+|(?=\p{Lu})"}, "behavior": "MergedWithNext", "invert": False},
            {"type": "Split", "pattern": {"Regex": r"\s"}, "behavior": "Removed",
             "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}]}
    else:
        assert variant == "plain", variant
    return document


EXTRA = ["a <left> b", "x<right>  y", " <both> ", "<both><both>", "<left><right>", "<le<left><le", "word", "sword word words wordword",
         "a word, (word) _word word1", "A\u030angstro\u0308m", "ee\u0301e", "zwei Worte zwei  Worte", "drei Worte! x",
         "東 東京 の東", "\u2003<left>\u3000", "<right>\n\n<left>", "مرحبا", "a\n<left>"]


def texts(path, variant, folder, count):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as file:
        document = change(json.load(file), variant)
    changed = json.dumps(document, ensure_ascii=False)
    with open(folder + "/tokenizer.json", "w", encoding="utf-8") as file:
        file.write(changed)
    tokenizer = Tokenizer.from_str(changed)
    generator = random.Random(variant)
    prepended = {token["id"] for token in document["added_tokens"] if token["normalized"] and "Prepend" in changed}
    with open(folder + "/vectors.jsonl", "w", encoding="utf-8") as file:
        for index in range(count):
            text = EXTRA[index] if index < len(EXTRA) else random_text(generator)
            if variant == "flags" and index >= len(EXTRA):
                text = "".join(generator.choice(EXTRA) + text[at:at + 9] for at in range(0, len(text), 9))
            ids = tokenizer.encode(text).ids
            # An added token that is normalised with Prepend decodes with a space that the text need not have had.
            decoded = None if not prepended.isdisjoint(ids) else tokenizer.decode(ids)
            file.write(json.dumps({"text": text, "ids": ids, "bare": tokenizer.encode(text, add_special_tokens=False).ids,
                                   "decoded": decoded}) + "\n")


def pieces(patterns_path, out, count):
    with open(patterns_path, encoding="utf-8") as file:
        rows = [Sequence([Split(Regex(pattern), "isolated") for pattern in row]) for row in json.load(file)]
    generator = random.Random("pieces")
    with open(out, "w", encoding="utf-8") as file:
        for _ in range(count):
            text = random_text(generator)
            cut = [[text[a:b] for _, (a, b) in row.pre_tokenize_str(text)] for row in rows]
            file.write(json.dumps({"text": text, "pieces": cut}) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "texts":
        texts(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
    else:
        pieces(sys.argv[2], sys.argv[3], int(sys.argv[4]))
