"""The embedded backbone: small enough to ship inside the package."""
