"""Looking for garbage: not while modules are imported, and never among what others have made."""

import gc
import subprocess
import sys
from textwrap import dedent

import pytest

from scvae_cli.garbage import importing


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_nothing_is_looked_through_while_a_run_loads_its_libraries():
    told = run("""
        import gc
        from scvae_cli.garbage import importing
        looks = []
        gc.callbacks.append(lambda phase, _: looks.append(phase))
        with importing():
            import pandas
            before = len(looks)
        print(before, gc.isenabled(), gc.get_freeze_count())
    """)
    assert told == "0 True 0"


def test_a_process_of_ours_never_looks_through_what_it_imported():
    told = run("""
        import gc
        from scvae_cli.garbage import importing, own_process
        own_process()
        with importing():
            import pandas
        print(gc.get_freeze_count() > 50_000)
    """)
    assert told == "True"


def test_what_a_run_leaves_is_found_after_the_next_one_began():
    told = run("""
        import gc
        from scvae_cli.garbage import importing, own_process
        own_process()
        with importing():
            import json.tool
        class Model:
            def __del__(self):
                print("freed")
        model = Model()
        model.itself = model
        del model
        with importing():  # the next run finds all modules there
            import json.tool
        gc.collect()
        print("ends")
    """)
    assert told == "freed\nends"


@pytest.mark.parametrize("looks", [True, False])
def test_importing_leaves_it_as_it_was(looks):
    try:
        if not looks:
            gc.disable()
        with pytest.raises(ImportError), importing():
            raise ImportError
        assert gc.isenabled() is looks
    finally:
        gc.enable()
