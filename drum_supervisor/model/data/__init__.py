"""From request body to DataFrame, and from predictions to response content. No user code is called here."""
