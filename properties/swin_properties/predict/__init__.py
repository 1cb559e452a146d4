"""The predictions of a checkpoint for a photograph, beside the oracle's."""
