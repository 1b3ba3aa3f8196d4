"""What figures are made of: the font they are set in, and the room it takes."""
