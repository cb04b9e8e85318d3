"""Checks the seedling: its logits are those of transformers' Llama, its text round-trips, and it never read the quickstart's rows."""

import argparse
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import corpus
from try_mezo import load

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--corpora", type=Path, required=True)
    args = parser.parse_args()

    torch.set_num_threads(1)
    rows = [json.loads(line) for path in sorted(args.task.glob("*.jsonl")) for line in path.read_text().splitlines()]

    ours, tokenizer = load(args.model)
    theirs = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    encoder = AutoTokenizer.from_pretrained(args.model)
    for text in ["Once upon a time", *(row["text"] for row in rows)]:
        ids = tokenizer.encode(text).ids
        assert encoder.encode(text) == ids and tokenizer.decode(ids) == text and encoder.decode(ids) == text, text
    ids = torch.randint(2, 2048, (4, 256), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        difference = (ours(ids) - theirs(ids).logits).abs().max().item()
    print(f"largest difference from transformers' logits: {difference:.1e}")
    assert difference < 1e-3

    read = " ".join("\n".join(corpus.stories(args.corpora) + corpus.books(args.corpora)).lower().split())
    known = [row["text"] for row in rows if row["text"].lower() in read]
    print(f"{len(known)} of {len(rows)} task rows occur in the pretraining text")
    assert not known
