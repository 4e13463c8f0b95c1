"""A small stand-in for the Residency Scheduler."""
