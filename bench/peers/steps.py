"""One training step: MeZO's four walks over the trainable weights around two losses, or AdamW's backward pass."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Loss = Callable[[], torch.Tensor]
Draw = Callable[[torch.Tensor], torch.Tensor]


def gaussian(like: torch.Tensor) -> torch.Tensor:
    return torch.normal(mean=0, std=1, size=like.size(), dtype=like.dtype)


def rademacher(like: torch.Tensor) -> torch.Tensor:
    return torch.randint(0, 2, like.size(), dtype=like.dtype).mul_(2).sub_(1)


PERTURBATIONS: dict[str, Draw] = {"gaussian": gaussian, "rademacher": rademacher}


@dataclass(frozen=True)
class Step:
    loss: float  # MeZO: at theta + epsilon z; AdamW: at theta
    forwards: tuple[float, ...]  # seconds of each loss evaluated on its own


def timed(loss: Loss) -> tuple[float, float]:
    """A loss without gradient, and its seconds."""
    start = time.perf_counter()
    with torch.inference_mode():
        value = loss().item()
    return value, time.perf_counter() - start


@torch.no_grad()
def walk_published(parameters, draw: Draw, seed: int, scale: float, epsilon: float) -> None:
    """theta <- theta + scale epsilon z, as the published program writes it: each product and sum a new tensor."""
    torch.manual_seed(seed)
    for _, parameter in parameters:
        z = draw(parameter.data)
        parameter.data = parameter.data + scale * z * epsilon


@torch.no_grad()
def walk_lean(parameters, draw: Draw, seed: int, scale: float, epsilon: float) -> None:
    """The same in place, one fused multiply and add."""
    torch.manual_seed(seed)
    for _, parameter in parameters:
        parameter.data.add_(draw(parameter.data), alpha=scale * epsilon)


@torch.no_grad()
def update_published(parameters, draw: Draw, seed: int, rate: float, gradient: float) -> None:
    """SGD along z, the weight-decay term written out (at its default of zero) for all but norms and biases."""
    torch.manual_seed(seed)
    decay = 0.0
    for name, parameter in parameters:
        z = draw(parameter.data)
        if "bias" in name or "layernorm" in name or "layer_norm" in name:
            parameter.data = parameter.data - rate * (gradient * z)
        else:
            parameter.data = parameter.data - rate * (gradient * z + decay * parameter.data)


def update_lean(parameters, draw: Draw, seed: int, rate: float, gradient: float) -> None:
    walk_lean(parameters, draw, seed, -rate, gradient)


# form -> (walk, update)
WALKS = {"published": (walk_published, update_published), "lean": (walk_lean, update_lean)}


def mezo(form: str, parameters, loss: Loss, draw: Draw, epsilon: float, rate: float) -> Callable[[int], Step]:
    """A step by its noise seed: + epsilon, - 2 epsilon, + epsilon, update; z is drawn anew for each of the four."""
    walk, update = WALKS[form]

    def step(seed: int) -> Step:
        walk(parameters, draw, seed, 1, epsilon)
        plus, plus_seconds = timed(loss)
        walk(parameters, draw, seed, -2, epsilon)
        minus, minus_seconds = timed(loss)
        walk(parameters, draw, seed, 1, epsilon)
        update(parameters, draw, seed, rate, (plus - minus) / (2 * epsilon))
        return Step(plus, (plus_seconds, minus_seconds))

    return step


def adam(parameters, loss: Loss, rate: float) -> Callable[[int], Step]:
    optimizer = torch.optim.AdamW([parameter for _, parameter in parameters], lr=rate)

    def step(_seed: int) -> Step:
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimizer.step()
        return Step(value.item(), ())

    return step
