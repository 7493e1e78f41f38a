"""Stable Diffusion 3 and the code that 3.5 shares: its record, its code, its training preset."""
