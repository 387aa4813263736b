"""DEPARTURES: rows of TorchServe's suites that fail here by intent, each with its reason.

A name is that of the table: the suite, a colon, the row; `*` stands for all rows of a suite that fail.
"""

_BROKEN = (
    "one broken model keeps no start down: the server is up, says which is missing and why, and goes on into the rows that"
    " count on a start that failed"
)
_WITHIN = "it replaces functions within the archiver, and asks whether they were called"
_PACKAGING, _UTILS = (
    "pytest workflow_archiver/test_workflow_packaging",
    "pytest workflow_archiver/test_workflow_packaging_utils",
)

DEPARTURES: dict[str, str] = {
    "pytest test_model_archiver: test_duplicate_model_registration_using_http_url_followed_by_local_url": "a registration that"
    " is refused with 409 leaves its download in the store there, where the test then takes it from; ours removes it",
    "pytest test_snapshot: test_restart_torchserve_with_last_snapshot_with_model_mar_removed": _BROKEN,
    "pytest test_snapshot: test_replace_mar_file_with_dummy": _BROKEN,
    "pytest test_snapshot: test_restart_torchserve_with_one_of_model_mar_removed": _BROKEN,
    "pytest test_pytorch_profiler: test_batch_input[test/pytest/profiler_utils/resnet_profiler_override.py]": "two requests are"
    " a batch for each of two free workers, where TorchServe waits 5 s for a third; `batchPolicy: fixed` does, too",
    "pytest workflow_archiver/test_version: test_workflow_export_tool_version": "the archiver's version is this server's",
    f"{_PACKAGING}: test_gen_workflow_archive": _WITHIN,
    f"{_PACKAGING}: test_export_workflow_method": _WITHIN,
    f"{_UTILS}: test_export_file_is_none": _WITHIN,
    f"{_UTILS}: test_export_file_is_not_none": _WITHIN,
    f"{_UTILS}: test_export_file_already_exists_with_override": _WITHIN,
    f"{_UTILS}: test_export_file_already_exists_with_override_false": _WITHIN,
    f"{_UTILS}: test_clean_call": _WITHIN,
    "pytest test_dali_preprocess: all": "the DALI handler is left out: image_classifier preprocesses on the GPU by itself",
}
