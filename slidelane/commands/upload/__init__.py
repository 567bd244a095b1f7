"""Sends slides of this machine to the service, for `slidelane order`."""
