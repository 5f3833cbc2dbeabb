"""Dreams: pictures that bring up what a network's parts look for."""
