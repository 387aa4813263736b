"""DEPARTURES: rows of TorchServe's suites that fail here by intent, each with its reason.

A name is that of the table: the suite, a colon, the row; `*` stands for all rows of a suite that fail.
"""

_WORKFLOWS = "workflows are not there yet"

DEPARTURES: dict[str, str] = {
    "postman workflow: *": _WORKFLOWS,
    "postman workflow inference: *": _WORKFLOWS,
    "pytest test_model_archiver: test_duplicate_model_registration_using_http_url_followed_by_local_url": "a registration that"
    " is refused with 409 leaves its download in the store there, where the test then takes it from; ours removes it",
    "pytest test_dali_preprocess: all": "the DALI handler is left out: image_classifier preprocesses on the GPU by itself",
}
