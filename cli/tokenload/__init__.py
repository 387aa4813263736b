"""A load generator for OpenAI's API: streams answers of language models and measures when their tokens come.

prompts        texts and lengths of answers, drawn from a distribution
event_reader   bytes of an HTTP response → server-sent events, as they come
token_stream   one request: when its tokens came
token_load     many of them, in a closed or an open loop
token_tally    what was measured, added up
"""
