"""One run: objective, fit, checkpoint, calibration."""
