"""Stable Diffusion 2.1-base: its record, its code, its training preset."""
