"""Configuration: read once, validated, frozen, and handed on in parts."""
