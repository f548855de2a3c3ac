"""Trains a small Unigram model and writes what its own package makes of random texts.

usage: unigram_vectors.py VARIANT CORPUS OUT_FOLDER COUNT
       Trained with the tokenizers package, OUT_FOLDER/tokenizer.json; as VARIANT says:
           t5, xlmr          as those models' files are: SentencePiece's character maps (nmt_nfkc, nmt_nfkc_cf)
           words             NFKC, and Metaspace over words
           lattice           no normaliser and no words: one piece a text
           bytes             characters that are no token become bytes
           ties              all tokens alike likely, over two letters
           steps             Strip, Replace and NFD in turn, the added tokens' flags
       or with the sentencepiece package, OUT_FOLDER/model.gguf:
           sp_nfkc, sp_plain with and without a character map and the removal of extra spaces
           sp_bytes          characters that are no token become bytes
       OUT_FOLDER/vectors.jsonl: a line a text: {"text", "ids", "bare" (without special tokens), "decoded"}
"""

import base64
import io
import json
import random
import sys

import gguf
import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tokenizer_vectors import EXTRA, WORDS, added, random_text

SPECIAL = ["<pad>", "</s>", "<unk>"]


def corpus_lines(path):
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file.read(400_000).splitlines() if line.strip()]
    generator = random.Random("corpus")
    return lines + [" ".join(generator.choices(WORDS, k=12)) for _ in range(400)]


def train_sentencepiece(lines, rule, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="unigram", vocab_size=1600, hard_vocab_limit=False,
        normalization_rule_name=rule, character_coverage=0.998, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
        num_threads=1, **options)
    return model.getvalue()


def fields(message):
    """(number, value) of a protocol buffer's fields: integers, and bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = varint()
        size = {0: None, 1: 8, 5: 4}.get(tag & 7)
        if tag & 7 == 0:
            yield tag >> 3, varint()
            continue
        size = varint() if tag & 7 == 2 else size
        yield tag >> 3, message[at:at + size]
        at += size


def map_of(model):
    """normalizer_spec.precompiled_charsmap of a model file."""
    return dict(fields(dict(fields(model))[3])).get(2, b"")


def character_map(rule):
    return base64.b64encode(map_of(train_sentencepiece(["a b c d e f g"] * 20, rule))).decode()


def train_unigram(lines, normalizer, pre_tokenizer, size=1500):
    tokenizer = Tokenizer(models.Unigram())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(lines, trainers.UnigramTrainer(
        vocab_size=size, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False))
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return json.loads(tokenizer.to_str())


def with_vocabulary(document, entries, **model):
    """The model's own tokens for others: special ones first."""
    document["model"]["vocab"] = [[text, 0.0] for text in SPECIAL] + entries
    document["model"].update(model)
    return document


def build(variant, lines):
    metaspace = pre_tokenizers.Metaspace()
    two_spaces = Regex(" {2,}")
    if variant == "t5":
        document = train_unigram(lines, normalizers.NFKC(), metaspace)
        document["normalizer"] = {"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": character_map("nmt_nfkc")},
            {"type": "Strip", "strip_left": False, "strip_right": True},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}]}
    elif variant == "xlmr":
        document = train_unigram(lines, normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]), metaspace)
        document["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": character_map("nmt_nfkc_cf")}
        document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"}, document["pre_tokenizer"]]}
    elif variant == "words":
        document = train_unigram(lines, normalizers.NFKC(), metaspace)
    elif variant == "lattice":
        # Trained on words (whole lines would give no vocabulary), used on whole texts.
        document = train_unigram(lines, None, metaspace)
        document["pre_tokenizer"].update(split=False, prepend_scheme="first")
    elif variant == "bytes":
        document = train_unigram(lines, None, metaspace)
        document["model"]["vocab"] += [["<0x%02X>" % byte, 0.0] for byte in range(256)]
        document["model"]["byte_fallback"] = True
        document["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, document["decoder"]]}
    elif variant == "ties":
        document = train_unigram(lines[:9], None, pre_tokenizers.Metaspace(split=False), 50)
        texts = ["▁", "a", "b", "aa", "ab", "ba", "bb", "aaa", "aba", "▁a", "b▁", "a▁b", "abab", "aab"]
        with_vocabulary(document, [[text, -1.1 * len(text) - 0.1] for text in texts])
    else:
        assert variant == "steps", variant
        document = train_unigram(lines, normalizers.Sequence(
            [normalizers.Strip(), normalizers.Replace("the", "THE"), normalizers.NFD(),
             normalizers.Replace(Regex(r"[.,!?]+(?=\s|$)|(?<=\d)(?=\d)"), "·"), normalizers.Replace(two_spaces, " ")]), metaspace)
        for text, flags in [("<left>", dict(lstrip=True, special=True)), ("<right>", dict(rstrip=True)),
                            ("<both>", dict(lstrip=True, rstrip=True)), ("word", dict(single_word=True)), ("<le", {}),
                            ("the Ångström", dict(normalized=True)), ("zwei Worte", dict(normalized=True))]:
            document["added_tokens"].append(added(len(document["model"]["vocab"]) + len(document["added_tokens"]) - 3,
                                                  text, **flags))
    return document


def write_gguf(model, processor, remove_extra, path):
    def kind(piece):
        return (gguf.TokenType.UNKNOWN if processor.is_unknown(piece) else gguf.TokenType.CONTROL
                if processor.is_control(piece) else gguf.TokenType.BYTE if processor.is_byte(piece) else gguf.TokenType.NORMAL)

    ids = range(processor.get_piece_size())
    writer = gguf.GGUFWriter(path, "t5")
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([processor.id_to_piece(piece).encode() for piece in ids])
    writer.add_token_scores([processor.get_score(piece) for piece in ids])
    writer.add_token_types([kind(piece) for piece in ids])
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(remove_extra)
    if map_of(model):
        writer.add_precompiled_charsmap(map_of(model))
    writer.add_unk_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def sample(variant, index, generator):
    if variant == "ties":
        return "".join(generator.choice("aaabbb ") for _ in range(generator.randrange(200)))
    if variant == "steps" and index % 2 == 0:
        text = random_text(generator)
        return "".join(generator.choice(EXTRA) + text[at:at + 9] for at in range(0, len(text), 9))
    text = random_text(generator)
    # The package takes the texts of byte tokens for the bytes, here they stay text.
    return text.replace("<0x", "<0y") if variant == "bytes" else text


def main(variant, corpus, folder, count):
    lines = corpus_lines(corpus)
    generator = random.Random(variant)
    if variant.startswith("sp_"):
        model = train_sentencepiece(lines, "identity" if variant == "sp_plain" else "nmt_nfkc",
                                    byte_fallback=variant == "sp_bytes", remove_extra_whitespaces=variant != "sp_plain")
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        write_gguf(model, processor, variant != "sp_plain", folder + "/model.gguf")
        encode = lambda text: processor.encode(text)
        decode = processor.decode
    else:
        changed = json.dumps(build(variant, lines), ensure_ascii=False)
        with open(folder + "/tokenizer.json", "w", encoding="utf-8") as file:
            file.write(changed)
        tokenizer = Tokenizer.from_str(changed)
        encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
        decode = tokenizer.decode
    with open(folder + "/vectors.jsonl", "w", encoding="utf-8") as file:
        for index in range(count):
            text = sample(variant, index, generator)
            bare = encode(text)
            file.write(json.dumps({"text": text, "ids": bare + [1], "bare": bare, "decoded": decode(bare)}) + "\n")


main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
