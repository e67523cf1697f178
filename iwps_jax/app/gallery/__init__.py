"""One HTML page of picks with their images, for people who label them."""
