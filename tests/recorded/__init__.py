"""Recorded traffic, replayed: the harness, and a module for each wire."""
