"""Networks and baselines."""
