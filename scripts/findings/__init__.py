"""The claims that `scripts/reproduce.py` tests: `claim_N.py` each, and what they share."""
