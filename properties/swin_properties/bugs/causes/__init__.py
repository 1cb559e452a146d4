"""Why laws are broken: on which cases, in which component, by which planted bug."""
