"""Training one run on stock Keras."""
