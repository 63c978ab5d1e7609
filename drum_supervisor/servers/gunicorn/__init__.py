"""gunicorn as the model server: its settings, its hooks, its workers, and what is reported of them."""
