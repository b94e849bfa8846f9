"""What carries out the routing of a call: in the caller's thread, and in a task."""
