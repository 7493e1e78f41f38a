"""Which parts of a denoiser are dealt out to the processes as units: gathered together when one is called, dropped after it."""

from __future__ import annotations

from collections.abc import Set

from torch import Tensor, nn


def shard_units(denoiser: nn.Module, *, kept: Set[Tensor] = frozenset()) -> dict[str, nn.Module]:
    """The blocks that the network's own class names as indivisible, innermost first, by name.

    Args:
        denoiser: The network; its class says `_no_split_modules`, as those of diffusers do. Without, there are no units.
        kept: Weights that stay whole on every process.

    Returns:
        Blocks with weights to deal out that no block inside them has taken. What is left of the network is its root.
    """
    names = set(getattr(denoiser, "_no_split_modules", None) or ())
    blocks = {
        name: module
        for name, module in denoiser.named_modules()
        if type(module).__name__ in names and module is not denoiser
    }
    taken: set[Tensor] = set(kept)
    units: dict[str, nn.Module] = {}
    for name in sorted(blocks, key=lambda name: name.count("."), reverse=True):
        own = set(blocks[name].parameters()) - taken
        if own:
            units[name] = blocks[name]
            taken |= own
    return units


def shard_frozen(denoiser: nn.Module) -> None:
    """Deal the frozen weights of a network out to the processes (FSDP2); what trains stays whole."""
    from torch.distributed.fsdp import fully_shard

    for parameter in denoiser.parameters():
        # Only plain layouts can be cut up.
        parameter.data = parameter.data.contiguous()
    kept = {parameter for parameter in denoiser.parameters() if parameter.requires_grad}
    for unit in [*shard_units(denoiser, kept=kept).values(), denoiser]:
        fully_shard(unit, ignored_params=kept)
