"""Every import path of TorchServe and its archiver that public handlers use gives our object, and is in the wheel's package list."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]

PATHS = {
    "model_archiver": {
        "ModelArchiver": "cli.packaging",
        "ModelArchiverConfig": "cli.packaging",
        "__version__": "core.version",
    },
    "model_archiver.arg_parser": {"ArgParser": "cli.export_utils.ArchiverArgParser"},
    "model_archiver.manifest_components.manifest": {
        "Manifest": "cli.manifest_objects.ModelManifest",
        "RuntimeType": "cli.packaging",
    },
    "model_archiver.manifest_components.model": {"Model": "cli.manifest_objects.ManifestModel"},
    "model_archiver.model_archiver": {"ModelArchiver": "cli.packaging"},
    "model_archiver.model_archiver_config": {"ModelArchiverConfig": "cli.packaging"},
    "model_archiver.model_archiver_error": {"ModelArchiverError": "cli.packaging"},
    "model_archiver.model_packaging": {"generate_model_archive": "cli.packaging", "package_model": "cli.packaging"},
    "model_archiver.model_packaging_utils": {"ModelExportUtils": "cli.export_utils"},
    "model_archiver.version": {"__version__": "core.version"},
    "ts": {"__version__": "core.version"},
    "ts.arg_parser": {"ArgParser": "cli.export_utils.ServerArgParser"},
    "ts.context": {"Context": "core.handlers.context", "RequestProcessor": "core.handlers.context"},
    "ts.handler_utils.distributed.deepspeed": {
        "create_checkpoints_json": "core.handlers.large_models",
        "get_ds_engine": "core.handlers.large_models",
    },
    "ts.handler_utils.distributed.pt_pippy": {
        "get_pipeline_driver": "core.handlers.large_models",
        "initialize_rpc_workers": "core.handlers.large_models",
    },
    "ts.handler_utils.hf_batch_streamer": {"TextIteratorStreamerBatch": "core.handlers.batch_streamer"},
    "ts.handler_utils.micro_batching": {
        "HANDLER_METHODS": "core.handlers.micro_batching",
        "MicroBatching": "core.handlers.micro_batching",
    },
    "ts.handler_utils.model_call": {
        "ModelAnswer": "core.handlers.model_call",
        "ModelCallFailed": "core.handlers.model_call",
    },
    "ts.handler_utils.text_utils": {
        "get_tokenizer": "core.handlers.tokenizer",
        "ngrams_iterator": "core.handlers.tokenizer",
    },
    "ts.handler_utils.timer": {"timed": "core.handlers.timer"},
    "ts.handler_utils.token_stream": {
        "in_background": "core.handlers.token_streaming",
        "stream_tokens": "core.handlers.token_streaming",
    },
    "ts.handler_utils.utils": {
        "import_class": "core.handlers.classes",
        "send_intermediate_predict_response": "core.handlers.streaming",
    },
    "ts.launcher": {
        "register_model": "cli.launcher",
        "register_model_with_params": "cli.launcher",
        "start": "cli.launcher",
        "stop": "cli.launcher",
    },
    "ts.llm_launcher": {
        "create_mar_file": "cli.llm_launcher",
        "get_model_config": "cli.llm_launcher",
        "main": "cli.llm_launcher",
    },
    "ts.metrics.caching_metric": {"CachingMetric": "core.handlers.metrics.emitter"},
    "ts.metrics.dimension": {"Dimension": "core.handlers.metrics.emitter"},
    "ts.metrics.metric": {"Metric": "core.handlers.metrics.older_metrics"},
    "ts.metrics.metric_abstract": {"MetricAbstract": "core.handlers.metrics.emitter.CachingMetric"},
    "ts.metrics.metric_cache_abstract": {"MetricCacheAbstract": "core.handlers.metrics.emitter.MetricsEmitter"},
    "ts.metrics.metric_cache_errors": {
        "GeneralMetricsCacheError": "core.handlers.metrics.metric_errors",
        "MetricsCacheIOError": "core.handlers.metrics.metric_errors",
        "MetricsCacheKeyError": "core.handlers.metrics.metric_errors",
        "MetricsCachePyYamlError": "core.handlers.metrics.metric_errors",
        "MetricsCacheTypeError": "core.handlers.metrics.metric_errors",
        "MetricsCacheValueError": "core.handlers.metrics.metric_errors",
    },
    "ts.metrics.metric_cache_yaml_impl": {"MetricsCacheYamlImpl": "core.handlers.metrics.older_metrics"},
    "ts.metrics.metric_encoder": {"MetricEncoder": "core.handlers.metrics.older_metrics"},
    "ts.metrics.metric_type_enum": {"MetricTypes": "core.handlers.metrics.emitter"},
    "ts.metrics.metrics_store": {"MetricsStore": "core.handlers.metrics.older_metrics"},
    "ts.metrics.process_memory_metric": {
        "check_process_mem_usage": "core.handlers.metrics.process_memory",
        "get_cpu_usage": "core.handlers.metrics.process_memory",
    },
    "ts.metrics.unit": {"Units": "core.handlers.metrics.older_metrics"},
    "ts.model_loader": {
        "ModelLoader": "core.backend.model_loader",
        "ModelLoaderFactory": "core.backend.model_loader",
        "TsModelLoader": "core.backend.model_loader.ModelLoader",
    },
    "ts.model_server": {
        "TS_NAMESPACE": "cli.process_name",
        "load_properties": "cli.launcher",
        "start": "cli.program.run",
    },
    "ts.protocol.otf_message_handler": {"send_intermediate_predict_response": "core.handlers.streaming"},
    "ts.service": {
        "Service": "core.backend.model_loader",
        "emit_metrics": "core.handlers.metrics.older_metrics",
        "PredictionException": "core.handlers.prediction_exception",
    },
    "ts.torch_handler.base_handler": {
        "BaseHandler": "core.handlers.base",
        "PROFILER_AVAILABLE": "core.handlers.profiling",
    },
    "ts.torch_handler.child_engine": {"ChildEngine": "core.handlers.child_engine"},
    "ts.torch_handler.contractions": {"CONTRACTION_MAP": "core.handlers.tokenizer"},
    "ts.torch_handler.distributed.base_deepspeed_handler": {"BaseDeepSpeedHandler": "core.handlers.large_models"},
    "ts.torch_handler.distributed.base_pippy_handler": {"BasePippyHandler": "core.handlers.large_models"},
    "ts.torch_handler.image_classifier": {"ImageClassifier": "core.handlers.image_classifier"},
    "ts.torch_handler.image_segmenter": {"ImageSegmenter": "core.handlers.image_segmenter"},
    "ts.torch_handler.language_model": {"LanguageModel": "core.handlers.language_model"},
    "ts.torch_handler.object_detector": {"ObjectDetector": "core.handlers.object_detector"},
    "ts.torch_handler.request_envelope.base": {"BaseEnvelope": "core.backend.envelope_classes"},
    "ts.torch_handler.request_envelope.body": {"BodyEnvelope": "core.backend.envelope_classes"},
    "ts.torch_handler.request_envelope.json": {"JSONEnvelope": "core.backend.envelope_classes"},
    "ts.torch_handler.request_envelope.kserve": {"KServeEnvelope": "core.backend.envelope_classes"},
    "ts.torch_handler.request_envelope.kservev2": {"KServev2Envelope": "core.backend.envelope_classes"},
    "ts.torch_handler.text_classifier": {"TextClassifier": "core.handlers.text_classifier"},
    "ts.torch_handler.text_embedder": {"TextEmbedder": "core.handlers.text_embedder"},
    "ts.torch_handler.text_handler": {"TextHandler": "core.handlers.text"},
    "ts.torch_handler.trt_llm_handler": {"TRTLLMHandler": "core.handlers.child_engine"},
    "ts.torch_handler.vllm_handler": {"VLLMHandler": "core.handlers.child_engine"},
    "ts.torch_handler.unit_tests.test_utils.model_dir": {
        "copy_files": "core.handlers.model_dir",
        "download_model": "core.handlers.model_dir",
    },
    "ts.torch_handler.unit_tests.test_utils.mock_context": {"MockContext": "core.handlers.mock_context"},
    "ts.torch_handler.vision_handler": {"VisionHandler": "core.handlers.vision"},
    "ts.utils.timeit_decorator": {"timeit": "core.handlers.timeit_decorator"},
    "ts.utils.util": {
        "list_classes_from_module": "core.handlers.classes",
        "deprecated": "core.handlers.deprecated",
        "load_label_mapping": "core.handlers.labels",
        "map_class_to_label": "core.handlers.labels",
        "PredictionException": "core.handlers.prediction_exception",
        "PT2Backend": "core.handlers.loading.pt2",
        "check_valid_pt2_backend": "core.handlers.loading.pt2",
        "CLEANUP_REGEX": "core.handlers.tokenizer",
        "get_yaml_config": "core.handlers.yaml_config",
    },
    "ts.version": {"__version__": "core.version"},
    "workflow_archiver": {"__version__": "core.version"},
    "workflow_archiver.arg_parser": {"ArgParser": "cli.workflow_packaging.WorkflowArchiverArgParser"},
    "workflow_archiver.manifest_components.manifest": {"Manifest": "cli.manifest_objects.WorkflowManifest"},
    "workflow_archiver.manifest_components.workflow": {"Workflow": "cli.manifest_objects.ManifestWorkflow"},
    "workflow_archiver.version": {"__version__": "core.version"},
    "workflow_archiver.workflow_archiver_error": {"WorkflowArchiverError": "cli.workflow_packaging"},
    "workflow_archiver.workflow_packaging": {
        "generate_workflow_archive": "cli.workflow_packaging",
        "package_workflow": "cli.workflow_packaging",
    },
    "workflow_archiver.workflow_packaging_utils": {"WorkflowExportUtils": "cli.workflow_packaging"},
}


def files_below(*folders: str) -> list[Path]:
    return [path for folder in folders for path in (REPO / folder).rglob("*.py")]


def ours(home: str, name: str) -> object:
    """The object in one of our modules; `home` ends with its name there if that is another one."""
    module, _, own_name = home.rpartition(".")
    if own_name[0].isupper() or home == "cli.program.run":
        return getattr(importlib.import_module(f"torchserve.{module}"), own_name)
    return getattr(importlib.import_module(f"torchserve.{home}"), name)


# All public names of the wheels torchserve and torch-model-archiver 0.12.0, by module: those that work here, those that
# refuse with a sentence that says what to use, and those that are internal to TorchServe and are not here.
UPSTREAM: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "upstream_names.json").read_text())


@pytest.mark.parametrize("path", UPSTREAM)
def test_every_public_name_of_torchserve_works_refuses_or_is_internal(path: str) -> None:
    module = importlib.import_module(path)
    for name, decision in UPSTREAM[path].items():
        if decision == "works":
            assert getattr(module, name) is not None
        elif decision == "refuses":
            with pytest.raises(ImportError, match=rf"{name} is not part of this server: \S"):
                getattr(module, name)
        else:
            assert decision == "internal"
            assert not hasattr(module, name)


@pytest.mark.parametrize("path", PATHS)
def test_path(path: str) -> None:
    module = importlib.import_module(path)
    for name, home in PATHS[path].items():
        assert getattr(module, name) is ours(home, name)
    assert sorted(module.__all__) == sorted(PATHS[path])


def test_the_table_above_is_complete() -> None:
    files = {
        path.relative_to(REPO).with_suffix("") for path in files_below("ts", "model_archiver", "workflow_archiver")
    }
    modules = {".".join(file.parts) for file in files if file.name != "__init__"}
    refusing = {path for path, names in UPSTREAM.items() if "refuses" in names.values()}
    assert modules | {"ts", "model_archiver", "workflow_archiver"} == set(PATHS) | refusing


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    tree = {
        ".".join(path.parent.relative_to(REPO).parts)
        for path in files_below("ts", "model_archiver", "workflow_archiver")
    }
    assert tree == {name for name in listed if name.partition(".")[0] in {"ts", "model_archiver", "workflow_archiver"}}
    assert all((REPO / name.replace(".", "/") / "__init__.py").exists() for name in tree)


@pytest.mark.parametrize(
    "module",
    ["ts.context", "ts.utils.util", "ts.handler_utils.utils", "ts.handler_utils.timer", "ts.metrics.dimension"],
)
def test_light_paths_load_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit(str(sorted({{'torch', 'PIL', 'torchvision'}} & set(sys.modules)) or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert done.stderr.strip() == ""
