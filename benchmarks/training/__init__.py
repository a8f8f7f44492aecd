"""Speed, memory and growth of training, measured side by side on one machine: `make bench`."""
