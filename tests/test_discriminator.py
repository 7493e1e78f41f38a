from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import ConvNextConfig, ConvNextModel

from hypir_cli.config.adversarial import DiscriminatorConfig
from hypir_cli.errors import BackboneError, ConfigError
from hypir_cli.models.perceptual import trunks
from hypir_cli.models.perceptual.trunks import TrunkFeatures, build_trunk
from hypir_cli.train.networks.discriminator import Discriminator, DiscriminatorHeads
from hypir_cli.train.runs import train_gan
from tests.training import gan_config

GOLDEN = load_file(Path(__file__).parent / "data" / "train" / "disc_head.safetensors")
FEATURES = TrunkFeatures(maps=tuple(GOLDEN[f"feat{i}"] for i in range(3)), pooled=GOLDEN["feat3"])
PARTS = {"weight_orig": "weight", "bias": "bias", "weight_u": "u", "weight_v": "v"}
LAYERS = {"decoder.3.0": "pooled.0", "out": "pooled.2"} | {
    f"decoder.{level}.{layer}": f"maps.{level}.{layer}" for level in range(3) for layer in (1, 4)
}


def _golden_heads() -> DiscriminatorHeads:
    heads = DiscriminatorHeads([6, 8, 10], pooled_dim=12, config=DiscriminatorConfig(hidden=16))
    heads.load_state_dict(
        {
            f"{ours}.{PARTS[part]}": GOLDEN[f"sd.{theirs}.{part}"]
            for theirs, ours in LAYERS.items()
            for part in PARTS
        }
    )
    return heads


def test_heads_in_evaluation_agree_with_the_release() -> None:
    heads = _golden_heads().eval()
    for level, logits in enumerate(heads(FEATURES)):
        torch.testing.assert_close(logits, GOLDEN[f"eval_out{level}"], atol=1e-5, rtol=1e-5)


def test_one_training_call_moves_the_spectral_norms_as_the_release_does() -> None:
    heads = _golden_heads().train()
    for level, logits in enumerate(heads(FEATURES)):
        torch.testing.assert_close(logits, GOLDEN[f"train_out{level}"], atol=1e-5, rtol=1e-5)
    state = heads.state_dict()
    for theirs, ours in LAYERS.items():
        for part in ("weight_u", "weight_v"):
            expected = GOLDEN[f"sd_after_train.{theirs}.{part}"]
            torch.testing.assert_close(state[f"{ours}.{PARTS[part]}"], expected)


def test_a_call_in_evaluation_moves_nothing() -> None:
    heads = _golden_heads().eval()
    before = {key: value.clone() for key, value in heads.state_dict().items()}
    heads(FEATURES)
    assert all(torch.equal(value, before[key]) for key, value in heads.state_dict().items())


def test_the_normalised_weight_has_spectral_norm_one() -> None:
    heads = DiscriminatorHeads([6], pooled_dim=12, config=DiscriminatorConfig(hidden=16)).train()
    layer = heads.pooled[0]
    for _ in range(100):
        layer.normalised_weight()
    norm = torch.linalg.matrix_norm(layer.eval().normalised_weight(), ord=2)
    torch.testing.assert_close(norm, torch.ones(()), atol=1e-3, rtol=0)


def test_the_same_seed_gives_the_same_heads_and_leaves_global_randomness_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = DiscriminatorHeads([6], pooled_dim=4, config=DiscriminatorConfig(hidden=8), seed=1)
    other = DiscriminatorHeads([6], pooled_dim=4, config=DiscriminatorConfig(hidden=8), seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["random-small", "efficientnet-lite0"])
def test_a_trunk_is_frozen_and_passes_gradients_to_the_image(name: str) -> None:
    discriminator = Discriminator(build_trunk(name), config=DiscriminatorConfig(hidden=8)).train()
    assert not discriminator.trunk.training
    assert not any(p.requires_grad for p in discriminator.trunk.parameters())
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    features = discriminator.features(images)
    assert tuple(level.shape[1] for level in features.maps) == discriminator.trunk.channels
    assert features.pooled.shape == (2, discriminator.trunk.pooled_dim)
    logits = discriminator.heads(features)
    assert [len(level) for level in logits] == [2, 2, 2, 2]
    sum(level.sum() for level in logits).backward()
    assert images.grad is not None
    assert bool(images.grad.abs().sum() > 0)


