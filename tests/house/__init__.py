"""The rules of the house as tests: each rule is a function from a tree to its violations."""
