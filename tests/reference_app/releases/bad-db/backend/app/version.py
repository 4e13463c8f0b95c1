"""The application's version."""

VERSION = "1.2.0-bad-db"
