"""`--json` of the commands that tell something: JSON and nothing else on standard output."""

import argparse
import json
from typing import Any

from scvae_cli.results.as_json import plain


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the flag to a command."""
    parser.add_argument(
        "--json", action="store_true", help="print JSON, with the keys of docs/pipelines.md"
    )


def print_json(value: dict[str, Any]) -> None:
    """Print a value as JSON, in ASCII, which every terminal and reader takes."""
    print(json.dumps(plain(value), indent=2, allow_nan=False))
