"""A model in use: drift, prediction log, alerts, recalibration."""
