"""The settings of the parts of the API; `broker.settings.config` puts them together."""
