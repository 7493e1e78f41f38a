"""The embedded backbone: its weights and its configuration ship inside the package, nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

from hypir_cli.config.family import BackbonePreset, Family

FAMILY = Family(
    name="tiny",
    backbone="hypir_cli.models.backbones.tiny.backbone:TinyBackbone",
    preset=BackbonePreset(
        licence=(
            "Apache-2.0; trained on photographs in the public domain or under free licences, "
            "which its model card lists."
        ),
    ),
    train_preset=Path(__file__).with_name("train.yaml"),
)
