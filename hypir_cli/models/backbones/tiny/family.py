"""The embedded backbone: its weights and its configuration ship inside the package, nothing is downloaded."""

from __future__ import annotations

from hypir_cli.config.family import BackbonePreset
from hypir_cli.models.backbones.parts import built_in

FAMILY = built_in(
    "tiny",
    "TinyBackbone",
    preset=BackbonePreset(
        licence=(
            "Apache-2.0; trained on photographs in the public domain or under free licences, "
            "which its model card lists."
        ),
    ),
)
