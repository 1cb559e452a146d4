"""How far from the exact result an honest implementation may end."""
