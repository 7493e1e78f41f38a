"""FLUX.1: its record, its code, its training preset."""
