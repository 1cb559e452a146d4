"""Times two revisions of an implementation side by side, for the command ``swin-oracle compare``."""
