"""Rewrites of the Q/DQ form that more than one target asks for, and what all of them are written with."""
