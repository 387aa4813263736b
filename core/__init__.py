"""The server proper: models, workers, the planes between the front doors and the scheduler, and the handler library."""
