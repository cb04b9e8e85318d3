"""Trains the seedling's byte-level BPE tokenizer and writes tokenizer.json and tokenizer_config.json."""

import argparse
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import corpus

PAD = "<|pad|>"
CONTEXT = 256


def train(texts: list[str], size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[corpus.END, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpora", type=Path, required=True, help="folder with tinystories*.txt and books/AUTHOR/*.md")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write into")
    parser.add_argument("--size", type=int, default=2048)
    args = parser.parse_args()

    # Stories count eight times: the merges should spend themselves on short everyday words.
    tokenizer = train(corpus.stories(args.corpora) * 8 + corpus.books(args.corpora), args.size)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(args.out / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": corpus.END,
        "eos_token": corpus.END,
        "pad_token": PAD,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
    }
    (args.out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    print(f"{tokenizer.get_vocab_size()} tokens")
