"""The report over many runs: `cl-report`."""
