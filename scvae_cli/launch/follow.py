"""Be one of the processes that torchrun started, and not the first."""

from scvae_cli.garbage import importing


def follow() -> None:
    """Help the first process to train, and say nothing but what that cannot know.

    Raises:
        InputError: the cells that this process reads are not those of the first one.
        SystemExit: another process has ended.
    """
    with importing():
        from scvae_cli.pipeline import help_to_train

    help_to_train()
