"""Requests and responses: parsed, checked, built."""
