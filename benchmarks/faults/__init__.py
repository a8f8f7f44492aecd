"""Faults that really strike runs, and what they lose: `make faults`."""
