"""Error measures, significance, thresholds, the test span, backtests and importance."""
