"""What is known of frameworks below the doors; only modules that are loaded are asked."""
