"""Computing with pixels: tiles, resampling, colour, noise, texture and scores that need no network."""
