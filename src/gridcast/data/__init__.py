"""Tables become a panel, and a panel becomes a dataset."""
