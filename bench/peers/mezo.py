"""Times fine-tuning steps of a language model in PyTorch on the CPU: the peer that `npm run bench` is measured against.

    python mezo.py --model FOLDER (--data TRAIN.jsonl | --rows-file ROWS.jsonl) --form published|lean --method full|lora

Exit codes: 0 done, 2 usage, 3 the Python packages of requirements.txt are missing.
"""

import argparse
import json
import random
import resource
import statistics
import sys
import time

try:
    import torch
    import transformers
except ImportError as missing:
    print(f"peers: {missing}; pip install -r requirements.txt", file=sys.stderr)
    sys.exit(3)

from batches import choose_rows, read_rows
from losses import FORMS, loss_of
from models import METHODS, checkpoint_layers, load, trainable
from steps import PERTURBATIONS, adam, mezo, timed

# (optimizer, method) -> (learning rate, epsilon): the papers' usual ones; time does not depend on them
DEFAULTS = {
    ("mezo", "full"): (1e-6, 1e-3),
    ("mezo", "lora"): (1e-4, 1e-2),
    ("adam", "full"): (1e-5, None),
    ("adam", "lora"): (5e-4, None),
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="hub folder: config.json, model.safetensors, tokenizer.json")
    rows = parser.add_mutually_exclusive_group(required=True)
    rows.add_argument("--data", help="JSONL of {sentence, label}; the batch is the first rows of a seeded shuffle")
    rows.add_argument("--rows-file", help="JSONL of {sentence, label}; all of it is the batch")
    parser.add_argument("--form", choices=FORMS, default="published")
    parser.add_argument("--method", choices=METHODS, default="full")
    parser.add_argument("--optimizer", choices=("mezo", "adam"), default="mezo")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--perturbation", choices=PERTURBATIONS, default="gaussian")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5, help="timed steps")
    parser.add_argument("--warmup", type=int, default=1, help="steps before them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpointing", action="store_true", help="adam: recompute each layer in the backward pass")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--epsilon", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.checkpointing and options.optimizer != "adam":
        parser.error("--checkpointing needs --optimizer adam: MeZO keeps no activations")
    if options.steps < 1 or options.warmup < 0 or options.batch_size < 1 or options.threads < 1:
        parser.error("--steps, --batch-size and --threads are at least 1, --warmup at least 0")
    return options


def peak_rss_bytes() -> int:
    """The process's largest resident set so far (bytes on macOS, KiB elsewhere)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(options: argparse.Namespace) -> dict:
    torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    torch.manual_seed(options.seed)
    transformers.utils.logging.disable_progress_bar()

    model, tokenizer, pad = load(options.model, options.dtype, options.method)
    rows = (
        read_rows(options.rows_file)
        if options.rows_file
        else choose_rows(options.data, options.batch_size, options.seed)
    )
    make_batch, scores = FORMS[options.form]
    batch = make_batch(tokenizer, rows, pad)
    rss_after_load = peak_rss_bytes()

    def loss() -> torch.Tensor:
        return loss_of(scores(model, batch), batch)

    parameters = trainable(model)
    default_rate, default_epsilon = DEFAULTS[options.optimizer, options.method]
    rate = default_rate if options.learning_rate is None else options.learning_rate
    epsilon = default_epsilon if options.epsilon is None else options.epsilon
    if options.optimizer == "mezo":
        step = mezo(options.form, parameters, loss, PERTURBATIONS[options.perturbation], epsilon, rate)
    else:
        if options.checkpointing:
            checkpoint_layers(model)
        step = adam(parameters, loss, rate)

    unperturbed, _ = timed(loss)
    seeds = random.Random(options.seed)
    done, seconds, cpu_seconds = [], [], []
    for _ in range(options.warmup + options.steps):
        start, cpu_start = time.perf_counter(), time.process_time()
        done.append(step(seeds.randrange(10**9)))
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    peak_rss = peak_rss_bytes()
    forwards = [second for one in done[options.warmup :] for second in one.forwards] or [
        timed(loss)[1] for _ in range(options.steps)
    ]
    is_mezo = options.optimizer == "mezo"
    return {
        "form": options.form,
        "method": options.method,
        "dtype": options.dtype,
        "optimizer": options.optimizer,
        "checkpointing": options.checkpointing,
        "perturbation": options.perturbation if is_mezo else None,
        "secondsPerStep": statistics.median(seconds[options.warmup :]),
        "secondsPerForward": statistics.median(forwards),
        "cpuSecondsPerStep": statistics.median(cpu_seconds[options.warmup :]),
        "steps": options.steps,
        "loss": {"unperturbed": unperturbed, "plusEpsilon": done[0].loss if is_mezo else None},
        "peakRssBytes": peak_rss,
        "peakRssAfterLoadBytes": rss_after_load,
        "threads": options.threads,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "rows": len(rows),
        "tokensPadded": batch.tokens_padded,
        "tokensReal": batch.tokens_real,
        "trainableParameters": sum(parameter.numel() for _, parameter in parameters),
    }


def main() -> None:
    options = parse()
    result = measure(options)
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"{result['optimizer']} {result['method']}, {result['form']}, {result['dtype']}: "
        f"{result['secondsPerStep']:.3f} s a step, {result['secondsPerForward']:.3f} s a forward, "
        f"{result['peakRssBytes'] / 2**20:.0f} MiB, loss {result['loss']['unperturbed']:.4f}"
    )


if __name__ == "__main__":
    main()
