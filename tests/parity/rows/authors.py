"""What authors build on: default handlers, helpers, the context (8.2, 8.3, 8.6, 8.8)."""

from __future__ import annotations

from ..steps import Row, Setup
from .brief import core, ready, say, standard

_IMPORTS = """
ts:__version__ ts.context:Context ts.context:RequestProcessor ts.handler_utils.micro_batching:MicroBatching
ts.handler_utils.text_utils:get_tokenizer ts.handler_utils.text_utils:ngrams_iterator ts.handler_utils.timer:timed
ts.handler_utils.utils:import_class ts.handler_utils.utils:send_intermediate_predict_response
ts.launcher:start ts.launcher:stop ts.launcher:register_model ts.launcher:register_model_with_params
ts.metrics.caching_metric:CachingMetric ts.metrics.dimension:Dimension ts.metrics.metric:Metric
ts.metrics.metric_cache_errors:MetricsCacheKeyError ts.metrics.metric_cache_errors:MetricsCacheIOError
ts.metrics.metric_cache_yaml_impl:MetricsCacheYamlImpl ts.metrics.metric_encoder:MetricEncoder
ts.metrics.metric_type_enum:MetricTypes ts.metrics.metrics_store:MetricsStore ts.metrics.unit:Units
ts.metrics.process_memory_metric:get_cpu_usage ts.metrics.process_memory_metric:check_process_mem_usage
ts.protocol.otf_message_handler:send_intermediate_predict_response ts.service:emit_metrics ts.service:PredictionException
ts.torch_handler.base_handler:BaseHandler ts.torch_handler.base_handler:PROFILER_AVAILABLE
ts.torch_handler.contractions:CONTRACTION_MAP ts.torch_handler.distributed.base_deepspeed_handler:BaseDeepSpeedHandler
ts.torch_handler.image_classifier:ImageClassifier ts.torch_handler.image_segmenter:ImageSegmenter
ts.torch_handler.object_detector:ObjectDetector ts.torch_handler.text_classifier:TextClassifier
ts.torch_handler.text_handler:TextHandler ts.torch_handler.vision_handler:VisionHandler
ts.torch_handler.request_envelope.base:BaseEnvelope ts.torch_handler.request_envelope.body:BodyEnvelope
ts.torch_handler.request_envelope.json:JSONEnvelope ts.torch_handler.request_envelope.kserve:KServeEnvelope
ts.torch_handler.request_envelope.kservev2:KServev2Envelope
ts.torch_handler.unit_tests.test_utils.mock_context:MockContext ts.utils.util:CLEANUP_REGEX ts.utils.util:PT2Backend
ts.utils.util:deprecated ts.utils.util:get_yaml_config ts.utils.util:list_classes_from_module ts.version:__version__
"""  # fmt: skip


def _tell(text: str) -> tuple[object, ...]:
    return (say(text, "author"),)


ROWS: tuple[Row, ...] = (
    core("authors: every import path", "8.2", *_tell("imports " + " ".join(_IMPORTS.split()))),
    core("authors: the context", "8.2", *_tell("context")),
    core("authors: the context while it loads", "8.2", *_tell("before")),
    core("authors: RequestProcessor", "8.2", *_tell("processor")),
    core("authors: labels", "8.2", *_tell("labels")),
    core("authors: import_class, back ends, PredictionException", "8.2", *_tell("classes")),
    core("authors: BaseHandler's hooks", "8.3", *_tell("base")),
    core("authors: image_classifier", "8.6", *_tell("classify 2"), *_tell("classify 1")),
    core("authors: image_segmenter", "8.6", *_tell("segment")),
    core("authors: object_detector", "8.6", *_tell("detect 0.5"), *_tell("detect 0.2"), *_tell("detect 0.9")),
    core("authors: text_classifier", "8.6", *(step for text in (
        "good", "Bad!", "not good", "<b>GOOD</b> &amp; bad", "g\u00f6od",
    ) for step in _tell(f"text {text}"))),
    standard("authors: a word that the vocabulary lacks", "8.6", *_tell("text isn't bad")),
    standard("authors: texts into words", "8.6", *(step for text in (
        "I'm sure they're <i>not</i> what you'd've said: \"won't\", ain't it?",
        "Cr\u00e8me br\u00fbl\u00e9e; 2.5 (o'clock)<br />the'd &#33; y'all DON'T",
    ) for step in _tell(f"words {text}"))),
    standard("authors: MicroBatching", "8.8", *_tell("micro 2"), *_tell("micro 7"), *_tell("micro 100")),
)  # fmt: skip

SETUPS = (Setup("authors", ROWS, models=("author.mar",), before=ready("author")),)
