"""FLUX.2 [klein]: its record, its code, its training preset."""
