"""`slidelane import-config`: a config.json of DynamicServices as one of ours."""
