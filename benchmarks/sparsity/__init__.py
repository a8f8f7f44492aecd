"""Whether the sparse latents of the VSC are programmes of genes: `make sparsity`."""
