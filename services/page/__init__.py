"""The page for people in a browser: its files below `services/web/`, and what guards them."""
