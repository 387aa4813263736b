"""A language model's engine as a child process: vLLM, SGLang, TensorRT-LLM, or any server of OpenAI's API.

    options        what `handler:` in model-config.yaml says of it
    commands       the command line of each kind of engine, and where it listens
    engine_guard   a small process between worker and engine, which lets nothing outlive the worker
    process        starts the two, passes on what they print, tells of their end
    log_lines      cuts the output into lines, and bounds their number
    connection     one request to the engine, over a connection of its own
    http_answer    HTTP/1.1 answers from bytes, without a socket
    events         cuts a stream behind whole server-sent events, without reading them
    engine         all of it together: start, ask, watch, stop

The worker's process talks to the engine over a Unix socket in a private folder, or a loopback port. Bodies are passed
on as they are, both ways.
"""
