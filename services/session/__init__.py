"""Logging in with a browser: a key is exchanged once for a cookie that scripts cannot read."""
