"""The models of a service: loaded, compiled, tried on an example, exchanged."""
