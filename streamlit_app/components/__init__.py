"""Parts that every page of the app is made of."""
