"""Two revisions of an implementation, timed side by side: what the command ``compare`` runs."""
