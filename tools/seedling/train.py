"""Trains the seedling and writes its hub layout. Stop it at any time: the folder always holds the latest checkpoint."""

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

import corpus
from llama import CONFIG, Llama, initialise

CONTEXT = CONFIG["max_position_embeddings"]


class Stream:
    """Documents end to end, an end token after each; rows begin where a paragraph begins, as prompts do."""

    def __init__(self, documents: list[str], tokenizer: Tokenizer):
        newline, end = tokenizer.token_to_id("Ċ"), tokenizer.token_to_id(corpus.END)
        self.ids = torch.tensor([i for e in tokenizer.encode_batch(documents) for i in (*e.ids, end)])
        starts = torch.nonzero((self.ids == newline) | (self.ids == end)).squeeze(1) + 1
        self.starts = torch.cat([torch.zeros(1, dtype=torch.long), starts[starts < len(self.ids) - CONTEXT - 1]])

    def rows(self, n: int, generator: torch.Generator) -> Tensor:
        """[n, CONTEXT + 1]"""
        starts = self.starts[torch.randint(len(self.starts), (n,), generator=generator)]
        return self.ids[starts[:, None] + torch.arange(CONTEXT + 1)]


def loss_of(model: Llama, rows: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(rows[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten())


@torch.inference_mode()
def validate(model: Llama, streams: dict[str, Stream]) -> dict[str, float]:
    generator = torch.Generator().manual_seed(1)
    return {name: round(loss_of(model, s.rows(48, generator)).item(), 4) for name, s in streams.items()}


@torch.inference_mode()
def sample(model: Llama, tokenizer: Tokenizer, prompt: str, length: int = 60, temperature: float = 0.7) -> str:
    generator = torch.Generator().manual_seed(2)
    ids = tokenizer.encode(prompt).ids
    for _ in range(length):
        p = F.softmax(model(torch.tensor([ids]))[0, -1] / temperature, dim=-1)
        ids.append(torch.multinomial(p, 1, generator=generator).item())
        if ids[-1] == CONFIG["eos_token_id"]:
            break
    return tokenizer.decode(ids)


def save(model: Llama, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: p.detach().to(torch.bfloat16).contiguous() for name, p in model.named_parameters()}
    save_file(weights, out / "model.safetensors.part", metadata={"format": "pt"})
    (out / "model.safetensors.part").replace(out / "model.safetensors")
    (out / "model.safetensors").chmod(0o644)
    generation = {key: CONFIG[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    (out / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    (out / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpora", type=Path, required=True, help="folder with tinystories*.txt and books/AUTHOR/*.md")
    parser.add_argument("--out", type=Path, required=True, help="model folder; holds tokenizer.json already")
    parser.add_argument("--minutes", type=float, default=25, help="wall time; the schedule follows the clock")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=16, help="rows of 256 tokens a step")
    parser.add_argument("--stories", type=float, default=0.5, help="fraction of rows from TinyStories")
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--compile", action="store_true", help="torch.compile; twice as fast, needs a C++ compiler")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = Tokenizer.from_file(str(args.out / "tokenizer.json"))
    shelves = {"stories": corpus.held_out(corpus.stories(args.corpora)), "books": corpus.held_out(corpus.books(args.corpora))}
    training = {name: Stream(kept, tokenizer) for name, (kept, _) in shelves.items()}
    validation = {name: Stream(held, tokenizer) for name, (_, held) in shelves.items()}

    model = Llama(CONFIG)
    initialise(model)
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    optimizers = [
        torch.optim.Muon(matrices, lr=args.learning_rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=args.learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    print(f"{sum(p.numel() for p in model.parameters())} parameters; "
          + ", ".join(f"{len(s.ids)} {name} tokens" for name, s in training.items()), flush=True)

    compiled = torch.compile(loss_of) if args.compile else loss_of
    generator = torch.Generator().manual_seed(args.seed)
    began, step, smoothed, told, saved = time.time(), 0, None, 0.0, 0.0
    while (progress := (time.time() - began) / (60 * args.minutes)) < 1:
        rate = args.learning_rate * min(1, (step + 1) / 100) * (1 - 0.95 * progress)
        from_stories = round(args.rows * args.stories)
        rows = torch.cat([training["stories"].rows(from_stories, generator), training["books"].rows(args.rows - from_stories, generator)])
        loss = compiled(model, rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        smoothed = loss.item() if smoothed is None else 0.98 * smoothed + 0.02 * loss.item()
        elapsed = time.time() - began
        if elapsed - told > 15:
            told = elapsed
            print(f"step {step} loss {smoothed:.3f} {step * args.rows * CONTEXT / elapsed:.0f} tokens/s {elapsed / 60:.1f} min", flush=True)
        if elapsed - saved > 120:
            saved = elapsed
            save(model, args.out)
            print("validation", validate(model, validation), flush=True)
    save(model, args.out)
    print(f"step {step} loss {smoothed:.3f} validation {validate(model, validation)}")
    for prompt in ("Once upon a time", "Lily lost her ball. She felt"):
        print("»", sample(model, tokenizer, prompt))
