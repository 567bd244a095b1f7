"""A folder with a trained network: reads model.json or WSInfer's config.json. Loads no torch."""
