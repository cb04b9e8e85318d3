"""Tunes LoRA on the quickstart's task with MeZO and tells the held-out accuracy before and after, for several seeds.

The rehearsal of `zeroth quickstart`, to choose its settings: two-sided SPSA, one query, cross-entropy over the options' logits.
All runs (seeds x learning rates x epsilons) advance together, each a slice of one batched forward pass.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from llama import Llama

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoRA(nn.Module):
    """A frozen linear with one side path a run: x [runs * rows, T, in]; a [runs, rank, in]; b [runs, out, rank]."""

    def __init__(self, linear: nn.Linear, scale: float):
        super().__init__()
        self.weight, self.scale, self.a, self.b = linear.weight, scale, None, None

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight)
        if self.a is None:
            return y
        runs = self.a.shape[0]
        side = torch.bmm(torch.bmm(x.reshape(runs, -1, x.shape[-1]), self.a.mT), self.b.mT)
        return y + self.scale * side.view_as(y)


def load(folder: Path) -> tuple[Llama, Tokenizer]:
    model = Llama(json.loads((folder / "config.json").read_text()))
    model.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


def adapt(model: Llama, targets: list[str], scale: float) -> list[LoRA]:
    adapters = []
    for layer in model.model.layers:
        for block in (layer.self_attn, layer.mlp):
            for name, child in list(block.named_children()):
                if name in targets:
                    adapters.append(LoRA(child, scale))
                    setattr(block, name, adapters[-1])
    return adapters


class Adapters:
    """All side paths of all runs as one matrix `values` [runs, parameters]."""

    def __init__(self, modules: list[LoRA], rank: int, seeds: list[int]):
        self.modules, self.rank = modules, rank
        rows = []
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            parts = []
            for m in modules:
                bound = m.weight.shape[1] ** -0.5  # kaiming-uniform with a = sqrt(5), as PEFT
                parts.append((torch.rand(rank * m.weight.shape[1], generator=generator) * 2 - 1) * bound)
                parts.append(torch.zeros(m.weight.shape[0] * rank))
            rows.append(torch.cat(parts))
        self.values = torch.stack(rows)

    def use(self, values: Tensor | None) -> None:
        offset = 0
        for m in self.modules:
            outs, ins = m.weight.shape
            if values is None:
                m.a = m.b = None
                continue
            m.a = values[:, offset : (offset := offset + self.rank * ins)].view(-1, self.rank, ins)
            m.b = values[:, offset : (offset := offset + outs * self.rank)].view(-1, outs, self.rank)


class Task:
    def __init__(self, path: Path, tokenizer: Tokenizer, prompt: str, options: list[str]):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        tokens = [tokenizer.encode(option).ids for option in options]
        assert all(len(t) == 1 for t in tokens), "each option must be one token"
        self.columns = torch.tensor([t[0] for t in tokens])
        encoded = [tokenizer.encode(prompt.format(**row)).ids for row in rows]
        self.last = torch.tensor([len(ids) - 1 for ids in encoded])
        self.ids = torch.tensor([ids + [1] * (1 + max(self.last) - len(ids)) for ids in encoded])
        self.labels = torch.tensor([[option.strip() for option in options].index(row["label"]) for row in rows])
        self.rows = rows

    def logits(self, model: Llama, chosen: Tensor) -> Tensor:
        """chosen [N] row numbers → logits of the options [N, options]."""
        last = self.last[chosen]
        hidden = model.hidden(self.ids[chosen, : last.max() + 1])
        return hidden[torch.arange(len(chosen)), last] @ model.model.embed_tokens.weight[self.columns].T


def accuracy(task: Task, model: Llama, runs: int) -> Tensor:
    """[runs], all rows."""
    everyone = torch.arange(len(task.rows))
    right = [task.logits(model, part.repeat(runs)).argmax(-1).view(runs, -1) == task.labels[part] for part in everyone.split(40)]
    return torch.cat(right, dim=1).float().mean(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--task", type=Path, required=True, help="folder with train.jsonl and validation.jsonl")
    parser.add_argument("--prompt", default="{text} {name} was so")
    parser.add_argument("--options", default=" sad, happy")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=16)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[3e-4])
    parser.add_argument("--epsilons", type=float, nargs="+", default=[1e-2])
    parser.add_argument("--schedule", choices=["constant", "linear"], default="constant")
    parser.add_argument("--rademacher", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=100)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    with torch.inference_mode():
        model, tokenizer = load(args.model)
        options = args.options.split(",")
        train, held = (Task(args.task / f"{n}.jsonl", tokenizer, args.prompt, options) for n in ("train", "validation"))
        scores = held.logits(model, torch.arange(len(held.rows)))
        margin = (scores[:, 1] - scores[:, 0]) if len(options) == 2 else torch.zeros(len(held.rows))
        ranks = (margin[held.labels == 1][:, None] > margin[held.labels == 0][None]).float().mean().item()
        share = torch.bincount(scores.argmax(-1), minlength=len(options)) / len(held.rows)
        print(f"untuned: held out {accuracy(held, model, 1).item():.3f}, training {accuracy(train, model, 1).item():.3f}; "
              f"answers {[round(s, 2) for s in share.tolist()]}; AUC {ranks:.3f}; "
              f"tokens a row {(held.last + 1).float().mean():.1f}, at most {max(held.last.max(), train.last.max()) + 1}", flush=True)

        runs = list(itertools.product(args.learning_rates, args.epsilons, args.seeds))
        rates = torch.tensor([r for r, _, _ in runs])[:, None]
        epsilons = torch.tensor([e for _, e, _ in runs])[:, None]
        adapters = Adapters(adapt(model, args.targets.split(","), args.alpha / args.rank), args.rank, [s for _, _, s in runs])
        theta = adapters.values
        noise = torch.Generator().manual_seed(1000 + args.seeds[0])
        orders = [torch.Generator().manual_seed(seed) for _, _, seed in runs]
        queue = [torch.empty(0, dtype=torch.long) for _ in runs]
        print(f"{theta.shape[1]} parameters, {len(runs)} runs", flush=True)

        def losses(values: Tensor, rows: Tensor) -> Tensor:
            adapters.use(values)
            wrong = F.cross_entropy(train.logits(model, rows.flatten()), train.labels[rows.flatten()], reduction="none")
            return wrong.view(len(runs), -1).mean(1, keepdim=True)

        began, smoothed = time.time(), None
        for step in range(1, args.steps + 1):
            queue = [torch.cat([q, torch.randperm(len(train.rows), generator=g)]) if len(q) < args.batch else q for q, g in zip(queue, orders)]
            rows, queue = torch.stack([q[: args.batch] for q in queue]), [q[args.batch :] for q in queue]
            z = torch.empty_like(theta).normal_(generator=noise)
            z = z.sign() if args.rademacher else z
            up, down = losses(theta + epsilons * z, rows), losses(theta - epsilons * z, rows)
            decay = 1 - (step - 1) / args.steps if args.schedule == "linear" else 1
            theta -= rates * decay * (up - down) / (2 * epsilons) * z
            now = (up + down) / 2
            smoothed = now if smoothed is None else 0.98 * smoothed + 0.02 * now
            if step % args.every == 0 or step == args.steps:
                adapters.use(theta)
                got = accuracy(held, model, len(runs))
                print(f"step {step} ({time.time() - began:.0f} s)", flush=True)
                for rate, epsilon in itertools.product(args.learning_rates, args.epsilons):
                    mine = [i for i, (r, e, _) in enumerate(runs) if (r, e) == (rate, epsilon)]
                    print(f"  lr {rate:g} eps {epsilon:g}: held out {[round(got[i].item(), 3) for i in mine]}, "
                          f"loss {[round(smoothed[i].item(), 3) for i in mine]}", flush=True)
