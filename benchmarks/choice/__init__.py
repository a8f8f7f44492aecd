"""Validate `scvae choose` on cells whose types are known."""
