"""TorchServe's keys that are no settings here: they have no effect, or what they are for is not there yet."""

from __future__ import annotations

# TorchServe's keys that are accepted without effect, by the reason; they are named once in the log.
WITHOUT_EFFECT = {
    "vmargs": "there is no JVM",
    "number_of_netty_threads": "one event loop reads all requests",
    "netty_client_threads": "there is no Netty",
    "prefer_direct_buffer": "there is no Netty",
    "use_native_io": "there is no Netty",
    "io_ratio": "there is no Netty",
    "async_logging": "logs are always written by a thread of their own",
    "plugins_path": "plugins are Java archives",
    "cpp_log_config": "there is no C++ backend",
    "model_server_home": "the package knows where it is",
    "debug": "it is for attaching a debugger to TorchServe's own worker port",
    "initial_distribution_port": "torchrun chooses a free port",
    "version": "snapshots write it for the reader",
    "tsConfigFile": "snapshots write it for the reader",
}
# TorchServe's keys that this version does not implement, by what is missing; the log warns of each.
NOT_YET = {
    "system_metrics_cmd": "a collector of system metrics of one's own",
}
# The keys of Intel's extension for PyTorch, which nobody maintains any more, by what does the same here; one warning
# names those that a configuration has.
OF_IPEX = {
    "ipex_enable": "models on a CPU are frozen or laid out as is measured fastest, and `pt2: inductor` in"
    " model-config.yaml compiles them",
    "ipex_gpu_enable": "nothing, as workers are given GPUs of NVIDIA alone",
    "cpu_launcher_enable": "each worker has its share of the cores, or the `threads` of its model-config.yaml",
    "cpu_launcher_args": "what `numactl`, `taskset` and `LD_PRELOAD` set for the server holds for its workers",
}
