"""The modules that users build: layers, patches, the network, and the network of a checkpoint."""
