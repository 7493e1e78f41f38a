"""The embedded backbone: its parts, its folder on disk, and what the shipped weights must not do."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from hypir_cli.errors import BackboneError, CheckpointError
from hypir_cli.models.backbones.base import PromptEmbeds
from hypir_cli.models.backbones.controls import ControlEmbedding, Controls
from hypir_cli.models.backbones.tiny.backbone import TinyBackbone, load_tokenizer
from hypir_cli.models.backbones.tiny.text import TinyTextConfig, TinyTextEncoder
from hypir_cli.models.backbones.tiny.unet import TinyUNet, TinyUNetConfig
from hypir_cli.models.backbones.tiny.vae import TinyCoder, TinyVAE, TinyVAEConfig, limited

SHIPPED = Path(str(resources.files("hypir_cli"))) / "weights" / "tiny"
TIMESTEP = torch.tensor(200)


@pytest.fixture
def small() -> TinyBackbone:
    torch.manual_seed(0)
    vae = TinyVAE(TinyVAEConfig(hidden=8, num_blocks=1))
    vae.start_from_patches(torch.randn(500, 48) @ torch.randn(48, 48))
    tokenizer = load_tokenizer(SHIPPED / "tokenizer" / "tokenizer.json")
    return TinyBackbone(
        vae=vae,
        unet=TinyUNet(
            TinyUNetConfig(channels=(8, 12, 16), down_blocks=(1, 1, 1), up_blocks=(1, 1, 1))
        ),
        text_encoder=TinyTextEncoder(TinyTextConfig(vocab_size=tokenizer.get_vocab_size())),
        tokenizer=tokenizer,
    )


@pytest.fixture(scope="module")
def shipped() -> TinyBackbone:
    return TinyBackbone.load()


def wake(backbone: TinyBackbone) -> None:
    """Give every zero-started layer of the denoiser something to say."""
    with torch.no_grad():
        for weight in backbone.denoiser.parameters():
            weight.add_(0.05 * torch.randn_like(weight))


def restore(
    backbone: TinyBackbone, images: torch.Tensor, *, controls: Controls | None = None
) -> torch.Tensor:
    with torch.inference_mode():
        latents = backbone.encode(images)
        prompt = backbone.encode_prompts([""]).select([0] * len(images))
        output = backbone.denoise(latents, prompt=prompt, timestep=TIMESTEP, controls=controls)
        return backbone.decode(backbone.predict_clean(latents, output, timestep=TIMESTEP))


def test_an_untrained_denoiser_leaves_the_latent_alone(small: TinyBackbone) -> None:
    images = torch.rand(2, 3, 48, 32)
    round_trip = small.decode(small.encode(images))
    assert torch.equal(restore(small, images), round_trip)


def test_latents_of_the_starting_patches_have_mean_zero_and_unit_variance() -> None:
    patches = torch.randn(4000, 48) @ torch.randn(48, 48) + 1.0
    vae = TinyVAE(TinyVAEConfig())
    vae.start_from_patches(patches)
    images = functional.pixel_shuffle(patches[:, :, None, None], 4)
    mean, log_variance = vae.encode(images)
    assert mean.mean(0).abs().max() < 1e-3
    assert (mean.var(0) - 1.0).abs().max() < 1e-2
    assert torch.allclose(log_variance, torch.tensor(-7.0))


def test_the_posterior_spreads_as_its_variance_says(small: TinyBackbone) -> None:
    images, noise = torch.rand(1, 3, 32, 32), torch.randn(1, 32, 8, 8)
    difference = small.encode(images, noise=noise) - small.encode(images)
    assert torch.allclose(difference, noise * torch.tensor(-3.5).exp(), atol=1e-5)


def test_a_tile_gives_what_the_whole_gives_away_from_its_border(small: TinyBackbone) -> None:
    wake(small)
    images = torch.rand(1, 3, 512, 512)
    whole = restore(small, images)
    tile = restore(small, images[:, :, 64:448, 64:448])
    inner = (slice(None), slice(None), slice(144, 240), slice(144, 240))
    assert torch.allclose(whole[:, :, 64:448, 64:448][inner], tile[inner], atol=1e-5)


def test_rows_of_a_batch_do_not_touch_each_other(small: TinyBackbone) -> None:
    wake(small)
    images = torch.rand(3, 3, 32, 32)
    together = restore(small, images)
    alone = torch.cat([restore(small, image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_new_control_embedding_changes_nothing_and_a_trained_one_does(
    small: TinyBackbone,
) -> None:
    wake(small)
    images = torch.rand(1, 3, 32, 32)
    before = restore(small, images)
    embedding = small.enable_controls()
    controls = Controls(texture=torch.tensor([900.0]), generativity=torch.tensor([0.2]))
    assert torch.equal(restore(small, images, controls=controls), before)
    torch.nn.init.normal_(embedding.out.weight, std=0.5)
    assert not torch.allclose(restore(small, images, controls=controls), before, atol=1e-4)


def test_a_model_can_be_made_to_ignore_the_texture_and_nothing_else() -> None:
    embedding = ControlEmbedding(8)
    torch.nn.init.normal_(embedding.out.weight)
    generativity = torch.tensor([0.2])

    def vector(texture: float | None) -> torch.Tensor:
        given = None if texture is None else torch.tensor([texture])
        return embedding(Controls(texture=given, generativity=generativity), batch=1)

    untold = vector(None)
    assert not torch.equal(vector(900.0), untold)
    embedding.ignore_texture()
    assert torch.equal(vector(900.0), untold)
    assert torch.equal(vector(None), untold)
    assert not torch.equal(embedding(Controls(), batch=1), untold)


def test_saving_and_loading_gives_the_same_image(small: TinyBackbone, tmp_path: Path) -> None:
    wake(small)
    torch.nn.init.normal_(small.enable_controls().out.weight)
    small.save(tmp_path, dtype=torch.float32)
    images = torch.rand(1, 3, 32, 32)
    again = TinyBackbone.load(tmp_path)
    controls = Controls(texture=torch.tensor([300.0]))
    assert again.traits == small.traits
    wanted = restore(small, images, controls=controls)
    assert torch.allclose(restore(again, images, controls=controls), wanted, atol=1e-4)


def test_a_missing_file_is_named(small: TinyBackbone, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"vae.config\.json"):
        TinyBackbone.load(tmp_path)
    small.save(tmp_path)
    (tmp_path / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(BackboneError, match="tokenizer"):
        TinyBackbone.load(tmp_path)


def test_weights_of_another_size_are_refused(small: TinyBackbone, tmp_path: Path) -> None:
    small.save(tmp_path)
    config = tmp_path / "unet" / "config.json"
    config.write_text(config.read_text().replace("12", "20"))
    with pytest.raises(CheckpointError, match="does not fit"):
        TinyBackbone.load(tmp_path)


def test_a_long_prompt_tells_what_is_dropped(small: TinyBackbone) -> None:
    assert small.token_overflow("a photograph of a cat") == ""
    words = [f"word{index}" for index in range(200)]
    dropped = small.token_overflow(" ".join(words))
    assert dropped.endswith("word199")
    assert "word0 " not in dropped


def test_any_text_becomes_77_tokens(small: TinyBackbone) -> None:
    prompts = ["", "Ein Café, 12 €", "写真", "x" * 5000]
    assert small.encode_prompts(prompts).sequence.shape == (4, 77, 64)


def test_prompts_need_the_text_encoder(small: TinyBackbone) -> None:
    prompt = small.encode_prompts([""])
    small.release_text_encoders()
    assert set(small.components()) == {"vae", "denoiser"}
    with pytest.raises(BackboneError, match="released"):
        small.encode_prompts([""])
    output = small.denoise(torch.zeros(1, 32, 8, 8), prompt=prompt, timestep=TIMESTEP)
    assert output.shape == (1, 32, 8, 8)


def test_every_adapter_target_names_a_layer(small: TinyBackbone) -> None:
    names = [
        name
        for name, module in small.denoiser.named_modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    ]
    for target in small.traits.lora_targets:
        assert any(name == target or name.endswith(f".{target}") for name in names), target


def test_the_shipped_weights_are_small(shipped: TinyBackbone) -> None:
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*")) < 45e6


def test_the_shipped_weights_are_half_precision_and_finite() -> None:
    from safetensors.torch import load_file

    for path in SHIPPED.rglob("*.safetensors"):
        for name, tensor in load_file(path).items():
            assert path.name == "texture_predictor.safetensors" or tensor.dtype == torch.float16, (
                name
            )
            assert tensor.isfinite().all(), name


def test_the_shipped_model_ignores_prompts_as_it_says(shipped: TinyBackbone) -> None:
    assert not shipped.traits.uses_prompt
    latents = torch.randn(1, 32, 16, 16)
    cat, blank = (shipped.encode_prompts([text]) for text in ("a cat", ""))
    assert isinstance(cat, PromptEmbeds)
    outputs = [
        shipped.denoise(latents, prompt=prompt, timestep=TIMESTEP) for prompt in (cat, blank)
    ]
    assert torch.equal(*outputs)


def test_the_shipped_autoencoder_keeps_a_photograph_like_picture(shipped: TinyBackbone) -> None:
    torch.manual_seed(0)
    smooth = functional.interpolate(torch.rand(1, 3, 12, 12), size=96, mode="bicubic").clamp(0, 1)
    with torch.inference_mode():
        error = (shipped.decode(shipped.encode(smooth)) - smooth).square().mean()
    assert error < 2e-3


def test_where_the_encoders_network_runs_away_the_projection_does_alone() -> None:
    torch.manual_seed(0)
    coder = TinyCoder(4, 4, hidden=8, num_blocks=3)
    with torch.no_grad():
        coder.conv_in.weight.mul_(3.0)
        coder.conv_out.weight.normal_()
        for block in coder.blocks:
            block.conv2.weight.normal_(std=0.1)
        x = 0.1 * torch.randn(1, 4, 40, 40)
        calm = coder(x)
        x[..., 20, 20] = 1e4
        seen = coder(x)
    near, far = (slice(None), slice(None), 20, 20), (..., slice(0, 10), slice(0, 10))
    assert torch.equal(seen[near], coder.projection(x)[near])
    assert torch.equal(seen[far], calm[far])
    assert not torch.equal(calm[far], coder.projection(x)[far])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_limit_holds_back_the_strong_and_leaves_the_rest_alone(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 8, 3, 3).to(dtype)
    x[..., 1, 1] = 900.0
    held = limited(x, 4.0)
    assert held.dtype == dtype
    torch.testing.assert_close(held[..., 1, 1], torch.full_like(x[..., 1, 1], 4.0))
    held[..., 1, 1] = x[..., 1, 1]
    assert torch.equal(held, x)


def test_an_autoencoders_limit_reaches_both_of_its_residual_networks() -> None:
    torch.manual_seed(0)
    free, held = (TinyVAE(TinyVAEConfig(hidden=8, activation_limit=x)) for x in (None, 0.1))
    held.load_state_dict(free.state_dict())
    images, latents = torch.rand(1, 3, 16, 16), torch.randn(1, 32, 4, 4)
    pixels = functional.pixel_unshuffle(images, 4)
    with torch.no_grad():
        for vae, most in ((free, float("inf")), (held, 0.1)):
            for coder, x in ((vae.encoder, pixels), (vae.decoder, latents)):
                strength = coder.features(x).square().mean(1).sqrt().max()
                assert (strength > 0.1) == (most == float("inf"))


def test_a_limit_has_a_gradient_where_nothing_is() -> None:
    x = torch.zeros(1, 4, 2, 2, requires_grad=True)
    limited(x, 1.0).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.ones_like(x))


def test_a_limit_that_lets_nothing_pass_is_refused() -> None:
    with pytest.raises(ValueError, match="activation_limit must be above 0"):
        TinyVAEConfig(activation_limit=0.0)
