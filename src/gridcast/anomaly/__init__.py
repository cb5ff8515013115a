"""Anomalies of sensors: scores, thresholds, events, and what they are measured by."""
