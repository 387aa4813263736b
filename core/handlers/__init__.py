"""What model authors build on: the context, the base handler, the default handlers and metrics. They import
it as `ts`.
"""
