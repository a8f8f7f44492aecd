"""Compute from arrays to arrays: embed, t-SNE, cluster, score, diagnose, sparsity, statistics."""
