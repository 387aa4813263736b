"""A handler that pokes at what authors build on: the default handlers, the helpers, the context. As text, for both servers.

It defines one class alone, as TorchServe's loader wants it, so that its models are plain modules and functions.
"""

from __future__ import annotations

AUTHOR = '''
import importlib, io, json, os
import torch
from PIL import Image
from torchvision import transforms
from ts.context import RequestProcessor
from ts.handler_utils.micro_batching import MicroBatching
from ts.handler_utils.utils import import_class
from ts.torch_handler.base_handler import BaseHandler
from ts.torch_handler.image_classifier import ImageClassifier
from ts.torch_handler.image_segmenter import ImageSegmenter
from ts.torch_handler.object_detector import ObjectDetector
from ts.torch_handler.text_classifier import TextClassifier
from ts.utils.util import PredictionException, check_valid_pt2_backend, load_label_mapping, map_class_to_label


def picture(red):
    buffer = io.BytesIO()
    Image.new("RGB", (300, 260), (red, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def sure(batch):
    """Certain of class 1, so that no rounding shows."""
    return torch.tensor([[0.0, 300.0]] * len(batch))


def boxes(images):
    return [
        {
            "boxes": torch.tensor([[0.0, 0.0, float(image.shape[2]), float(image.shape[1])], [1.0, 2.0, 3.0, 4.0]]),
            "labels": torch.tensor([1, 2]),
            "scores": torch.tensor([0.5, 0.25]),
        }
        for image in images
    ]


def bags():
    bag = torch.nn.EmbeddingBag(6, 2, mode="sum")
    bag.weight.data = torch.tensor([[0.0, 0.0], [400.0, 0.0], [0.0, 400.0], [0.0, 0.0], [0.0, 900.0], [0.0, 0.0]])
    return bag


def raised(call, *arguments):
    try:
        return ["gave", call(*arguments)]
    except Exception as error:
        return ["raised"]


def set_up(handler, model, context, **more):
    handler.model, handler.context, handler.device = model, context, torch.device("cpu")
    handler.mapping, handler.initialized = {"0": "cat", "1": "dog", "2": "eel"}, True
    for name, value in more.items():
        setattr(handler, name, value)
    return handler


class Author(BaseHandler):
    def initialize(self, context):
        self.context = context
        self.before = {
            "request_ids": context.request_ids, "system": sorted(context.system_properties),
            "status": raised(context.set_response_status, 404, "nothing yet", 0),
        }
        vocabulary = {"<unk>": 0, "good": 1, "bad": 2, "not": 3, "not good": 4, "is": 5, "is not": 0, "good bad": 5}
        self.texts = set_up(TextClassifier(), bags(), context, source_vocab=vocabulary, mapping={"0": "up", "1": "down"})
        self.classes = set_up(ImageClassifier(), sure, context)
        small = transforms.Compose([transforms.CenterCrop(2), transforms.ToTensor()])
        self.segments = set_up(
            ImageSegmenter(), lambda x: {"out": torch.cat([x[:, :1] * 500 - 250, x[:, :1] * 0], 1)}, context,
            image_processing=small,
        )
        self.objects = set_up(ObjectDetector(), boxes, context)
        self.initialized = True

    def handle(self, data, context):
        text = data[0].get("body")
        text = text if isinstance(text, str) else bytes(text).decode()
        verb, _, rest = text.partition(" ")
        return [getattr(self, "do_" + verb)(rest, context)]

    def rows(self, handler, rows, context):
        return handler.handle(rows, context)

    def do_text(self, rest, context):
        return self.rows(self.texts, [{"body": rest}], context)

    def do_words(self, rest, context):
        t = self.texts
        text = t._expand_contractions(t._remove_html_tags(rest).lower())
        text = t._remove_punctuation(t._remove_accented_characters(text))
        return [text, t._tokenize(text), t._tokenize(rest), t.get_word_token([chr(288) + "a", "b"])]

    def do_classify(self, rest, context):
        self.classes.set_max_result_classes(int(rest))
        image = {"data": picture(200)}
        return [self.rows(self.classes, [image, {"body": bytearray(picture(1))}], context), self.classes.get_max_result_classes()]

    def do_segment(self, rest, context):
        return self.rows(self.segments, [{"data": picture(255)}, {"data": picture(0)}], context)

    def do_detect(self, rest, context):
        self.objects.threshold = float(rest)
        return self.rows(self.objects, [{"data": picture(1)}, {"body": picture(2)}], context)

    def do_base(self, rest, context):
        plain = set_up(BaseHandler(), lambda x, more=1: x * 2 + more, context)
        tensor = plain.preprocess([[1.0, 2.0]])
        return [
            plain.postprocess(plain.inference(tensor)), plain.postprocess(plain.inference(tensor, 5)),
            plain.postprocess(plain.inference(tensor, more=7)), str(plain.get_device()), plain.describe_handle(),
            plain._is_explain(), plain._is_describe(), plain.target, plain.profiler_args, plain.map_location,
        ]

    def do_before(self, rest, context):
        return self.before

    def do_context(self, rest, context):
        names = """model_name manifest system_properties request_ids request_processor metrics model_yaml_config
            stopping_criteria header_key_sequence_id header_key_sequence_start header_key_sequence_end get_request_id
            get_request_header get_all_request_header set_response_content_type get_response_content_type
            get_response_status set_response_status set_all_response_status get_response_headers set_response_header
            get_sequence_id cl_socket""".split()
        context.set_response_header(0, "own", "x")
        context.set_response_content_type(0, "text/own")
        told = [context.get_response_status(0), context.get_response_content_type(0), context.get_response_headers(0)]
        context.set_all_response_status(202, "taken")
        return [
            [name for name in names if not hasattr(context, name)], told, context.get_response_status(0),
            context.get_request_id(5), context.get_request_header(0, "nothing"), context.get_sequence_id(0),
            context.model_name, context.model_yaml_config, context.header_key_sequence_id,
        ]

    def do_processor(self, rest, context):
        made = RequestProcessor({"a": "1"})
        made.add_response_property("b", 2)
        first = [made.get_response_status_code(), made.get_response_status_phrase()]
        made.report_status(418, reason_phrase="teapot")
        return [
            first, made.get_response_status_code(), made.get_response_status_phrase(), made.get_request_property("a"),
            made.get_request_property("z"), made.get_request_properties(), made.get_response_headers(),
            made.get_response_header("b"),
        ]

    def do_micro(self, rest, context):
        plain = set_up(BaseHandler(), lambda x: x * 10, context)
        made = MicroBatching(plain, micro_batch_size=int(rest))
        made.parallelism = {"inference": 2}
        answers = made(list(range(7)), context)
        told = [answers, made.parallelism, made.micro_batch_size, made.get_micro_batch_idx()]
        made.shutdown()
        return told

    def do_labels(self, rest, context):
        path = os.path.join(os.getcwd(), "labels.json")
        told = [load_label_mapping(path)]
        for text in ('{"0": "cat"}', '{"0": ["n1", "cat"]}', '{"object_type_names": ["x", "y"]}', '["cat"]', '{"0": 1}'):
            with open(path, "w") as file:
                file.write(text)
            told.append(raised(load_label_mapping, path))
        os.remove(path)
        told += [
            map_class_to_label([[0.5, 0.25]]), map_class_to_label([[0.5]], {"3": "cat"}, [[3]]),
            raised(map_class_to_label, [[0.5]], {"3": "cat"}, [[4]])[0], raised(map_class_to_label, [[0.5]], [1], [[4]])[0],
        ]
        return told

    def do_classes(self, rest, context):
        return [
            import_class("ts.context.Context").__name__, import_class("Context", "ts.context").__name__,
            import_class("torch_handler.base_handler.BaseHandler", "ts").__name__,
            raised(import_class, "Context"), raised(import_class, "ts.context.Nobody"), raised(import_class, ""),
            check_valid_pt2_backend("inductor"), check_valid_pt2_backend("warp"),
            str(PredictionException("text", 418)), PredictionException("text").error_code,
        ]

    def do_imports(self, rest, context):
        lacking = []
        for each in rest.split():
            module, _, name = each.partition(":")
            try:
                getattr(importlib.import_module(module), name)
            except Exception as error:
                lacking.append(each + " " + type(error).__name__)
        return lacking
'''
