"""Language models: what a client asks for in OpenAI's format, the engine that generates, and what is answered.

    openai_request   what a body asks for, checked; raises Refused
    engine           the interface of an engine: submit, cancel, stats, stop
    monitored_engine an engine that tells the server of its load and its tokens
    hf_engine        transformers' continuous batching behind it
    text_stream      tokens → text, held back where a character or a stop string is not complete
    openai_answer    the JSON objects and the events of an answer

Nothing here knows HTTP, queues or processes. The handler in `core/handlers/language_model.py` puts them together.
"""
