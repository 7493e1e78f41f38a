"""Stable Diffusion 3.5: its record, its code, its training preset."""
