"""SST-2 rows as token batches, in the two forms the peers are timed in.

published  every option of an example is a row of its own, left-padded to a multiple of 8 (MeZO's large_models program)
lean       one right-padded row an example: the prompt alone; its last position predicts the option's only token
"""

import json
import random
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

OPTIONS = (" terrible", " great")


@dataclass(frozen=True)
class Batch:
    ids: torch.Tensor  # [rows, length]
    mask: torch.Tensor  # [rows, length], 1 at real tokens
    option_lengths: tuple[int, ...]  # tokens of each row's option; empty in the lean form
    option_ids: torch.Tensor  # [options], the lean form's columns; empty in the published form
    labels: torch.Tensor  # [examples]

    @property
    def tokens_padded(self) -> int:
        return self.ids.numel()

    @property
    def tokens_real(self) -> int:
        return int(self.mask.sum())


def read_rows(path: str) -> list[dict]:
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def choose_rows(path: str, count: int, seed: int) -> list[dict]:
    """The first `count` rows of a seeded shuffle."""
    rows = read_rows(path)
    return random.Random(seed).sample(rows, min(count, len(rows)))


def prompt_of(row: dict) -> str:
    return f"{row['sentence'].strip()} It was"


def labels_of(rows: list[dict]) -> torch.Tensor:
    return torch.tensor([int(row["label"]) for row in rows])


def padded(rows: list[list[int]], pad: int, side: str, multiple: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of ids as one rectangle [rows, length], and its mask."""
    longest = max(map(len, rows))
    length = -(-longest // multiple) * multiple
    ids = torch.full((len(rows), length), pad)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        place = slice(length - len(row), length) if side == "left" else slice(0, len(row))
        ids[index, place] = torch.tensor(row)
        mask[index, place] = 1
    return ids, mask


def published_batch(tokenizer: Tokenizer, rows: list[dict], pad: int) -> Batch:
    sequences, option_lengths = [], []
    for prompt in map(prompt_of, rows):
        prompt_length = len(tokenizer.encode(prompt).ids)
        for option in OPTIONS:
            sequences.append(tokenizer.encode(prompt + option).ids)
            option_lengths.append(len(sequences[-1]) - prompt_length)
    ids, mask = padded(sequences, pad, side="left", multiple=8)
    return Batch(ids, mask, tuple(option_lengths), torch.empty(0, dtype=torch.long), labels_of(rows))


def lean_batch(tokenizer: Tokenizer, rows: list[dict], pad: int) -> Batch:
    option_ids = [tokenizer.encode(option).ids[-1] for option in OPTIONS]
    sequences = []
    for prompt in map(prompt_of, rows):
        ids = tokenizer.encode(prompt).ids
        for option, option_id in zip(OPTIONS, option_ids):
            if tokenizer.encode(prompt + option).ids != [*ids, option_id]:
                raise SystemExit(f"the lean form needs options of one token; {option!r} is not one after {prompt!r}")
        sequences.append(ids)
    ids, mask = padded(sequences, pad, side="right")
    return Batch(ids, mask, (), torch.tensor(option_ids), labels_of(rows))
