"""Captions from a program of your own, here from file names: python own_captioner.py PHOTOS OUT.jsonl."""

import sys
from pathlib import Path

from hypir_cli.caption.images import caption_images, open_store
from hypir_cli.folder.scan import find_images


class FileNames:
    """`a_red-house.jpg` shows a red house; the picture itself is `item.image`."""

    def caption(self, inputs):
        """One text per picture."""
        return [item.path.stem.replace("_", " ").replace("-", " ") + "." for item in inputs]


images = find_images([sys.argv[1]]).images
store = open_store("jsonl", images=images, out=Path(sys.argv[2]))
summary = caption_images([item.path for item in images], FileNames(), store)
print(
    f"{summary.written} captioned, {summary.skipped} had a prompt, {len(summary.failures)} failed"
)
