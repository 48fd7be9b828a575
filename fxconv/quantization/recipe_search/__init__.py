"""Which steps of a recipe are taken."""
