"""Known errors: cause and cure."""
