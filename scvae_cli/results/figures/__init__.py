"""The figures of runs, a function a figure, which returns a PNG. Only here is matplotlib used."""
