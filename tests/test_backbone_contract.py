"""What restoring and training rely on, for every registered backbone."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from hypir_cli.config.families import family_names
from hypir_cli.errors import BackboneError, CheckpointError
from hypir_cli.models.backbones.controls import Controls
from hypir_cli.models.backbones.pretrained import PretrainedBackbone
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.checkpoint import CheckpointInfo, save_tensors
from hypir_cli.models.encoder import load_encoder
from hypir_cli.models.lora import (
    add_fresh_lora,
    lora_state_dict,
    read_lora,
    save_lora,
    target_modules,
    trainable_parameters,
)
from hypir_cli.models.weights import apply_lora
from tests.builders import BUILDERS, load_built
from tests.tiny_families import save_small_vae

RANK = 2


SMALL = " with a small VAE"


@pytest.fixture(
    scope="module",
    params=[*sorted(BUILDERS), *(name + SMALL for name in sorted(BUILDERS) if name != "tiny")],
)
def built(request, tmp_path_factory):
    """Name, folder, and which VAE."""
    name = request.param.removesuffix(SMALL)
    folder = tmp_path_factory.mktemp(name)
    BUILDERS[name](folder / "base")
    if name == request.param:
        return name, folder / "base", "default"
    return name, folder / "base", str(save_small_vae(folder / "small", name=name))


@pytest.fixture
def backbone(built):
    return rebuilt(built)


def rebuilt(built, *, dtype=torch.float32):
    name, folder, vae = built
    return load_built(name, folder, dtype=dtype, vae=vae)


def some_images(backbone, *, batch=2):
    side = 2 * backbone.traits.tile_multiple * max(1, 16 // backbone.traits.tile_multiple)
    generator = torch.Generator().manual_seed(5)
    return torch.rand(batch, 3, side, side + backbone.traits.tile_multiple, generator=generator)


def restored(backbone, images, *, prompts=None, controls=None, t=200):
    prompt = backbone.encode_prompts(prompts or ["a house"] * len(images))
    timestep = torch.tensor(t)
    latents = backbone.encode(images)
    output = backbone.denoise(latents, prompt=prompt, timestep=timestep, controls=controls)
    return backbone.decode(backbone.predict_clean(latents, output, timestep=timestep))


def fresh(backbone, *, seed=0):
    add_fresh_lora(
        backbone.denoiser, rank=RANK, alpha=RANK, targets=backbone.traits.lora_targets, seed=seed
    )


def trained(backbone):
    """Adapters that do something."""
    fresh(backbone)
    generator = torch.Generator().manual_seed(1)
    for value in trainable_parameters(backbone.denoiser):
        value.data.copy_(torch.randn(value.shape, generator=generator) * 0.2)
    return lora_state_dict(backbone.denoiser)


def info_of(backbone, **values):
    return CheckpointInfo(
        backbone=backbone.traits.name,
        lora_rank=RANK,
        lora_alpha=RANK,
        lora_targets=backbone.traits.lora_targets,
        **values,
    )


def assert_close(left, right, *, tolerance):
    scale = max(1.0, float(right.abs().max()))
    assert float((left - right).abs().max()) <= tolerance * scale


def test_every_registered_backbone_has_a_builder():
    assert set(BUILDERS) == set(family_names())


@torch.inference_mode()
def test_shapes_and_dtypes_are_those_of_the_contract(backbone):
    images, traits = some_images(backbone), backbone.traits
    latents = backbone.encode(images)
    height, width = (side // traits.spatial_factor for side in images.shape[-2:])
    assert latents.shape == (2, traits.latent_channels, height, width)
    prompt = backbone.encode_prompts(["one", "two"])
    output = backbone.denoise(latents, prompt=prompt, timestep=torch.tensor([200.0, 300.0]))
    clean = backbone.predict_clean(latents, output, timestep=torch.tensor([200, 300]))
    decoded = backbone.decode(clean)
    assert output.shape == clean.shape == latents.shape
    assert decoded.shape == images.shape
    for value in (latents, output, clean, decoded, prompt.sequence):
        assert value.dtype == torch.float32
        assert value.isfinite().all()


@torch.inference_mode()
def test_half_precision_inside_is_float32_outside(built):
    backbone = rebuilt(built, dtype=torch.bfloat16)
    assert backbone.dtype == torch.bfloat16
    image = restored(backbone, some_images(backbone))
    assert image.dtype == torch.float32
    assert image.isfinite().all()


@torch.inference_mode()
def test_images_of_a_batch_do_not_see_each_other(backbone):
    images = some_images(backbone)
    together = restored(backbone, images, prompts=["one", "another"])
    for index, prompt in enumerate(["one", "another"]):
        alone = restored(backbone, images[index : index + 1], prompts=[prompt])
        assert_close(together[index : index + 1], alone, tolerance=1e-4)


@torch.inference_mode()
def test_zero_posterior_noise_is_the_mean_and_other_noise_is_not(backbone):
    images = some_images(backbone)
    mean = backbone.encode(images)
    assert_close(backbone.encode(images, noise=torch.zeros_like(mean)), mean, tolerance=1e-6)
    sampled = backbone.encode(images, noise=torch.ones_like(mean))
    assert torch.allclose(sampled, mean) != backbone.has_posterior


@torch.inference_mode()
def test_noise_then_the_true_prediction_gives_the_latent_back(backbone):
    clean, noise = torch.randn(
        2, 1, backbone.traits.latent_channels, 4, 4, generator=torch.Generator().manual_seed(3)
    )
    for step in (1, 200, 900):
        timestep = torch.tensor(step)
        noisy = backbone.add_noise(clean, noise, timestep=timestep)
        level = backbone.alpha_or_sigma(timestep)
        truth = {
            "epsilon": noise,
            "v_prediction": level.sqrt() * noise - (1 - level).sqrt() * clean,
            "flow": noise - clean,
        }[backbone.traits.prediction]
        assert_close(backbone.predict_clean(noisy, truth, timestep=timestep), clean, tolerance=1e-4)


@torch.inference_mode()
def test_the_prompt_reaches_the_denoiser(backbone):
    images = some_images(backbone, batch=1)
    one, other = (restored(backbone, images, prompts=[text]) for text in ("a cat", "zebra 9"))
    assert not torch.equal(one, other)


def test_a_long_prompt_says_what_it_loses(backbone):
    assert backbone.token_overflow("a short prompt") == ""
    lost = backbone.token_overflow("word " * 2000 + "lastword")
    assert lost.replace(" ", "").endswith("lastword")


@torch.inference_mode()
def test_released_text_encoders_are_gone_and_the_rest_still_works(backbone):
    prompt = backbone.encode_prompts(["a house"])
    backbone.release_text_encoders()
    assert set(backbone.components()) == {"vae", "denoiser"}
    with pytest.raises(BackboneError):
        backbone.encode_prompts(["another"])
    latents = backbone.encode(some_images(backbone, batch=1))
    output = backbone.denoise(latents, prompt=prompt, timestep=torch.tensor(200))
    assert output.isfinite().all()


def test_every_lora_target_names_a_layer(backbone):
    assert target_modules(backbone.denoiser, backbone.traits.lora_targets)


@torch.no_grad()
def test_a_fresh_adapter_changes_nothing(backbone):
    images = some_images(backbone)
    before = restored(backbone, images)
    fresh(backbone)
    assert torch.equal(restored(backbone, images), before)


def test_only_adapters_train(backbone):
    fresh(backbone)
    adapters = trainable_parameters(backbone.denoiser)
    trainable = [
        value
        for module in backbone.components().values()
        for value in module.parameters()
        if value.requires_grad
    ]
    assert {id(value) for value in trainable} == {id(value) for value in adapters}
    assert all(value.dtype == torch.float32 for value in adapters)
    restored(backbone, some_images(backbone, batch=1)).square().mean().backward()
    ups = [v for k, v in backbone.denoiser.named_parameters() if ".lora_B." in k]
    # A layer whose output nobody reads has a zero gradient, as cross-attention ends have; most layers are read.
    reached = sum(v.grad is not None and bool(v.grad.any()) for v in ups)
    assert reached > 0.8 * len(ups)


def test_adapters_are_the_same_for_the_same_seed_and_differ_otherwise(built):
    states = []
    for seed in (0, 0, 1):
        backbone = rebuilt(built)
        fresh(backbone, seed=seed)
        states.append(lora_state_dict(backbone.denoiser))
    first, again, other = states
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def at_work(built):
    """A backbone of its own, images, and what it makes of them."""
    backbone = rebuilt(built)
    images = some_images(backbone)
    return backbone, images, restored(backbone, images)


both_ways = pytest.mark.parametrize("merge", [True, False], ids=["merged", "attached"])


@torch.no_grad()
@both_ways
def test_saved_adapters_give_the_same_image_again(built, tmp_path, merge):
    backbone, images, plain = at_work(built)
    tensors = trained(backbone)
    expected = restored(backbone, images)
    assert not torch.allclose(expected, plain, atol=1e-3)
    save_lora(tmp_path / "lora.safetensors", tensors, info=info_of(backbone, coeff_timestep=150))

    again = rebuilt(built)
    apply_lora(again, read_lora(tmp_path / "lora.safetensors"), merge=merge)
    assert again.traits.coeff_timestep == 150
    assert_close(restored(again, images), expected, tolerance=1e-4 if merge else 1e-6)


@torch.no_grad()
@both_ways
def test_scale_zero_is_the_base_model(built, tmp_path, merge):
    backbone, images, plain = at_work(built)
    save_lora(tmp_path / "lora.safetensors", trained(backbone), info=info_of(backbone))
    again = rebuilt(built)
    apply_lora(again, read_lora(tmp_path / "lora.safetensors"), scale=0.0, merge=merge)
    assert_close(restored(again, images), plain, tolerance=1e-6)


@both_ways
def test_adapters_with_wrong_keys_or_shapes_are_refused_by_name(built, tmp_path, merge):
    backbone = rebuilt(built)
    tensors = dict(trained(backbone))
    first, *_, last = sorted(key for key in tensors if "lora_A" in key)
    tensors["no.such.layer.lora_A.weight"] = tensors.pop(first)
    up = first.replace("lora_A", "lora_B")
    tensors["no.such.layer.lora_B.weight"] = tensors.pop(up)
    tensors[last] = tensors[last][:, :-1]
    save_lora(tmp_path / "lora.safetensors", tensors, info=info_of(backbone))
    with pytest.raises(CheckpointError) as caught:
        apply_lora(rebuilt(built), read_lora(tmp_path / "lora.safetensors"), merge=merge)
    for name in ("no.such.layer", first.removesuffix(".lora_A.weight"), str(tmp_path)):
        assert name in caught.value.message
    assert last.removesuffix(".lora_A.weight") in caught.value.message


def test_adapters_of_another_backbone_are_refused(backbone, tmp_path):
    info = CheckpointInfo(backbone="another", lora_targets=backbone.traits.lora_targets)
    save_lora(tmp_path / "lora.safetensors", trained(backbone), info=info)
    with pytest.raises(CheckpointError, match="was trained for the backbone another"):
        apply_lora(backbone, read_lora(tmp_path / "lora.safetensors"))


@torch.no_grad()
def test_a_fresh_control_embedding_changes_nothing_bit_for_bit(backbone):
    images = some_images(backbone)
    before = restored(backbone, images)
    backbone.enable_controls()
    controls = Controls(texture=torch.tensor([500.0, 3000.0]), generativity=torch.tensor(0.4))
    assert torch.equal(restored(backbone, images), before)
    assert torch.equal(restored(backbone, images, controls=controls), before)


def test_controls_without_their_embedding_are_an_error(backbone):
    controls = Controls(texture=torch.tensor([500.0]))
    with pytest.raises(BackboneError):
        restored(backbone, some_images(backbone, batch=1), controls=controls)


@torch.no_grad()
@both_ways
def test_trained_controls_act_per_image_and_survive_a_file(built, tmp_path, merge):
    backbone = rebuilt(built)
    images = some_images(backbone)[:1].expand(2, -1, -1, -1)
    tensors = trained(backbone)
    embedding = backbone.enable_controls()
    torch.nn.init.normal_(embedding.out.weight, generator=torch.Generator().manual_seed(2))
    controls = Controls(texture=torch.tensor([200.0, 5000.0]))
    expected = restored(backbone, images, controls=controls)
    assert not torch.allclose(expected[0], expected[1], atol=1e-4)
    path = tmp_path / "lora.safetensors"
    save_lora(path, tensors, info=info_of(backbone, texture=True), controls=embedding.state_dict())

    again = rebuilt(built)
    apply_lora(again, read_lora(path), merge=merge)
    assert again.control_embedding is not None
    assert_close(restored(again, images, controls=controls), expected, tolerance=1e-4)


def test_a_control_embedding_gets_gradients_beside_the_adapters(backbone):
    fresh(backbone)
    embedding = backbone.enable_controls()
    controls = Controls(texture=torch.tensor([700.0]))
    image = restored(backbone, some_images(backbone, batch=1), controls=controls)
    image.square().mean().backward()
    assert embedding.out.weight.grad is not None
    assert embedding.out.weight.grad.any()


@torch.no_grad()
def test_a_float32_rescue_leaves_every_weight_as_it_was(built):
    backbone = rebuilt(built, dtype=torch.bfloat16)
    trained(backbone)
    images = some_images(backbone, batch=1)
    before = {
        f"{part}.{key}": value.clone()
        for part, module in backbone.components().items()
        for key, value in module.state_dict().items()
    }
    usual = restored(backbone, images)
    with backbone.in_float32():
        assert backbone.dtype == torch.float32
        rescued = restored(backbone, images)
    assert not torch.equal(rescued, usual)
    assert torch.equal(restored(backbone, images), usual)
    for part, module in backbone.components().items():
        for key, value in module.state_dict().items():
            assert value.dtype == before[f"{part}.{key}"].dtype
            assert torch.equal(value, before[f"{part}.{key}"])


@torch.no_grad()
def test_a_tuned_encoder_survives_a_file(built, tmp_path):
    backbone = rebuilt(built)
    images = some_images(backbone)
    plain = backbone.encode(images)
    for value in backbone.encoder_module().parameters():
        value.mul_(1.1)
    tuned = backbone.encode(images)
    assert not torch.allclose(tuned, plain, atol=1e-4)
    path = tmp_path / "encoder.safetensors"
    written = CheckpointInfo(kind="encoder", backbone=backbone.traits.name, training_step=7)
    save_tensors(path, backbone.encoder_module().state_dict(), info=written)

    again = rebuilt(built)
    assert load_encoder(again, path) == written
    assert torch.equal(again.encode(images), tuned)
    assert torch.equal(again.decode(plain), backbone.decode(plain))


def test_a_file_that_is_no_encoder_of_this_backbone_is_refused(backbone, tmp_path):
    save_lora(tmp_path / "lora.safetensors", trained(backbone), info=info_of(backbone))
    with pytest.raises(CheckpointError, match="holds lora weights"):
        load_encoder(backbone, tmp_path / "lora.safetensors")
    tensors = dict(backbone.encoder_module().state_dict())
    name = next(iter(tensors))
    tensors["surplus"] = tensors.pop(name)
    save_tensors(tmp_path / "other.safetensors", tensors, info=CheckpointInfo(kind="encoder"))
    with pytest.raises(CheckpointError) as caught:
        load_encoder(backbone, tmp_path / "other.safetensors")
    assert f"1 missing ({name}); 1 unexpected (surplus)" in caught.value.message
    plain = {key: value.contiguous() for key, value in tensors.items()}
    save_file(plain, tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match="no header of hypir"):
        load_encoder(backbone, tmp_path / "bare.safetensors")


def test_an_encoder_of_other_shapes_is_refused_and_changes_nothing(backbone, tmp_path):
    before = {key: value.clone() for key, value in backbone.encoder_module().state_dict().items()}
    tensors = {key: value + 1 for key, value in before.items()}
    name = next(iter(tensors))
    tensors[name] = torch.zeros(1, 2, 3, 4, 5)
    info = CheckpointInfo(kind="encoder", backbone=backbone.traits.name)
    save_tensors(tmp_path / "other.safetensors", tensors, info=info)
    with pytest.raises(CheckpointError, match="1 of another shape") as caught:
        load_encoder(backbone, tmp_path / "other.safetensors")
    assert f"{name}: file (1, 2, 3, 4, 5)" in caught.value.message
    after = backbone.encoder_module().state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_the_encoder_alone_can_train(backbone):
    encoder = backbone.encoder_module()
    encoder.requires_grad_(True)
    images = some_images(backbone, batch=1)
    backbone.decode(backbone.encode(images)).square().mean().backward()
    assert all(value.grad is not None for value in encoder.parameters())
    decoder = set(backbone.components()["vae"].parameters()) - set(encoder.parameters())
    assert all(value.grad is None for value in decoder)


def test_gradient_checkpointing_changes_no_gradient(built):
    gradients = []
    for checkpointing in (False, True):
        backbone = rebuilt(built)
        trained(backbone)
        if checkpointing:
            backbone.enable_gradient_checkpointing()
        restored(backbone, some_images(backbone, batch=1)).square().mean().backward()
        gradients.append([value.grad for value in trainable_parameters(backbone.denoiser)])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert (plain is None) == (checkpointed is None)
        if plain is not None:
            assert_close(checkpointed, plain, tolerance=1e-5)


@torch.no_grad()
def test_the_vae_alone_encodes_and_decodes_and_the_denoiser_stays_off_the_device(built):
    name, folder, vae = built
    whole = rebuilt(built)
    alone = load_backbone(name, base=str(folder), only_vae=True, vae=vae)
    images = some_images(whole)
    assert torch.equal(alone.encode(images), whole.encode(images))
    latents = whole.encode(images)
    assert torch.equal(alone.decode(latents), whole.decode(latents))
    assert set(alone.components()) == {"vae", "denoiser"}
    assert alone.traits == whole.traits
    # A device that computes nothing, but shows who went there.
    placed = load_backbone(name, base=str(folder), device="meta", only_vae=True, vae=vae)
    assert placed.device.type == "meta"
    assert all(value.is_meta for value in placed.components()["vae"].parameters())
    kept = {value.device.type for value in placed.denoiser.parameters()}
    # A small one of its own kind is read, since it costs nothing; those of diffusers' layout are not.
    assert kept == ({"meta"} if isinstance(placed, PretrainedBackbone) else {"cpu"})
