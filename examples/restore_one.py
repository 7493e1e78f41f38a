"""Restore one image from Python: python restore_one.py IN OUT."""

import sys

from hypir_cli import Engine, RestoreConfig, read_image, write_image
from hypir_cli.config.restore import ControlConfig, SizeConfig

source, target = sys.argv[1:]
config = RestoreConfig(control=ControlConfig(seed=7), size=SizeConfig(scale=2.0))
engine = Engine.load(config)
image = read_image(source)
result = engine.restore(image, on_progress=lambda done, total: print(f"tile {done}/{total}"))
write_image(target, result.samples[0], metadata=image.metadata)
print(f"{image.width}x{image.height} -> {target} in {result.times.decode:.2f} s of decoding")
