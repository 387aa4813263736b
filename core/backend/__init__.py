"""The backend process: loads one model's handler and answers the front's batches. Never imports aiohttp or click."""
