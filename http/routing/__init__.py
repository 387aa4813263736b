"""The rows of the table of everything that is answered, and the matcher that finds one by method and path."""
