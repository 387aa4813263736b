"""The Open Inference Protocol beside the real Triton: what it answered, recorded once and replayed here."""
