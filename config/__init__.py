"""queue.yaml: its schema, and how it is loaded with every problem named by line."""
