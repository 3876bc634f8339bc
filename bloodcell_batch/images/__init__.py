"""From bytes to pixels, hash and network input."""
