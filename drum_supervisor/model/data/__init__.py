"""A request body on its way to the model, and predictions on their way back: parsing, tables, labels, JSON and CSV."""
