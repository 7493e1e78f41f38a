"""Samplers: each turns a prior, a measurement and noise into images."""
