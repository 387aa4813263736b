"""Language models: what a client asks for in OpenAI's format, the engine that generates, and what is answered.

    openai_request   what a body asks for, checked; openai_messages and openai_embeddings read their part, openai_fields
                     a field each; raises Refused
    chat_template    messages and tools → tokens, in bounded time
    grammar          the forms that a text can be held to: JSON, calls of tools
    engine           the interface of an engine: submit, cancel, stats, stop
    monitored_engine an engine that tells the server of its load and its tokens
    hf_engine        transformers' continuous batching behind it; hf_sampler chooses the tokens, step_threads
                     how many threads a step computes with, gathering when an idle engine begins
    choice_stream    tokens → what is told of a sequence: by text_stream text, held back where a character or a stop
                     string is not complete, by tool_calls calls of tools
    openai_answer    the JSON objects and the events of an answer
    child_engine/    an engine that is a process of its own, such as vLLM: HTTP and processes are there alone

Nothing here knows queues. The handler in `core/handlers/language_model.py` puts them together; that in
`core/handlers/child_engine.py` passes requests on to a process.
"""
