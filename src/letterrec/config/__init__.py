"""Settings, recipes, and what is checked before anything is trained."""
