"""Servers on loopback that behave like those the providers talk to."""
