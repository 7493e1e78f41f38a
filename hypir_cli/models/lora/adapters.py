"""Adapters as live layers beside the base weights, through peft: for training, and for restoring unmerged."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hypir_cli.models.checkpoint import require_tensors
from hypir_cli.models.lora.bind import bind, target_modules
from hypir_cli.models.lora.state import DOWN_SUFFIX, UP_SUFFIX, LoraState

ADAPTER = "default"
"""Name of the one adapter, as the release's key format spells it."""
_LIVE = re.compile(rf"^(?:module\.|_orig_mod\.)*(.+\.lora_[AB])\.{ADAPTER}\.weight$")


def add_fresh_lora(
    denoiser: nn.Module, *, rank: int, alpha: float, targets: Sequence[str], seed: int
) -> None:
    """Put untrained adapters into a denoiser; its output stays what it was.

    A is gaussian with standard deviation 1 / rank, B zero, both float32; everything else stops requiring gradients.

    Args:
        denoiser: Network to adapt, in place.
        rank: Inner width of the adapters.
        alpha: Updates are scaled by alpha / rank.
        targets: Module name endings, `traits.lora_targets` of the backbone.
        seed: Seed of A; the same on every rank of a distributed run.

    Raises:
        ConfigError: A target that matches no layer.
    """
    modules = target_modules(denoiser, targets)
    _inject(denoiser, ranks=dict.fromkeys(modules, rank), alphas=dict.fromkeys(modules, alpha))
    generator = torch.Generator().manual_seed(seed)
    for key, value in sorted(_live(denoiser).items()):
        if key.endswith(UP_SUFFIX):
            nn.init.zeros_(value)
            continue
        noise = torch.randn(value.shape, generator=generator) / value.shape[0]
        value.data.copy_(noise)


def attach_lora(denoiser: nn.Module, state: LoraState, *, scale: float = 1.0) -> None:
    """Put trained adapters into a denoiser without touching its weights; they stay trainable, in float32.

    Args:
        denoiser: Network to adapt, in place.
        state: Adapters from `read_lora`.
        scale: Strength; 1 as trained, 0 none.

    Raises:
        CheckpointError: The adapters do not fit.
    """
    bindings = bind(denoiser, state)
    _inject(
        denoiser,
        ranks={name: item.down.shape[0] for name, item in bindings.items()},
        alphas={name: item.alpha * scale for name, item in bindings.items()},
    )
    live = _live(denoiser)
    for name, item in bindings.items():
        live[name + DOWN_SUFFIX].data.copy_(item.down)
        live[name + UP_SUFFIX].data.copy_(item.up)


def lora_state_dict(denoiser: nn.Module) -> dict[str, Tensor]:
    """Tensors of the live adapters under our names, detached, not copied."""
    return {key: value.detach() for key, value in _live(denoiser).items()}


def load_lora_state_dict(
    denoiser: nn.Module, tensors: Mapping[str, Tensor], *, source: str = "the adapter state"
) -> None:
    """Copy tensors into live adapters of the same ranks.

    Raises:
        CheckpointError: Keys or shapes differ; the first few are listed.
    """
    live = _live(denoiser)
    require_tensors(tensors, live, source=source, target=type(denoiser).__name__)
    for key, value in live.items():
        value.data.copy_(tensors[key])


def trainable_parameters(denoiser: nn.Module) -> list[nn.Parameter]:
    """The adapters' parameters, in the order of their sorted names."""
    return [value for _, value in sorted(_live(denoiser).items())]


def _live(denoiser: nn.Module) -> dict[str, nn.Parameter]:
    found = ((_LIVE.match(name), value) for name, value in denoiser.named_parameters())
    return {f"{match[1]}.weight": value for match, value in found if match}


def _inject(denoiser: nn.Module, *, ranks: dict[str, int], alphas: dict[str, float]) -> None:
    from peft import LoraConfig, inject_adapter_in_model  # slow to import, and merging needs none

    # peft looks patterns up as endings of the path; the anchor keeps `conv_out` from naming `a.conv_out` as well.
    rank = Counter(ranks.values()).most_common(1)[0][0]
    alpha = Counter(alphas.values()).most_common(1)[0][0]
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # peft multiplies it; fractions are fine
        target_modules="|".join(re.escape(name) for name in sorted(ranks)),
        rank_pattern={f"^{re.escape(n)}": value for n, value in ranks.items() if value != rank},
        alpha_pattern={f"^{re.escape(n)}": value for n, value in alphas.items() if value != alpha},
    )
    inject_adapter_in_model(config, denoiser, adapter_name=ADAPTER)
    denoiser.requires_grad_(False)
    for value in _live(denoiser).values():
        value.data = value.data.float()
        value.requires_grad_(True)
