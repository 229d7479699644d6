"""The daemon over minutes of real time."""
