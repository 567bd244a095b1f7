"""The settings of all processes: config.json, the environment and secret files as one object."""
