"""Restore one image of any size in one forward pass and bounded memory, and folders of them."""
