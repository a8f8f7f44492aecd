"""Compute from arrays to arrays: embed, map, cluster, score, diagnose, sparsity, statistics."""
