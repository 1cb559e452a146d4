"""Golden vectors: calls with their exact results and budgets as files, for code that cannot be called."""
