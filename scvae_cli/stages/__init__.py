"""The stages of a run, which `pipeline.run` calls in order: arrays in, arrays out, files written."""
