"""What the router costs, measured against what it stands on: `make bench`."""
