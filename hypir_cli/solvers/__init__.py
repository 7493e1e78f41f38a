"""Restoration where the damage is known: posterior samplers that need a diffusion prior alone.

Inside this room images are RGB in -1..1, the scale on which the papers give their constants; files and settings of users enter and
leave at its door. An operator says what the damage does (`operators`), a prior what photographs look like (`priors`), a sampler finds
an image that both agree with (`samplers`).
"""
