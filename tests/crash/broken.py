"""Builds of the program that are broken on purpose: each has to be found out by a crash at the right moment."""
