"""Measure what the pages in docs/ say of models, speed, sparsity and faults; no part of scvae."""
