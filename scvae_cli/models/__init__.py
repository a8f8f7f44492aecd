"""Define the models, their losses and likelihoods, and train them."""
