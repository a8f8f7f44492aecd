"""`python -m scvae_cli` is `scvae`."""

from scvae_cli.cli import main

if __name__ == "__main__":
    main()
