"""The models of a service: load, compile, check on a sample, batch requests, exchange versions."""
