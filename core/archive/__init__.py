"""Model archives: reading them safely, writing them, and finding them in a store or at a URL."""
