"""DynaBERT: its stages on a model and its data, and the supernet that they make."""
