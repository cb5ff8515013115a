"""From files to windows: sources, panel, splits, scaling, features, windows."""
