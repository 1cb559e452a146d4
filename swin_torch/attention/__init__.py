"""The attention of shifted windows as one operator, and what a call of it costs."""
