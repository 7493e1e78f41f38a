"""Find the layers of a denoiser that adapters belong to, and say clearly when they do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from hypir_cli.config.families import family_names, find_family
from hypir_cli.errors import ConfigError
from hypir_cli.models.checkpoint import misfit
from hypir_cli.models.lora.keys import FLAT_PREFIXES
from hypir_cli.models.lora.kohya import kohya_names, split
from hypir_cli.models.lora.state import DOWN_SUFFIX, UP_SUFFIX, LoraState

Layer = nn.Linear | nn.Conv2d


@dataclass(frozen=True, kw_only=True)
class Binding:
    """One layer and the adapter tensors that fit it."""

    layer: Layer
    down: Tensor
    """A, (rank, in) or (rank, in, kh, kw)."""
    up: Tensor
    """B, (out, rank) or (out, rank, 1, 1)."""
    alpha: float


def adaptable_layers(denoiser: nn.Module) -> dict[str, Layer]:
    """Linear and convolution layers by path; an adapted layer stands under the path it had before."""
    layers: dict[str, Layer] = {}
    for path, module in denoiser.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and ".lora_" not in f".{path}":
            layers[path.removesuffix(".base_layer")] = module
    return layers


def target_modules(denoiser: nn.Module, targets: Sequence[str]) -> list[str]:
    """Paths of the layers whose name ends with one of the targets, sorted.

    Raises:
        ConfigError: A target that no layer's name ends with.
    """
    layers = adaptable_layers(denoiser)
    useless = [target for target in targets if not _matching(layers, [target])]
    if useless or not targets:
        raise ConfigError(
            f"LoRA targets {', '.join(useless) or '(none given)'} match no layer of "
            f"{type(denoiser).__name__}.",
            hint="give endings of module names, e.g. to_k or ff.net.2",
        )
    return _matching(layers, targets)


def bind(denoiser: nn.Module, state: LoraState) -> dict[str, Binding]:
    """Layer and tensors of every adapter, by module path; kohya's flat names are looked up.

    Raises:
        CheckpointError: Missing or unexpected modules or wrong shapes; the first few are listed.
    """
    layers = adaptable_layers(denoiser)
    state = _resolved(state, layers)
    unexpected = [name for name in state.modules if name not in layers]
    missing = (
        [name for name in _matching(layers, state.info.lora_targets) if name not in state.ranks]
        if state.complete
        else []
    )
    misshapen = [
        problem
        for name in state.modules
        if name in layers
        for problem in _shape_problem(name, layers[name], *state.pair(name))
    ]
    if unexpected or missing or misshapen:
        raise misfit(
            state.source,
            type(denoiser).__name__,
            missing=missing,
            unexpected=unexpected,
            misshapen=misshapen,
        )
    return {name: _bound(layers[name], state, name) for name in state.modules}


def _resolved(state: LoraState, layers: Mapping[str, Layer]) -> LoraState:
    """The state under module paths, where its names are kohya's."""
    prefixed = {
        module: module.removeprefix(prefix)
        for module in state.modules
        for prefix in FLAT_PREFIXES
        if module.startswith(prefix)
    }
    if not prefixed:
        return state
    flat = {
        name: parts
        for family in map(find_family, family_names())
        if family.kohya
        for name, parts in kohya_names(layers, family=family).items()
    }
    tensors: dict[str, Tensor] = {}
    alphas: dict[str, float] = {}
    for module in state.modules:
        parts = flat.get(prefixed.get(module, ""), (module,))
        for path, (down, up, alpha) in _pieces(state, module, parts, layers).items():
            tensors[path + DOWN_SUFFIX], tensors[path + UP_SUFFIX] = down, up
            alphas[path] = alpha
    return replace(state, tensors=tensors, alphas=alphas)


def _pieces(
    state: LoraState, module: str, parts: Sequence[str], layers: Mapping[str, Layer]
) -> dict[str, tuple[Tensor, Tensor, float]]:
    """A module's (down, up, alpha) by path: one, or one for each layer that kohya's name fuses."""
    down, up = state.pair(module)
    alpha = state.alphas[module]
    if len(parts) == 1:
        return {parts[0]: (down, up, alpha)}
    rows = [layer_shape(layers[part])[0] for part in parts]
    if sum(rows) != up.shape[0]:
        return {module: (down, up, alpha)}  # of another model; reported as unexpected
    return dict(zip(parts, split(down, up, alpha=alpha, rows=rows), strict=True))


def _matching(layers: Mapping[str, Layer], targets: Sequence[str]) -> list[str]:
    return sorted(
        path
        for path in layers
        if any(path == target or path.endswith(f".{target}") for target in targets)
    )


def layer_shape(layer: Layer) -> tuple[int, ...]:
    """(out, in[, kh, kw]) of a layer, also where its weight is stored packed."""
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    return tuple(layer.weight.shape)


def _shape_problem(name: str, layer: Layer, down: Tensor, up: Tensor) -> list[str]:
    out_features, *inner = layer_shape(layer)
    rank = down.shape[0]
    expected_down, expected_up = (rank, *inner), (out_features, rank)
    if _squeezed(down) == _squeezed_shape(expected_down) and _squeezed(up) == expected_up:
        return []
    return [
        f"{name}: file {tuple(down.shape)}, {tuple(up.shape)}, model {expected_down}, {expected_up}"
    ]


def _squeezed(tensor: Tensor) -> tuple[int, ...]:
    return _squeezed_shape(tuple(tensor.shape))


def _squeezed_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A 1x1 kernel and a matrix are the same thing."""
    return shape[:2] if all(side == 1 for side in shape[2:]) else shape


def _bound(layer: Layer, state: LoraState, name: str) -> Binding:
    down, up = state.pair(name)
    out_features, *inner = layer_shape(layer)
    rank = down.shape[0]
    kernel = (1,) * (len(inner) - 1)
    return Binding(
        layer=layer,
        down=down.reshape(rank, *inner),
        up=up.reshape(out_features, rank, *kernel),
        alpha=state.alphas[name],
    )
