"""What each layer of the engine costs."""
