"""Compute the stages of a run, which `pipeline.run` calls in order, and write their files."""
