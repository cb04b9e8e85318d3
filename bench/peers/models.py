"""The model as transformers loads it from a hub folder, and LoRA on its q and v projections."""

import json
import math
import os

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModelForCausalLM

METHODS = ("full", "lora")


class LoraLinear(nn.Module):
    """x W^T + (alpha / r) x A^T B^T, as PEFT computes it without dropout; A and B in the base's dtype, as in MeZO."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float):
        super().__init__()
        self.base = base
        self.scale = alpha / rank
        kind = {"bias": False, "dtype": base.weight.dtype}
        self.lora_A = nn.Linear(base.in_features, rank, **kind)
        self.lora_B = nn.Linear(rank, base.out_features, **kind)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.lora_B(self.lora_A(x)) * self.scale


def add_lora(model: nn.Module, rank: int = 8, alpha: float = 16, targets: tuple = ("q_proj", "v_proj")) -> None:
    model.requires_grad_(False)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if name in targets:
                setattr(module, name, LoraLinear(child, rank, alpha))


def load(folder: str, dtype: str, method: str) -> tuple[nn.Module, Tokenizer, int]:
    """The model (in eval mode: nothing random in it), its tokenizer, and the padding id."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True).eval()
    if method == "lora":
        add_lora(model)
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    pad = config.get("pad_token_id")
    return model, Tokenizer.from_file(os.path.join(folder, "tokenizer.json")), 0 if pad is None else pad


def checkpoint_layers(model: nn.Module) -> None:
    """Every layer keeps its input only and runs again in the backward pass."""
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()  # transformers checkpoints in training mode only; these models have no dropout


def trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Named trainable parameters; a tied embedding counts once."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
