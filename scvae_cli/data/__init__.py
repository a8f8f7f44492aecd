"""Read cells from the sources and files people have, and prepare them for training."""
