"""Stable Diffusion XL: its record, its code, its training preset."""
