"""What a plugin author meets: the hooks, the loader, the data that flows, and a contract per kind."""
