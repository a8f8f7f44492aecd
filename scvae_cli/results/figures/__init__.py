"""The figures of runs, a function a figure, of which `style.render` makes a file."""
