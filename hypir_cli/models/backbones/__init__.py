"""One file per diffusion model, all behind `base.Backbone`; only this package knows diffusers."""
