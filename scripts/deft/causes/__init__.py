"""Root causes: facts measured on pictures, and which of them go with wrong decisions."""
