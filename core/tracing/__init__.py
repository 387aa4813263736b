"""Tracing: where the time of single requests goes, as spans of OpenTelemetry. It costs other requests a decision."""
