"""Own a run folder: claim and lock it, write and check its files, record what made them."""
