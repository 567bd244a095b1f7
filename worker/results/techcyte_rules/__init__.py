"""Techcyte's rules for external results, for whoever makes a body and whoever sends one."""
