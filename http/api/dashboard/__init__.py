"""The dashboard: a page that shows the whole server, live, and manages its models by the management API's routes."""
