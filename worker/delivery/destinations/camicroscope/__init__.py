"""caMicroscope 3: marks and heat maps, stored through its data API (Caracal)."""
