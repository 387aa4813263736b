"""The pages as a person sees them, in Debian's Chromium: `make browser`."""
