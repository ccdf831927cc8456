"""Linear item-item models, fitted in closed form: EASE, SLIST, and the transitions of a search."""
