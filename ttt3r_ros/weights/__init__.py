"""Weight files: reading published and native ones, describing them, downloading them."""
