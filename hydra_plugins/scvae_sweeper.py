"""Give Hydra the sweeper of scvae; Hydra looks for sweepers only in this namespace."""

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class Sweeper(BasicSweeper):
    """Runs every combination of the values; Hydra's own sweeper makes the combinations."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        super().__init__(max_batch_size=None, params=params)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Set the sweep up.

        Raises:
            InputError: the launcher is not installed; names the package that has it.
        """
        from scvae_cli.errors import Given, InputError, Kind

        target = config.hydra.launcher._target_
        if target not in Plugins.instance().class_name_to_class:
            name = config.hydra.runtime.choices["hydra/launcher"]
            plugin = target.split(".")[1].replace("_", "-")
            raise InputError(
                Kind.UNAVAILABLE,
                Given("hydra/launcher", name),
                "not installed",
                f"`pip install {plugin}` brings it",
            )
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Run all combinations in one folder, and write their table; see `scvae_cli.launch.sweep`.

        Raises:
            InputError: there is nothing to run, or `scvae_cli.launch.sweep` refuses the jobs.
        """
        from scvae_cli.errors import Given, InputError, Kind
        from scvae_cli.launch.sweep import sweep

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.launcher is not None
        loader = self.hydra_context.config_loader
        parser = OverridesParser.create(config_loader=loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        for override in overrides:
            if override.is_sweep_override() and not [*override.sweep_string_iterator()]:
                raise InputError(
                    Kind.UNKNOWN,
                    Given("", override.input_line),
                    "finds no choice",
                    "there is nothing to run",
                )
        (jobs,) = self.split_arguments(overrides, max_batch_size=None)
        sweep(self.config, jobs, loader, self.launcher)
