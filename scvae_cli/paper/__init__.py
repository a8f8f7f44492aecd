"""Reproduce the report: the plan of runs, its published numbers, the claims and the page."""
