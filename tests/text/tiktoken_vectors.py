"""Makes a vocabulary as Kimi's folders have it, and the ids of random texts by the plainest reading of its algorithm.

usage: tiktoken_vectors.py VARIANT CORPUS OUT_FOLDER COUNT
       OUT_FOLDER/tiktoken.model and tokenizer_config.json; VARIANT: trained (byte-pair encoding of the corpus), or random (pieces
       of it in any order, most of which no merges reach);
       OUT_FOLDER/vectors.jsonl: a line a text: {"text", "ids", "plain" (no special tokens in text), "decoded"}
       Where the tiktoken package can be imported, it must agree.
"""

import base64
import json
import random
import re
import sys

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tokenizer_vectors import WORDS, random_text

try:
    import tiktoken
except ImportError:
    tiktoken = None

# As the Python file in those folders has it.
PATTERN = "|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
SPLIT = pre_tokenizers.Split(Regex(PATTERN), "isolated")
SPECIAL = {"[BOS]": True, "[EOS]": True, "<|im_end|>": True, "<|tool_call_begin|>": False, "[UNK]": True, "[PAD]": True}


def trained(corpus):
    """Tokens in the order in which they came about."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [SPLIT, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=3000, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    letters = {}
    for byte in range(256):
        itself = 0x21 <= byte <= 0x7E or 0xA1 <= byte and byte != 0xAD
        letters[chr(byte if itself else 256 + sum(1 for b in range(byte) if not (0x21 <= b <= 0x7E or 0xA1 <= b and b != 0xAD)))] = byte
    ranks = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return [bytes(letters[letter] for letter in text) for text, _ in ranks]


def scattered(corpus, generator):
    data = "\n".join(corpus).encode()
    pieces = {data[at:at + generator.randrange(2, 7)] for at in (generator.randrange(len(data) - 8) for _ in range(4000))}
    tokens = [bytes([byte]) for byte in range(256)] + sorted(pieces)
    generator.shuffle(tokens)
    return tokens


def encode_piece(piece, ranks):
    if piece in ranks:
        return [ranks[piece]]
    parts = [piece[at:at + 1] for at in range(len(piece))]
    while True:
        best = min(((ranks[parts[at] + parts[at + 1]], at) for at in range(len(parts) - 1)
                    if parts[at] + parts[at + 1] in ranks), default=None)
        if best is None:
            return [ranks[part] for part in parts]
        at = best[1]
        parts[at:at + 2] = [parts[at] + parts[at + 1]]


def encode(text, ranks, special):
    pattern = "(" + "|".join(map(re.escape, special)) + ")" if special else "(?!)()"
    ids = []
    for part in re.split(pattern, text) if special else [text]:
        if part in special:
            ids.append(special[part])
        elif part:
            for piece, _ in SPLIT.pre_tokenize_str(part):
                ids += encode_piece(piece.encode(), ranks)
    return ids


def main(variant, corpus, folder, count):
    generator = random.Random(variant)
    with open(corpus, encoding="utf-8") as file:
        lines = file.read(200_000).splitlines() + [" ".join(generator.choices(WORDS, k=12)) for _ in range(400)]
    tokens = trained(lines) if variant == "trained" else scattered(lines, generator)
    ranks = {token: rank for rank, token in enumerate(tokens)}
    with open(folder + "/tiktoken.model", "wb") as file:
        for token, rank in ranks.items():
            file.write(base64.b64encode(token) + b" %d\n" % rank)
    special = {text: len(tokens) + 2 * index for index, text in enumerate(SPECIAL)}  # with gaps, as there
    with open(folder + "/tokenizer_config.json", "w", encoding="utf-8") as file:
        json.dump({"added_tokens_decoder": {
            str(special[text]): dict(content=text, lstrip=False, normalized=False, rstrip=False, single_word=False, special=hidden)
            for text, hidden in SPECIAL.items()},
            "bos_token": "[BOS]", "eos_token": "[EOS]", "unk_token": "[UNK]", "pad_token": "[PAD]",
            "clean_up_tokenization_spaces": False, "tokenizer_class": "TikTokenTokenizer"}, file)
    package = tiktoken and tiktoken.Encoding("test", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)
    shown = {text: token for text, token in special.items() if not SPECIAL[text]}  # always tokens here
    texts = {rank: token for token, rank in ranks.items()} | {token: text.encode() for text, token in special.items()}
    hidden = {token for text, token in special.items() if SPECIAL[text]}
    with open(folder + "/vectors.jsonl", "w", encoding="utf-8") as file:
        for index in range(count):
            text = random_text(generator)
            if index % 3 == 0:
                text = "".join(generator.choice(list(SPECIAL)) + text[at:at + 9] for at in range(0, len(text), 9))
            ids, plain = encode(text, ranks, special), encode(text, ranks, shown)
            assert not package or ids == package.encode(text, allowed_special="all")
            decoded = b"".join(texts[token] for token in ids if token not in hidden).decode(errors="replace")
            file.write(json.dumps({"text": text, "ids": ids, "plain": plain, "decoded": decoded}) + "\n")


main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
