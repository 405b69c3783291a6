"""The rows of the dashboard, a module each."""
