"""From files to tokens. Each room reads from those before it."""
