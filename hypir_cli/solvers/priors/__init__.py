"""Diffusion priors: what a sampler asks of one, exact ones for comparison with the truth, latent and pixel ones for photographs."""
