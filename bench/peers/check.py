"""Checks the peers before they are timed: python check.py --model FOLDER --data VALIDATION.jsonl [--limit 100]

Both forms give the same loss and the same predictions; the walks return to where they began; MeZO's step is its
formula; both forms make the same step; LoRA begins as the base model; AdamW lowers the loss, checkpointed or not.
"""

import argparse

import torch
import transformers

from batches import read_rows
from losses import FORMS, loss_of
from models import add_lora, checkpoint_layers, load, trainable
from steps import PERTURBATIONS, WALKS, adam, mezo, timed


def expect(condition: bool, claim: str) -> None:
    print(("ok   " if condition else "FAIL ") + claim, flush=True)
    if not condition:
        raise SystemExit(1)


def toy() -> tuple[list[tuple[str, torch.nn.Parameter]], torch.Tensor]:
    torch.manual_seed(1)
    return [("weight", torch.nn.Parameter(torch.randn(3, 40)))], torch.randn(40)


def check_steps() -> None:
    epsilon, rate, seed = 1e-3, 1e-2, 7
    for draw_name, draw in PERTURBATIONS.items():
        steps = []
        for form, (walk, _) in WALKS.items():
            parameters, x = toy()
            weight = parameters[0][1]
            before = weight.detach().clone()
            for scale in (1, -2, 1):
                walk(parameters, draw, seed, scale, epsilon)
            expect(torch.allclose(weight, before, atol=1e-6), f"{form}, {draw_name}: the walks return")
            torch.manual_seed(seed)
            z = draw(weight)
            centred, scaled = abs(z.mean().item()) < 0.4, 0.6 < z.std().item() < 1.4
            expect(centred and scaled, f"{form}, {draw_name}: z has mean 0 and variance 1")
            slope = (2 * (before @ x).unsqueeze(-1) * x * z).sum().item()  # of |W x|^2 along z
            mezo(form, parameters, lambda: (weight @ x).square().sum(), draw, epsilon, rate)(seed)
            relative = (weight - (before - rate * slope * z)).norm() / (rate * slope * z).norm()
            expect(relative.item() < 1e-2, f"{form}, {draw_name}: the step is -rate slope z")
            steps.append(weight.detach() - before)
        difference = (steps[0] - steps[1]).norm() / steps[0].norm()
        expect(difference.item() < 1e-2, f"{draw_name}: both forms make the same step")


def check_model(folder: str, rows: list[dict]) -> None:
    model, tokenizer, pad = load(folder, "float32", "full")
    scores = {form: [] for form in FORMS}
    for at in range(0, len(rows), 16):
        losses = []
        for form, (make_batch, score) in FORMS.items():
            batch = make_batch(tokenizer, rows[at : at + 16], pad)
            with torch.inference_mode():
                found = score(model, batch)
            scores[form].append(found)
            losses.append(loss_of(found, batch).item())
        if abs(losses[0] - losses[1]) > 1e-4:
            expect(False, f"rows {at}..: the forms' losses differ: {losses}")
    labels = torch.tensor([int(row["label"]) for row in rows])
    predicted = {form: torch.cat(parts).argmax(-1) for form, parts in scores.items()}
    correct = {form: int((found == labels).sum()) for form, found in predicted.items()}
    expect(torch.equal(*predicted.values()), f"both forms predict the same: correct of {len(rows)}: {correct}")

    make_batch, score = FORMS["lean"]
    batch = make_batch(tokenizer, rows[:4], pad)

    def loss() -> torch.Tensor:
        return loss_of(score(model, batch), batch)

    base, _ = timed(loss)
    add_lora(model)
    expect(timed(loss)[0] == base, "LoRA begins as the base model")
    names = {name.split(".")[-2] for name, _ in trainable(model)}
    expect(names == {"lora_A", "lora_B"}, "LoRA trains its own matrices only")
    start = {name: parameter.detach().clone() for name, parameter in trainable(model)}
    for checkpointing in (False, True):
        with torch.no_grad():
            for name, parameter in trainable(model):
                parameter.copy_(start[name])
        if checkpointing:
            checkpoint_layers(model)
        step = adam(trainable(model), loss, 1e-3)
        for seed in range(3):
            step(seed)
        after, _ = timed(loss)
        expect(after < base - 1e-2, f"AdamW lowers the loss, checkpointing {checkpointing}: {base:.4f} to {after:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.utils.logging.disable_progress_bar()
    check_steps()
    check_model(options.model, read_rows(options.data)[: options.limit])


if __name__ == "__main__":
    main()
