"""Compare how models join batches, and what they keep of cell types."""
