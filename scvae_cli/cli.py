"""Run the command `scvae`: call the sub-command's function, and import its module only then."""

import errno
import os
import sys
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from scvae_cli import __version__, streams
from scvae_cli.caches import let_numba_cache
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.garbage import importing, own_process, spare
from scvae_cli.interrupts import WORDS, exit_code, ignore, listening
from scvae_cli.processes import is_first, n_processes
from scvae_cli.threads import wait_asleep

COMMANDS = {
    "train": "load, train, embed, map, cluster and score, in one new folder",
    "choose": "which latent space for your cells? Compares a few, without types",
    "embed": "put other cells into a run's latent space",
    "compare": "sum up runs and sweeps: means, intervals, what is best",
    "show": "what a run or a sweep was and got",
    "data": "what cells a file holds: values, types, columns that may be types",
    "export": "copy a run or a sweep without what is private, for others",
    "verify": "do a run once more: does the same come out?",
    "paper": "reproduce the report: every run, table and figure, and what holds",
}

WAYS_OUT = {  # of what the system refuses because of a name that was given
    errno.ENAMETOOLONG: "give a shorter one",
    errno.EACCES: "give one that you may use",
}
HELP = f"""\
scvae {__version__}: experiments with autoencoders on single-cell RNA-seq.

  scvae COMMAND ...

Commands:
{chr(10).join(f"  {name:<8} {what}" for name, what in COMMANDS.items())}

  scvae train model=vsc beta=2.0           the report's beta-VSC on 700 PBMCs
  scvae data pbmc.h5ad                     what is in your own file?
  scvae train pbmc.h5ad experiment=best    train on it
  scvae train -m beta=1,2,4 'seed=range(0,5)'      a sweep, summed up
  scvae train --help                       every key

Flags:
  --help, --version
  -sc install=bash    for tab completion: eval "$(scvae -sc install=bash)"
"""


def main(arguments: list[str] | None = None) -> None:
    """Run `scvae`, and exit with its code.

    Exit codes: 0 done, 1 failed, 2 bad input, 129 the terminal was closed (SIGHUP), 130
    interrupted (Ctrl-C), 143 terminated (SIGTERM).

    Args:
        arguments: words after `scvae`; None for those of this process, which then always exits.
            With a list, the function returns where the code is 0.
    """
    wait_asleep()
    let_numba_cache()
    if arguments is not None:
        streams.show_all()
        if code := _run(arguments):
            sys.exit(code)
        return
    streams.protect()
    own_process()
    code = 1
    try:
        code = _run(sys.argv[1:])
    except KeyboardInterrupt as error:  # a second one, while the message of the first was written
        code = exit_code(error)
    finally:
        ignore()  # Ctrl-C while Python shuts down would print a traceback
    if lost := streams.lost(sys.stdout):
        print(f"scvae: standard output: {lost.strerror}", file=sys.stderr)
        code = code or 1
    spare()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """Run a command, and return its exit code."""
    try:
        with listening():
            _dispatch(arguments)
    except InputError as error:
        for line in str(error).split("\n"):
            print(f"scvae: {line}", file=sys.stderr)
        return 2
    except OSError as error:  # whichever key or flag the name was given for
        if error.errno not in WAYS_OUT:
            raise
        line = f"scvae: {error.filename}: {error.strerror}; {WAYS_OUT[error.errno]}"
        print(line, file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        if is_first():
            print(f"scvae: {WORDS[exit_code(error)]}", file=sys.stderr)
        return exit_code(error)
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        raise
    return 0


def _dispatch(arguments: list[str]) -> None:
    command = arguments[0] if arguments else "--help"
    if not is_first():
        from scvae_cli.launch.follow import follow

        follow()
        return
    if command in COMMANDS:
        _check_here()
    if n_processes() > 1:
        _check_team(arguments)
    if command in ("--help", "-h"):
        print(HELP, end="")
    elif "--version" in arguments:
        print(f"scvae {__version__}")
    elif command in ("-sc", "--shell-completion"):
        _complete(arguments)
    elif command == "train" and {"--help", "-h"} & {*arguments}:
        from scvae_cli.commands.help import train_help

        print(train_help(), end="")
    elif command == "train":
        _train(arguments[1:])
    elif command in COMMANDS:  # each in the module of its name, imported only now
        with importing():
            module = import_module(f"scvae_cli.commands.{command}")
        getattr(module, command)(arguments[1:])
    else:
        near = get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(COMMANDS)}"
        if "=" in command:
            hint = f"did you mean `scvae train {command}`?"
        raise InputError(Kind.UNKNOWN, Given("", command), "no such command", hint)


def _check_here() -> None:
    """Refuse to work in a folder that was removed, from which no path can be told."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        reason = "the folder that you are in was removed"
        raise InputError(Kind.MISSING, None, reason, "change to one that exists") from error


def _check_team(arguments: list[str]) -> None:
    """Refuse what several processes cannot do together."""
    if arguments[:1] != ["train"] or {"-m", "--multirun", "--help", "-h", "--cfg"} & {*arguments}:
        what = Given("", "scvae " + " ".join(arguments[:2]))
        reason = "torchrun's processes train one model together: `torchrun ... train KEY=VALUE`"
        raise InputError(Kind.CONFLICT, what, reason, "start it without torchrun")


def _train(arguments: list[str]) -> None:
    with importing():
        from scvae_cli.launch.places import check_not_empty
        from scvae_cli.launch.resume import resume
        from scvae_cli.launch.train import launch

    check_not_empty(arguments)
    given = [a.removeprefix("resume=") for a in arguments if a.startswith("resume=")]
    others = [a for a in arguments if not a.startswith("resume=")]
    if not given or given[-1] == "null":
        launch(arguments)
    elif ((folder := _folder(given[-1])) / "run.json").exists():
        resume(folder, others)
    else:
        from scvae_cli.launch.sweep import resume_sweep

        resume_sweep(folder, others)


def _folder(text: str) -> Path:
    """Return the real path of a folder that may be typed in quotes, with `~`, or as a link.

    Raises:
        InputError: links lead in a circle.
    """
    path = Path(os.path.expanduser(text))  # noqa: PTH111
    if not path.exists():
        path = Path(os.path.expanduser(text.strip("'\"")))  # noqa: PTH111
    try:
        return Path(os.path.realpath(path, strict=os.path.lexists(path)))
    except OSError as error:
        raise InputError(
            Kind.UNKNOWN, Given("resume", text), str(error.strerror), "give the folder itself"
        ) from error


def _complete(arguments: list[str]) -> None:
    """Print tab completions: those of sub-commands; Hydra prints those of `train`.

    The shell's hook, which Hydra writes, calls `scvae -sc query=SHELL` with the line so far in
    COMP_LINE. Hydra knows no sub-commands, so `train` is removed from the line it gets.
    """
    if any(a.startswith("query=") for a in arguments):
        program, _, rest = os.environ.get("COMP_LINE", "").lstrip().partition(" ")
        command, space, rest = rest.lstrip().partition(" ")
        if not space:
            words = [*COMMANDS, "--help", "--version"]
            print("\n".join(word for word in words if word.startswith(command)))
            return
        if command != "train":
            return
        os.environ["COMP_LINE"] = f"{program} {rest}"
    from scvae_cli.launch.train import launch

    if len(arguments) < 2:
        what = Given("", arguments[0])
        raise InputError(Kind.MISSING, what, "names no shell", "give install=bash, zsh or fish")
    launch(arguments)


if __name__ == "__main__":
    main()
