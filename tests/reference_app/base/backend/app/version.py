"""The application's version."""

VERSION = "0.9.0"
