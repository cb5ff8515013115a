"""Champions behind HTTP."""
