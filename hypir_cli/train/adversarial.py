"""The two steps of the adversarial stage, each blind to the other player's weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from hypir_cli.config.adversarial import DiscriminatorConfig
from hypir_cli.config.train import TrainGanConfig
from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.backbones.controls import Controls
from hypir_cli.models.perceptual.distances import TrunkDistance
from hypir_cli.models.perceptual.trunks import TrunkFeatures
from hypir_cli.train import draws
from hypir_cli.train.degradation import usm_sharpen
from hypir_cli.train.generator import GanModels
from hypir_cli.train.mirror import mirror_loss
from hypir_cli.train.networks.discriminator import Discriminator, mean_logit
from hypir_cli.train.networks.losses import (
    discriminator_loss,
    generator_loss,
    grid_loss,
    image_loss,
    relativistic_loss,
    spectrum_loss,
    steadiness_loss,
    texture_loss,
)
from hypir_cli.train.runtime import Runtime
from hypir_cli.train.stage import Pairs


@dataclass(frozen=True, kw_only=True)
class GeneratorOutcome:
    """What one generator step leaves for the discriminator and the log."""

    restored: Tensor
    """(B, 3, H, W), detached."""
    fake_features: TrunkFeatures | None
    """Trunk features of `restored`, detached."""
    target_features: TrunkFeatures | None
    """Trunk features of the target, where the perceptual loss had to make them."""
    real_features: TrunkFeatures | None
    """Trunk features of what counts as real, where the adversarial loss had to make them."""
    scalars: dict[str, Tensor]
    """Losses, norms of their gradients at the restored image, and the share of each in the sum of these norms."""


def generator_step(
    models: GanModels,
    restored: Tensor,
    pairs: Pairs,
    *,
    controls: Controls | None = None,
    symmetry: int = 0,
    config: TrainGanConfig,
    runtime: Runtime,
    scale: float,
) -> GeneratorOutcome:
    """Add the generator's gradients; the discriminator is only asked, nothing of it changes.

    Each loss is differentiated down to the restored image by itself, which frees its graph before the next one is built
    and gives the norm of its gradient for nothing; one backward pass then takes their sum through the generator. A `symmetry`
    other than 0 says that the second half of the pairs is the first one mirrored like this.
    """
    reference = pairs.reference
    target = sharpened(reference, config) if config.loss.target == "sharpened" else reference
    window = perceptual_window(pairs, shift=config.loss.perceptual_shift)
    leaf = restored.detach().requires_grad_()
    shared = SharedFeatures(models, shown=partial(shown_images, pairs=pairs, config=config))
    scalars: dict[str, Tensor] = {}
    total = torch.zeros_like(leaf)
    terms = _terms(
        models, target, pairs, window=window, shared=shared, controls=controls, config=config
    )
    if symmetry:
        differ = partial(mirror_loss, symmetry=symmetry, controls=controls)
        terms.insert(0, ("mirror", config.loss.mirror, differ))
    for name, weight, loss_of in terms:
        with runtime.autocast():
            loss = loss_of(leaf)
        keep = shared.is_used_again(name)
        (gradient,) = torch.autograd.grad(loss * (weight * scale), leaf, retain_graph=keep)
        total += gradient
        scalars[f"loss/{name}"] = loss.detach()
        # Of one image, root mean square over the batch: the same however many images share a batch.
        scalars[f"grad/{name}"] = gradient.norm() * len(leaf) ** 0.5 / scale
    restored.backward(total)  # type: ignore[no-untyped-call]
    return GeneratorOutcome(
        restored=leaf.detach(),
        fake_features=shared.fake.detach() if shared.fake is not None else None,
        target_features=shared.target,
        real_features=shared.real,
        scalars=scalars | shares(scalars),
    )


def perceptual_window(pairs: Pairs, *, shift: int) -> Window:
    """What the perceptual network sees of images (B, 3, H, W): H - `shift` and W - `shift` pixels from a place that the first
    pair's key draws, 0..`shift`."""
    top, left = (
        int(draws.uniform(pairs.keys[:1], f"perceptual {axis}").item() * (shift + 1))
        for axis in ("top", "left")
    )

    def window(images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        return images[..., top : height - shift + top, left : width - shift + left]

    return window


def shares(scalars: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`share/NAME` of each `grad/NAME` in their sum, 0..1; nothing where there is a single one."""
    norms = {
        name.removeprefix("grad/"): v for name, v in scalars.items() if name.startswith("grad/")
    }
    if len(norms) < 2:
        return {}
    total = torch.stack(list(norms.values())).sum().clamp(min=torch.finfo(torch.float32).tiny)
    return {f"share/{name}": norm / total for name, norm in norms.items()}


@torch.no_grad()
def disturbed_features(
    discriminator: Discriminator, real: Tensor, pairs: Pairs, *, sigma: float
) -> TrunkFeatures:
    """Trunk features of real images (B, 3, H, W) with noise of deviation `sigma`, drawn from the pairs' keys."""
    noise = draws.normal(pairs.keys, "r1 noise", shape=tuple(real.shape[1:])).to(real)
    return discriminator.features(real + sigma * noise)


def discriminator_step(
    discriminator: Discriminator,
    real_features: TrunkFeatures,
    fake_features: TrunkFeatures,
    disturbed: TrunkFeatures | None = None,
    *,
    config: DiscriminatorConfig,
    runtime: Runtime,
    scale: float,
    iterate_norms: bool = True,
) -> dict[str, Tensor]:
    """Add the heads' gradients; the generator is not involved: the fake features have no history.

    Args:
        discriminator: The judge.
        real_features: Of real images.
        fake_features: Of as many restored ones, each of the real image at its place.
        disturbed: Of the real ones with faint noise, for the gradient penalty; None for none.
        config: Loss and weights.
        runtime: The processes.
        scale: Factor on the loss.
        iterate_norms: Whether the spectral norms move: once per update, so that accumulated batches are judged alike.
    """
    heads = discriminator.heads.train(iterate_norms)
    count = len(real_features.pooled)
    with runtime.autocast():
        # All parts in one call: equal norms for all of them.
        together = real_features.joined(fake_features.detach())
        logits = heads(together if disturbed is None else together.joined(disturbed))
        real = [level[:count] for level in logits]
        fake = [level[count : 2 * count] for level in logits]
        if config.loss == "relativistic":
            loss = relativistic_loss(real, fake)
        else:
            loss = discriminator_loss(real, fake, real_target=config.real_target)
    scalars = {
        "loss/discriminator": loss.detach(),
        "logits/real": mean_logit(real),
        "logits/fake": mean_logit(fake),
    }
    if disturbed is not None:
        penalty = steadiness_loss(real, [level[2 * count :] for level in logits])
        scalars["loss/r1"] = penalty.detach()
        loss = loss + config.r1 * penalty
    (loss * scale).backward()  # type: ignore[no-untyped-call]
    return scalars


@torch.no_grad()
def real_images(backbone: Backbone, pairs: Pairs, *, config: TrainGanConfig) -> Tensor:
    """What the discriminator is shown as real, (B, 3, H, W)."""
    kind = config.discriminator.real
    real = pairs.reference if kind == "target" else pairs.gt
    if kind == "sharpened":
        real = sharpened(real, config)
    if config.discriminator.vae_round_trip:
        return backbone.decode(backbone.encode(real))
    return real


def shown_images(restored: Tensor, pairs: Pairs, *, config: TrainGanConfig) -> Tensor:
    """What the discriminator's heads on the images see as restored, (B, 3, H, W): the real image itself where a sample is not
    theirs to judge, which leaves the relativistic loss without a gradient there."""
    if config.loss.adversarial_images_samples == "all":
        return restored
    taught = (pairs.reference != pairs.gt).flatten(1).any(1)
    return torch.where(taught[:, None, None, None], restored, pairs.reference.to(restored))


def sharpened(images: Tensor, config: TrainGanConfig) -> Tensor:
    """Unsharp-masked images, as the degradation's settings say."""
    sharpen = config.degradation.sharpen
    return usm_sharpen(
        images, weight=sharpen.weight, radius=sharpen.radius, threshold=sharpen.threshold
    )


Window = Callable[[Tensor], Tensor]
_Term = tuple[str, float, Callable[[Tensor], Tensor]]


class SharedFeatures:
    """Trunk features within one generator step; the perceptual loss uses them too if it looks through the same trunk."""

    def __init__(self, models: GanModels, *, shown: Callable[[Tensor], Tensor]) -> None:
        self._shown = shown
        self.fake: TrunkFeatures | None = None
        self.target: TrunkFeatures | None = None
        self.real: TrunkFeatures | None = None
        self._discriminator = models.discriminator
        perceptual = models.perceptual
        trunk = None if models.discriminator is None else models.discriminator.trunk
        is_same = isinstance(perceptual, TrunkDistance) and perceptual.trunk is trunk
        self.distance: TrunkDistance | None = perceptual if is_same else None  # type: ignore[assignment]

    def of_fake(self, images: Tensor) -> TrunkFeatures:
        """Features of the restored image, with history."""
        if self.fake is None:
            assert self._discriminator is not None
            self.fake = self._discriminator.features(images, shown=self._shown(images))
        return self.fake

    def of_real(self, backbone: Backbone, pairs: Pairs, *, config: TrainGanConfig) -> TrunkFeatures:
        """Features of what counts as real."""
        if self.real is None:
            assert self._discriminator is not None
            self.real = self._discriminator.features(real_images(backbone, pairs, config=config))
        return self.real

    def is_used_again(self, name: str) -> bool:
        """Whether a later loss needs the graph of this one."""
        return name == "perceptual" and self.distance is not None

    def perceptual(self, images: Tensor, target: Tensor) -> Tensor:
        """The perceptual loss from shared features."""
        assert self._discriminator is not None
        assert self.distance is not None
        with torch.no_grad():
            self.target = self._discriminator.features(target)
        return self.distance.between(self.of_fake(images), self.target).mean()


def _terms(
    models: GanModels,
    target: Tensor,
    pairs: Pairs,
    *,
    window: Window,
    shared: SharedFeatures,
    controls: Controls | None,
    config: TrainGanConfig,
) -> list[_Term]:
    """The losses with a weight, in an order that lets the adversarial one come last."""
    weights = config.loss
    discriminator, perceptual = models.discriminator, models.perceptual
    kind = weights.pixel_kind
    terms: list[_Term] = [
        ("pixel", weights.pixel, lambda images: image_loss(images, target, kind=kind)),
        ("clean", weights.clean, lambda images: image_loss(images, pairs.gt, kind=kind)),
        (
            "spectrum",
            weights.spectrum,
            lambda images: spectrum_loss(images, target, lack=weights.spectrum_lack),
        ),
    ]
    if weights.grid > 0:
        cell = models.backbone.traits.spatial_factor
        terms.append(("grid", weights.grid, lambda images: grid_loss(images, target, cell=cell)))
    asked = None if controls is None else controls.texture
    if asked is not None:
        terms.append(("texture", weights.texture, lambda images: texture_loss(images, asked)))
    if perceptual is not None:

        def perceived(images: Tensor) -> Tensor:
            if shared.distance is not None:
                return shared.perceptual(images, target)
            seen = weights.perceptual_samples or len(images)
            distances: Tensor = perceptual(window(images[:seen]), window(target[:seen]))
            return distances.mean()

        terms.append(("perceptual", weights.perceptual, perceived))
    if discriminator is not None:
        settings, heads = config.discriminator, discriminator.heads
        wanted = settings.real_target if settings.smooth_generator else 1.0

        def judged(images: Tensor, *, by: Callable[[TrunkFeatures], list[Tensor]]) -> Tensor:
            heads.eval()
            logits = by(shared.of_fake(images))
            if settings.loss == "standard":
                return generator_loss(logits, target=wanted)
            with torch.no_grad():
                real = by(shared.of_real(models.backbone, pairs, config=config))
            return relativistic_loss(logits, real)

        apart = weights.adversarial_images
        by_trunk = heads if apart is None else heads.of_trunk
        terms.append(("adversarial", weights.adversarial, partial(judged, by=by_trunk)))
        if apart is not None:
            terms.append(("adversarial_images", apart, partial(judged, by=heads.of_images)))
    return [term for term in terms if term[1] > 0]
