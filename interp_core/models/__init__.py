"""Which models there are, how they are fetched and loaded, and what is known of them."""