def test_stages_of_a_convnext_are_found_by_name(tmp_path: Path) -> None:
    config = ConvNextConfig(hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1])
    model = ConvNextModel(config).eval()
    model.save_pretrained(tmp_path)
    trunk = build_trunk(str(tmp_path)).eval()
    images = torch.rand(1, 3, 64, 64)
    features = trunk(images)
    mean = torch.tensor(trunks.IMAGENET_MEAN).reshape(1, 3, 1, 1)
    std = torch.tensor(trunks.IMAGENET_STD).reshape(1, 3, 1, 1)
    expected = model((images - mean) / std, output_hidden_states=True)
    assert [tuple(level.shape) for level in features.maps] == [
        (1, 8, 16, 16),
        (1, 12, 8, 8),
        (1, 16, 4, 4),
    ]
    torch.testing.assert_close(features.maps[2], expected.hidden_states[3])
    torch.testing.assert_close(features.pooled, expected.pooler_output)


def test_a_trunk_that_cannot_be_had_names_the_one_without_a_download(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="cannot be had") as caught:
        build_trunk(str(tmp_path))
    assert "efficientnet-lite0" in caught.value.hint


def test_a_model_that_is_no_convnext_is_refused(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    ViTModel(
        ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match="is a vit, and a trunk must be a ConvNeXt"):
        build_trunk(str(tmp_path))


def test_the_patch_head_sees_stripes_that_its_trunk_overlooks() -> None:
    trunk = build_trunk("random-small")
    discriminator = Discriminator(trunk, config=DiscriminatorConfig(hidden=8, patch_width=8))
    plain = torch.full((1, 3, 64, 64), 0.5)
    stripes = plain.clone()
    stripes[..., ::2] += 0.02
    logits = [
        discriminator.heads.eval()(discriminator.features(images)) for images in (plain, stripes)
    ]
    assert [level.shape for level in logits[0]][-1] == (1, 8, 8)
    assert len(logits[0]) == len(trunk.channels) + 2
    changes = [(a - b).abs().mean().item() for a, b in zip(*logits, strict=True)]
    assert changes[-1] > 0


def test_the_patch_head_takes_both_batches_and_passes_gradients_to_the_images() -> None:
    discriminator = Discriminator(
        build_trunk("random-small"), config=DiscriminatorConfig(hidden=8, patch_width=4)
    )
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    features = discriminator.features(images)
    discriminator.heads(features)[-1].sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    both = features.detach().joined(features.detach())
    assert both.images is not None
    assert not both.images.requires_grad
    assert discriminator.heads(both)[-1].shape == (4, 4, 4)


def test_without_a_patch_head_features_hold_no_images() -> None:
    discriminator = Discriminator(build_trunk("random-small"), config=DiscriminatorConfig(hidden=8))
    assert discriminator.features(torch.rand(1, 3, 32, 32)).images is None
    assert discriminator.heads.patches is None


def test_a_discriminator_without_a_trunk_judges_only_the_images(tmp_path: Path) -> None:
    discriminator = Discriminator(build_trunk("none"), config=DiscriminatorConfig(patch_width=4))
    features = discriminator.features(torch.rand(2, 3, 32, 32))
    assert [level.shape for level in discriminator.heads(features)] == [(2, 4, 4)]
    assert discriminator.heads(features.joined(features))[0].shape == (4, 4, 4)
    with pytest.raises(ConfigError, match=r"trunk none needs discriminator\.patch_width"):
        gan_config(tmp_path, {"discriminator.trunk": "none"})
    config = {"discriminator.trunk": "none", "discriminator.patch_width": 4}
    outcome = train_gan(gan_config(tmp_path, {**config, "schedule.first.steps": 1}))
    assert outcome.step == 1
