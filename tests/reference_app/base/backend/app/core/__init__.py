"""Settings, database and task queue."""
