"""Writes a report for people (terminal, HTML) and for machines (JSON, JUnit XML)."""
