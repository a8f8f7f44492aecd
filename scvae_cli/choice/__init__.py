"""Choose a latent space for cells without their types: candidates, criteria, verdict, page."""
